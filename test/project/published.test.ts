/**
 * What is published, judged by the tools of those who will use it: npm's packages, JSR, an old TypeScript, single-file builds.
 * On Node only: the files are the same on every runtime.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { version } from "../../src/program/version.ts";
import { packAndInstall, run } from "../support/package.ts";
import { finished, until } from "../support/processes.ts";
import { environmentWith, projectRoot, runtime, startProgram, temporaryFolder } from "../support/runtime.ts";

const bin = (name: string): string => path.join(projectRoot, "node_modules/.bin", name);
const readJson = (name: string) => JSON.parse(readFileSync(path.join(projectRoot, name), "utf8"));

/** Where a subpath of the package is in the sources. */
const sources: Record<string, string> = Object.fromEntries(
  Object.entries(readJson("package.json").exports as Record<string, { default: string }>).map(([subpath, entry]) => [
    subpath,
    entry.default.replace("./dist/", "./src/").replace(/js$/, "ts"),
  ]),
);

/**
 * The oldest TypeScript that reads our declarations, 5.7: earlier ones have no `Uint8Array<ArrayBuffer>`. `overrides` of
 * package.json has arethetypeswrong use it, which keeps its own copy. A second one of the project would take the place of
 * `node_modules/.bin/tsc`.
 */
const oldTypeScript = path.join(projectRoot, "node_modules/@arethetypeswrong/core/node_modules/typescript");

/**
 * Checks `old.ts`, our declarations and those of jose. Those of the language, Node and valibot are read without being checked
 * by themselves, which would take twice as long as all else.
 */
const checkByOldTypeScript = `
  import ts from ${JSON.stringify(path.join(oldTypeScript, "lib/typescript.js"))};
  const strict = "--noEmit --strict --exactOptionalPropertyTypes --skipLibCheck false";
  const target = "--module nodenext --target es2022 --lib es2023,dom,dom.iterable --types node";
  const { options } = ts.parseCommandLine((strict + " " + target).split(" "));
  const program = ts.createProgram(["old.ts"], options);
  const files = program.getSourceFiles().filter(({ fileName }) => !/\\/(typescript|@types|undici-types|valibot)\\//.test(fileName));
  const ofProgram = [program.getOptionsDiagnostics(), program.getGlobalDiagnostics(), program.getSyntacticDiagnostics()];
  const found = [...ofProgram, ...files.map((file) => program.getSemanticDiagnostics(file))].flat();
  const hasAll = ["/jwt-endpoints/dist/index.d.ts", "/jose/dist/"].every((part) => files.some(({ fileName }) => fileName.includes(part)));
  const host = { getCanonicalFileName: String, getCurrentDirectory: () => ".", getNewLine: () => "\\n" };
  console.log(JSON.stringify([ts.versionMajorMinor, hasAll, found.map((each) => ts.formatDiagnostic(each, host))]));
`;

if (runtime !== "node")
  console.log(`published: runs under Node only, since the files are the same; this is ${runtime}`);
