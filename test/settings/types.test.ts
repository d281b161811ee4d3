/** The interface that an editor explains says the same as the schema: its documentation here, its types by the compiler. */
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describeSettings } from "../../src/index.ts";
import { rareCollection } from "../support/package.ts";
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
    for (const name of ["node_modules", "package.json"]) {
      symlinkSync(path.join(projectRoot, name), path.join(folder, name));
    }
    const changes: [from: string, to: string, differs: string | undefined][] = [
      ["leeway?: Duration", "leeway?: Duration", undefined],
      ["leeway?: Duration", "leeway?: Duration | boolean", "leeway"],
      ["leeway?: Duration", "leeway?: number", "leeway"],
      ["leeway: number", "leeway: number | string", "leeway"],
      ["prefix?: string;", "", "prefix"],
      ["prefix?: string;", "prefix?: string;\n  suffix?: string;", "suffix"],
      ["secure?: boolean;", "secure?: boolean;\n  partitioned?: boolean;", "cookies"],
    ];
    // One run of the compiler reads the declarations of the language once for all changes.
    for (const [index, [from, to]] of changes.entries()) {
      assert.is(source.split(from).length, 2, from);
      const copy = path.join(folder, `src${index}`);
      cpSync(path.join(projectRoot, "src"), copy, { recursive: true });
      writeFileSync(path.join(copy, "settings/types.ts"), source.replace(from, to));
    }
    const config = { extends: path.join(projectRoot, "tsconfig.json"), include: ["src*/settings/schema.ts"] };
    writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = path.join(projectRoot, "node_modules/typescript/bin/tsc");
    const { stdout } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8", env: rareCollection });
    for (const [index, [, to, differs]] of changes.entries()) {
      const difference = new RegExp(
        `src${index}/settings/schema\\.ts.*Type '"(\\w+)"' does not satisfy the constraint 'never'`,
      );
      assert.is(difference.exec(stdout)?.[1], differs, `${to}\n${stdout}`);
    }
  });
}

it.run();
