/** The limits of a server with several workers: one for all of them, also for a worker that was just started. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { processes, until } from "../support/processes.ts";
import { runtime, temporaryFolder } from "../support/runtime.ts";
import { type Running, logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: limits of workers`);

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const workersOf = (server: Running): number[] =>
  processes().flatMap(({ pid, parent, args }) =>
    parent === server.child.pid && args.includes(`/serve/${runtime}.`) ? [pid] : [],
  );

/** Sends failed logins one after the other, each over a connection of its own, and counts which were let through. */
async function failedLogins(server: Running, count: number, restMs: number): Promise<number> {
  let passed = 0;
  for (let i = 0; i < count; i++) {
    const { headers, ...request } = logIn("nobody", "wrong");
    const { status } = await server.send("/jwt/create/", { ...request, headers: { ...headers, connection: "close" } });
    assert.ok(status === 400 || status === 429, `${status}`);
    if (status === 400) passed++;
    await pause(restMs);
  }
  return passed;
}

it("are not multiplied by the number of workers, and known to one that replaces another", async () => {
  const limits = ["--throttle", "6/hour", "--throttle-failures", "false", "--throttle-rotations", "false"];
  const store = `file:${temporaryFolder()}/data`;
  const server = await serve(["--store", store, "--workers", "2"], {}, undefined, limits);
  await until(async () => (await server.send("/readyz")).status === 200, "it is ready");
  const passed = await failedLogins(server, 24, 150);
  console.log(`${passed} logins of 6 were let through by 2 workers`);
  assert.ok(passed >= 6 && passed <= 8, `${passed}`); // one each may pass before a worker is told
  assert.is(await failedLogins(server, 10, 0), 0);

  const before = workersOf(server);
  for (const pid of before) process.kill(pid, "SIGKILL");
  await until(() => {
    const now = workersOf(server);
    return now.length === 2 && !now.some((pid) => before.includes(pid));
  }, "both are replaced");
  await until(async () => (await server.send("/readyz").catch(() => undefined))?.status === 200, "they are ready");
  await pause(1000);
  assert.is(await failedLogins(server, 10, 0), 0, "new workers know what was counted within the last minute");
  await server.stop();
});

it.run();