else {
  const it = suite("the published package");
  let packed: ReturnType<typeof packAndInstall>;

  it.before(() => {
    packed = packAndInstall();
  });

  it("has nothing that publint remarks on", async () => {
    const pkgDir = path.join(packed.host, "node_modules/jwt-endpoints");
    const { messages, pkg } = await publint({ pkgDir, pack: false, strict: true });
    assert.equal(
      messages.map((message) => formatMessage(message, pkg)),
      [],
    );
  });

  it("has types that fit its modules, by arethetypeswrong", async () => {
    const result = await checkPackage(createPackageFromTarballData(readFileSync(packed.tarball)));
    assert.ok(result.types !== false, "it has types");
    // ES modules alone: `require` of them works from Node 20.19, and resolution without `exports` ended with TypeScript 4.7.
    const old = ["node10", "node16-cjs"];
    const problems = "problems" in result ? result.problems : [];
    assert.equal(
      problems.filter((problem) => !("resolutionKind" in problem && old.includes(problem.resolutionKind))),
      [],
    );
  });

  it("has types that TypeScript 5.7 reads", () => {
    const folder = path.join(packed.host, "old");
    mkdirSync(path.join(folder, "node_modules"), { recursive: true });
    writeFileSync(path.join(folder, "package.json"), '{"private":true,"type":"module"}');
    const imports = Object.keys(sources).map((subpath, index) => {
      const name = path.posix.join("jwt-endpoints", subpath);
      return `import * as part${index} from "${name}";\nexport { part${index} };`;
    });
    const config = `
      import { defineConfig } from "jwt-endpoints/config";
      export default defineConfig({ port: 9000, claims: (user) => ({ name: user.username }) });
      // @ts-expect-error there is no such setting
      defineConfig({ prot: 9000 });`;
    writeFileSync(path.join(folder, "old.ts"), [...imports, config].join("\n"));
    symlinkSync(path.join(projectRoot, "node_modules/@types"), path.join(folder, "node_modules/@types"));
    writeFileSync(path.join(folder, "check.js"), checkByOldTypeScript);
    assert.equal(JSON.parse(run(folder, process.execPath, "check.js")), ["5.7", true, []]);
  });

  it("has its version in three places, and the same entries for npm and JSR", () => {
    const deno = readJson("deno.json") as { version: string; exports: Record<string, string> };
    assert.equal([version, deno.version], Array<string>(2).fill(readJson("package.json").version));
    assert.equal(deno.exports, sources, "exports of deno.json name the sources of those of package.json");
  });

  it("passes the checks of JSR", () => {
    const folder = temporaryFolder();
    for (const name of ["package.json", "deno.json", "README.md", "src"]) {
      cpSync(path.join(projectRoot, name), path.join(folder, name), { recursive: true });
    }
    symlinkSync(path.join(projectRoot, "node_modules"), path.join(folder, "node_modules"));
    const file = path.join(folder, "deno.json");
    // JSR wants a licence, which the project has not chosen yet.
    writeFileSync(file, JSON.stringify({ license: "UNLICENSED", ...JSON.parse(readFileSync(file, "utf8")) }));
    // The tables of errors and algorithms state their types by what is in them. `project/package` checks the types.
    run(folder, bin("deno"), "publish", "--dry-run", "--allow-dirty", "--allow-slow-types", "--no-check");
  });

  it("has a docstring for everything that is exported", () => {
    const { stderr } = spawnSync(bin("deno"), ["doc", "--lint", ...Object.values(sources)], {
      cwd: projectRoot,
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "1" },
      maxBuffer: 1 << 26,
    });
    assert.match(stderr, "documentation lint errors", "it also tells of members, whose names may say all");
    const found = [
      ...stderr.matchAll(/error\[missing-jsdoc\].*\n +--> (.*):(\d+):\d+\n.*\n *\d+ \| ((?:export|declare) .*)/g),
    ];
    assert.equal(
      found.map(([, name, line, text]) => `${path.relative(projectRoot, name!)}:${line} ${text}`),
      [],
    );
  });

  it("has an API reference made from the docstrings, by npm run docs", () => {
    const file = run(projectRoot, "npm", "run", "--silent", "docs").trim().split("\n").at(-1)!;
    const page = readFileSync(path.join(path.dirname(path.join(projectRoot, file)), "all_symbols.html"), "utf8");
    for (const name of ["createJwtEndpoints", "memoryStore", "openFileStore", "defineConfig", "createPasswords"]) {
      assert.match(page, name);
    }
  });

  /** Starts a single-file build, logs in with it, and runs a command of it. */
  async function tryBuild(file: string, name: string): Promise<void> {
    const folder = temporaryFolder();
    writeFileSync(path.join(folder, "jwt-endpoints.config.json"), '{"prefix":"/auth"}');
    const options = { cwd: folder, env: environmentWith({}) };
    const child = startProgram(file, ["--port", "0", "--workers", "2"], options);
    let stdout = "";
    child.stdout!.on("data", (chunk: Uint8Array) => (stdout += String(chunk)));
    await until(() => stdout.includes("curl") || child.exitCode !== null, "the first user is told of", 30_000);
    assert.match(stdout, new RegExp(`^runtime  ${name} `, "m"));
    const url = `${/http:\S+\/auth\/jwt\//.exec(stdout)![0]}create/`;
    const body = /-d '(\{.*\})'/.exec(stdout)![1]!;
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    assert.equal([response.status, Object.keys((await response.json()) as object)], [200, ["refresh", "access"]]);
    const list = await finished(startProgram(file, ["user", "list"], options));
    assert.match(list.stdout, /^admin /m);
    const ended = new Promise((resolve) => child.once("close", resolve));
    child.kill("SIGTERM");
    assert.is(await ended, 0);
  }

  it("is built into a single file by Bun", async () => {
    const file = path.join(temporaryFolder(), "jwt-endpoints");
    run(projectRoot, bin("bun"), "build", "--compile", "--outfile", file, "src/cli/main.ts");
    await tryBuild(file, "Bun");
  });

  it("is built into a single file by Deno, where Deno's runtime for that can be downloaded", async () => {
    const file = path.join(temporaryFolder(), "jwt-endpoints");
    const args = ["compile", "-A", "--no-check", "--output", file, "src/cli/main.ts"];
    const { status, stderr } = spawnSync(bin("deno"), args, { cwd: projectRoot, encoding: "utf8" });
    if (status !== 0 && /denort.*\.zip/.test(stderr)) {
      console.log("deno compile was not tried: dl.deno.land, which has its runtime, can't be reached from here");
      return;
    }
    assert.is(status, 0, stderr);
    await tryBuild(file, "Deno");
  });

  it.run();
}
