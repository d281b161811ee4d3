/** `/metrics`: the figures, their sums over workers, and the addresses that serve them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { user } from "../support/commands.ts";
import { freePort, until } from "../support/processes.ts";
import { runtime, temporaryFolder } from "../support/runtime.ts";
import { json, logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: metrics`);

for (const workers of [1, 2]) {
  it(`counts requests, store calls and hashes of ${workers} process${workers === 1 ? "" : "es"}`, async () => {
    const address = `127.0.0.1:${await freePort()}`;
    const store = `file:${temporaryFolder()}/data`;
    await user(["add", "ada", "--store", store, "--password-stdin", "--hashing-iterations", "1"], {
      input: "marked-1\n",
    });
    const server = await serve(["--store", store, "--metrics", address, "--workers", String(workers)]);
    const scrape = async () => (await fetch(`http://${address}/metrics`)).text();
    const failed = /^jwt_request_seconds_count\{endpoint="\/jwt\/create",status="400"\} 3$/m;
    for (let i = 0; i < 3; i++) await server.send("/jwt/create/", logIn("ada", "marked-wrong"));
    const { text: tokens } = await server.send("/jwt/create/", logIn("ada", "marked-1"));
    const body = JSON.stringify({ refresh: (JSON.parse(tokens) as { refresh: string }).refresh });
    assert.is((await server.send("/jwt/blacklist/", { method: "POST", headers: json, body })).status, 200);
    await server.send("/marked-path");
    await until(async () => failed.test(await scrape()), "three failed logins are counted");
    await until(async () => (await scrape()).includes('endpoint="other",status="404"} 1'), "so is the unknown path");
    await until(async () => /^jwt_facts 1$/m.test(await scrape()), "the revocation is a fact in the store");
    const response = await fetch(`http://${address}/metrics`);
    assert.match(response.headers.get("content-type")!, "application/openmetrics-text");
    const text = await response.text();
    for (const pattern of [
      /^jwt_store_seconds_bucket\{le="[^"]+",method="findUserByUsername",outcome="ok"\} \d+$/m,
      /^jwt_hashes_waiting 0$/m,
      /^jwt_hash_wait_seconds_count [1-9]/m,
      /^jwt_journal_sync_seconds_count [1-9]/m,
      /^jwt_key_age_seconds \d/m,
      /^jwt_build_info\{runtime="[^"]+",version="(\d+\.\d+\.\d+|unknown)"\} 1$/m,
      /# EOF\n$/,
    ]) {
      assert.match(text, pattern);
    }
    assert.not.match(text, /marked/);
    assert.is((await server.send("/metrics")).status, 404, "the main address does not serve it");
    assert.is((await fetch(`http://${address}/`)).status, 404);
    assert.is(await server.stop(), 0);
  });
}

it.run();
