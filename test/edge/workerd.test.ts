/**
 * The built core in `workerd`, the runtime of Cloudflare Workers, with and without Node compatibility: it loads, which
 * refuses I/O, timers and random numbers outside of requests, and passes the HTTP contract over a socket.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { httpContract } from "../support/contract.ts";
import { sendTo } from "../support/hosts.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { type RunningWorker, buildWorker } from "./support.ts";

const startWorker = await buildWorker("edge-worker.ts");

for (const [name, flags] of [
  ["without Node compatibility", []],
  ["with Node compatibility", ["nodejs_compat"]],
] as const) {
  let child: RunningWorker["child"];
  httpContract(
    `workerd ${name}`,
    async () => {
      const started = await startWorker({ flags });
      child = started.child;
      return { profile: "djoser", prefix: "/auth", isDocumented: false, send: sendTo.bind(null, started.origin) };
    },
    async () => void child.kill(),
  );
}

const it = suite("workerd");

it("refuses more PBKDF2 iterations than deployed Workers derive, and says how many those are", async () => {
  const { child, origin } = await startWorker();
  try {
    const { text } = await sendTo(origin, "/default-settings");
    assert.is(
      text,
      "setting hashing.iterations: 600000 is more than Cloudflare Workers derive; accepted there: at most 100000",
    );
  } finally {
    child.kill();
  }
});

it("keeps every promise of a store in a Durable Object", async () => {
  const { child, origin } = await startWorker({ disk: temporaryFolder() });
  try {
    assert.equal(JSON.parse((await sendTo(origin, "/conformance")).text), []);
  } finally {
    child.kill();
  }
});

it("rotates and revokes tokens in a Durable Object, racing and across a restart", async () => {
  const disk = temporaryFolder();
  const first = await startWorker({ disk });
  const post = async (origin: string, path: string, data: object) => {
    const headers = { "content-type": "application/json" };
    const { status, text } = await sendTo(origin, `/auth/jwt/${path}/`, {
      method: "POST",
      headers,
      body: JSON.stringify(data),
    });
    return { status, ...(JSON.parse(text) as { refresh?: string; access?: string }) };
  };
  const login = await post(first.origin, "create", { username: "ada", password: "correct horse" });
  assert.is(login.status, 200);
  const { refresh } = login;
  const racing = await Promise.all(Array.from({ length: 10 }, () => post(first.origin, "refresh", { refresh })));
  assert.is(new Set(racing.map((each) => each.refresh)).size, 1);
  assert.is(racing[0]!.status, 200);
  assert.is((await post(first.origin, "verify", { token: racing[0]!.access })).status, 200);
  assert.is((await post(first.origin, "logout", { refresh: racing[0]!.refresh })).status, 200);
  first.child.kill();
  await new Promise((resolve) => first.child.once("close", resolve));
  const second = await startWorker({ disk });
  assert.is((await post(second.origin, "refresh", { refresh: racing[0]!.refresh })).status, 400);
  assert.is((await post(second.origin, "verify", { token: racing[0]!.refresh })).status, 400);
  const again = await post(second.origin, "create", { username: "ada", password: "correct horse" });
  assert.is(again.status, 200);
  second.child.kill();
});

it.run();
