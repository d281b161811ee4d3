/** `/metrics`: the figures, their sums over workers, and the addresses that serve them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createMetrics } from "../../src/serve/metrics.ts";
import { readOptions } from "../../src/program/options.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import type { Store } from "../../src/stores/store.ts";
import { user } from "../support/commands.ts";
import { freePort, until } from "../support/processes.ts";
import { startPostgres } from "../support/postgres.ts";
import { runtime, temporaryFolder } from "../support/runtime.ts";
import { json, logIn, serve } from "../support/server.ts";
import { type OpenStore, setUp } from "../support/sessions.ts";

const it = suite(`${runtime} server: metrics`);

/** The samples of a figure, by the values of its labels. */
async function samplesOf(metrics: ReturnType<typeof createMetrics>, name: string): Promise<Record<string, number>> {
  const figures = (await metrics.figures()) as {
    name: string;
    values: { value: number; metricName?: string; labels: Record<string, string> }[];
  }[];
  const { values } = figures.find((figure) => figure.name === name.replace(/_count$/, ""))!;
  const samples = values.filter(({ metricName = name }) => metricName === name);
  return Object.fromEntries(samples.map(({ labels, value }) => [Object.values(labels).join(" "), value]));
}

/** Rotates, repeats, logs out, revokes a user, and returns the figures about it. */
async function figuresOf(openStore: OpenStore) {
  const metrics = createMetrics(readOptions(["--store", "memory:"], {}));
  let opened: Store;
  const {
    endpoints,
    logIn: pairOf,
    refresh,
    post,
  } = await setUp({ sessions: true }, async (now) => {
    opened = await openStore(now);
    return metrics.timed(opened);
  });
  const pair = await pairOf("ada");
  const { body: successor } = await refresh(pair.refresh);
  await refresh(pair.refresh); // a retry gets the same successor
  await post("blacklist", { refresh: successor.refresh });
  await refresh(successor.refresh);
  await endpoints.revokeUser("2");
  await endpoints.revokeUser("nobody");
  const calls = await samplesOf(metrics, "jwt_store_seconds_count");
  await opened!.close();
  return { revocations: await samplesOf(metrics, "jwt_revocations"), calls, metrics };
}

const revoked = { blacklist: 1, session: 1, successor: 1, user: 1 };

it("count a rotation, a logout and a revoked user once each, and time the calls of all methods", async () => {
  const { revocations, calls } = await figuresOf((now) => memoryStore({ now }));
  assert.equal(revocations, revoked);
  for (const method of ["addSession", "touchSession", "removeSession", "putIfAbsent", "get", "updateUser"]) {
    assert.ok(calls[`${method} ok`]! > 0, method);
  }
});

it("count and time the look-ups of PostgreSQL, which write rotations along", async () => {
  const server = await startPostgres();
  if (server === undefined) return console.log("skipped: npm has no PostgreSQL binaries for this platform");
  const url = server.url("postgres", { schema: "metrics", pool: "3" });
  await migratePostgres({ url });
  try {
    const { revocations, calls, metrics } = await figuresOf(() => postgresStore({ url }));
    assert.equal(revocations, revoked);
    assert.ok(calls["latestState ok"]! > 0, JSON.stringify(calls));
    assert.equal(await samplesOf(metrics, "jwt_facts"), {}, "the store is closed, and only that figure is missing");
  } finally {
    await server.stop();
  }
});

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
    const revoked = /^jwt_revocations_total\{kind="blacklist"\} 1$/m;
    await until(async () => revoked.test(await scrape()), "and is counted by the process that wrote it");
    const response = await fetch(`http://${address}/metrics`);
    assert.match(response.headers.get("content-type")!, "application/openmetrics-text");
    const text = await response.text();
    for (const pattern of [
      /^jwt_store_seconds_bucket\{le="[^"]+",method="findUserByUsername",outcome="ok"\} \d+$/m,
      /^jwt_hashes_waiting 0$/m,
      /^jwt_hashes_running 0$/m,
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
