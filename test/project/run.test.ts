/** The runner of the tests: what it must not pass over. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectRoot } from "../support/runtime.ts";

const runner = suite("npm test");

runner("fails for a name that no suite has", () => {
  const args = ["--import", "tsx", path.join(projectRoot, "test/run.ts"), "deno", "tokns"];
  const { status, stdout } = spawnSync(process.execPath, args, { cwd: projectRoot, encoding: "utf8" });
  assert.is(status, 1, stdout);
  assert.match(stdout, /failed: no suite is called tokns/);
});

runner.run();
