/** The interface that an editor explains says the same as the schema: its documentation here, its types by the compiler. */
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describeSettings } from "../../src/index.ts";
import { projectRoot, runtime, temporaryFolder } from "../support/runtime.ts";

const source = readFileSync(path.join(projectRoot, "src/settings/types.ts"), "utf8");

/** Member -> its documentation, of one interface of the file. */
function docsOf(name: string, prefix = ""): Map<string, string> {
  const body = new RegExp(`^export interface ${name} \\{\\n([\\s\\S]*?)^\\}`, "m").exec(source)![1]!;
  const members = [...body.matchAll(/ {2}\/\*\*([\s\S]*?)\*\/\n {2}(\w+)\??: /g)];
  assert.is(members.length, body.match(/^ {2}\w+\??: /gm)!.length, `every member of ${name} has documentation`);
  return new Map(members.map(([, doc, member]) => [prefix + member, doc!]));
}

/** Of `hashing`, the passwords' own interface is used. */
const settings = describeSettings().filter(({ name }) => !name.startsWith("hashing."));
const docs = new Map([...docsOf("JwtEndpointsSettings"), ...docsOf("CookieSettings", "cookies.")]);

const it = suite("types of settings");

it("document every setting and nothing else", () => {
  const described = new Set(["store", "hashing", "cookies", ...settings.map(({ name }) => name)]);
  assert.equal([...docs.keys()].toSorted(), [...described].toSorted());
});

it("document the default that the schema has", () => {
  for (const { name, default: value } of settings) {
    const expected = value === undefined || typeof value === "function" ? undefined : JSON.stringify(value);
    assert.is(/@default (.*)/.exec(docs.get(name)!)?.[1], expected, name);
  }
});

it("document Simple JWT's name of those that come from there", () => {
  for (const { name, simpleJwtName } of settings) {
    assert.is(/Simple JWT: `(\w+)`\./.exec(docs.get(name)!)?.[1], simpleJwtName, name);
  }
});

// One compiler for all runtimes is enough.
if (runtime === "node") {
  it("are compared with the schema by the compiler, which names the setting that differs", () => {
    const folder = temporaryFolder();
    cpSync(path.join(projectRoot, "src"), path.join(folder, "src"), { recursive: true });
    for (const name of ["node_modules", "package.json"]) {
      symlinkSync(path.join(projectRoot, name), path.join(folder, name));
    }
    const config = { extends: path.join(projectRoot, "tsconfig.json"), include: ["src/settings/schema.ts"] };
    writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify(config));
    const changes: [from: string, to: string, differs: string | undefined][] = [
      ["leeway?: Duration", "leeway?: Duration", undefined],
      ["leeway?: Duration", "leeway?: Duration | boolean", "leeway"],
      ["leeway?: Duration", "leeway?: number", "leeway"],
      ["leeway: number", "leeway: number | string", "leeway"],
      ["prefix?: string;", "", "prefix"],
      ["prefix?: string;", "prefix?: string;\n  suffix?: string;", "suffix"],
      ["secure?: boolean;", "secure?: boolean;\n  partitioned?: boolean;", "cookies"],
    ];
    for (const [from, to, differs] of changes) {
      assert.is(source.split(from).length, 2, from);
      writeFileSync(path.join(folder, "src/settings/types.ts"), source.replace(from, to));
      const tsc = path.join(projectRoot, "node_modules/typescript/bin/tsc");
      const { stdout } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
      const named = /schema\.ts.*Type '"(\w+)"' does not satisfy the constraint 'never'/.exec(stdout)?.[1];
      assert.is(named, differs, `${to}\n${stdout}`);
    }
  });
}

it.run();
