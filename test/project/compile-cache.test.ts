/**
 * The compiled code that the package keeps for its next start. On Node only, which starts Deno and another Node itself.
 */
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import module from "node:module";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packAndInstall, run } from "../support/package.ts";
import { node24, projectRoot, runtime } from "../support/runtime.ts";

if (runtime === "node") {
  const it = suite("compiled code of the package");
  let installed: string;

  it.before(() => {
    installed = path.join(packAndInstall().host, "node_modules/jwt-endpoints");
  });

  it("is kept for the next start on Node 24", () => {
    if (!existsSync(node24)) return console.log("skipped: Node 24 is not here; npm ci --prefix .ci/node24 brings it");
    assert.match(run(installed, node24, path.join(installed, "dist/cli/main.cjs"), "--version"), /^\d/);
    assert.ok(existsSync(path.join(installed, "node_modules/.cache/jwt-endpoints")));
  });

  it("is kept on this Node too, and made again where it was damaged", () => {
    const show = () => run(installed, process.execPath, path.join(installed, "dist/cli/main.cjs"), "--version");
    const kept = path.join(installed, `node_modules/.cache/jwt-endpoints/${process.version}-${process.arch}`);
    if ("enableCompileCache" in module) return console.log("this Node keeps and checks the code itself");
    rmSync(kept, { recursive: true, force: true });
    assert.match(show(), /^\d/);
    const files = readdirSync(kept).map((name) => path.join(kept, name));
    assert.ok(files.length > 0);
    for (const [index, file] of files.entries()) {
      const bytes = readFileSync(file);
      const middle = bytes.length >> 1;
      bytes[middle]! ^= 255;
      writeFileSync(file, index % 2 === 0 ? bytes : bytes.subarray(0, middle));
    }
    const timesAfterStart = () => {
      assert.match(show(), /^\d/);
      return files.map((file) => statSync(file).mtimeMs);
    };
    assert.equal(timesAfterStart(), timesAfterStart(), "the second start finds all whole, and writes none");
  });

  it("is not kept on Deno, which would ask for permission to write", () => {
    const deno = path.join(projectRoot, "node_modules/.bin/deno");
    if (!existsSync(deno)) return;
    const cache = path.join(installed, "node_modules/.cache");
    rmSync(cache, { recursive: true, force: true });
    assert.match(run(installed, deno, "run", "-A", path.join(installed, "dist/cli/main.cjs"), "--version"), /^\d/);
    assert.not(existsSync(cache));
  });

  it.run();
} else console.log(`compile cache: runs under Node only, since npm packs and installs; this is ${runtime}`);
