/** The lint rules and the core's tsconfig refuse planted files that break them, one for each rule. */
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectRoot, temporaryFolder } from "../support/runtime.ts";

/** Returns what a program of the project's packages prints about a folder. */
const check = (program: string, args: string[], cwd: string): Promise<string> =>
  new Promise((resolve) => {
    const file = path.join(projectRoot, "node_modules", ".bin", program);
    execFile(file, args, { cwd, maxBuffer: 1 << 26 }, (_error, stdout, stderr) => resolve(stdout + stderr));
  });

/** Makes a project that has this one's rules and only the given sources. */
function plant(sources: Record<string, string>): string {
  const folder = temporaryFolder();
  mkdirSync(path.join(folder, "src"));
  for (const name of [".oxlintrc.json", "package.json", "tsconfig.json", "src/tsconfig.core.json"]) {
    copyFileSync(path.join(projectRoot, name), path.join(folder, name));
  }
  symlinkSync(path.join(projectRoot, "node_modules"), path.join(folder, "node_modules"));
  for (const [name, text] of Object.entries(sources)) {
    mkdirSync(path.join(folder, "src", path.dirname(name)), { recursive: true });
    writeFileSync(path.join(folder, "src", name), text);
  }
  return folder;
}

/** Returns the rules that each planted text breaks, in the order of the texts. */
async function brokenRules(texts: [folder: string, text: string][]): Promise<string[][]> {
  const nameOf = (folder: string, index: number) => path.posix.join(folder, `planted${index}.ts`);
  const folder = plant(Object.fromEntries(texts.map(([place, text], index) => [nameOf(place, index), text])));
  const { diagnostics } = JSON.parse(await check("oxlint", ["-f", "json", "src"], folder)) as {
    diagnostics: { code: string; filename: string }[];
  };
  return texts.map(([place], index) =>
    diagnostics
      .filter(({ filename }) => filename === path.posix.join("src", nameOf(place, index)))
      .map(({ code }) => /\(([^)]+)\)/.exec(code)![1]!),
  );
}

async function expectRule(rule: string, texts: [folder: string, text: string][]): Promise<void> {
  const found = await brokenRules(texts);
  for (const [index, [folder, text]] of texts.entries()) assert.ok(found[index]!.includes(rule), `${folder}: ${text}`);
}

const lint = suite("lint");

lint("refuses an import without an arrow, in every way it can be written", () =>
  expectRule("no-restricted-imports", [
    ["tokens", 'import fs from "node:fs";'],
    ["tokens", 'import fs from "fs";'],
    ["tokens", 'export const fs = await import("node:fs/promises");'],
    ["tokens", 'import { memoryStore } from "../stores/memory.ts";'],
    ["tokens", 'import "./../handler.ts";'],
    ["tokens", 'export const x = await import("../http/render.ts");'],
    ["endpoints", 'import {\n  parseSettings,\n} from "../settings/schema.ts";'],
    ["endpoints", 'export * from "../http/body.ts";'],
    ["endpoints", 'import { jwtVerify } from "jose";'],
    ["http", 'import * as v from "valibot";'],
    ["http", 'import { Boom } from "@hapi/boom";'],
    ["http", 'import type { Store } from "../stores/store.ts";'],
    ["passwords", 'export const x = await import("@node-rs/argon2");'],
    ["passwords", 'import { fail } from "../errors.ts";'],
    ["stores", 'import fs from "node:fs";'],
    ["stores", 'export { fail } from "../errors.ts";'],
    ["settings", 'import { importJWK } from "jose";'],
    ["keys", 'import fs from "node:fs";'],
    ["sessions", 'import { render } from "../http/render.ts";'],
    ["serve", 'import { createJwtEndpoints } from "../handler.ts";'],
    ["cli", 'import { serve } from "srvx";'],
    ["openapi", 'import { operations } from "../routes.ts";'],
    ["client", 'import { fail } from "../errors.ts";'],
    ["client", 'import * as v from "valibot";'],
  ]),
);

lint("refuses a type import that would still load the file", () =>
  expectRule("no-import-type-side-effects", [["sessions", 'import { type Store } from "../stores/store.ts";']]),
);

lint("refuses the names of one runtime in the core", async () => {
  const texts = [
    "process.env.X",
    "Deno.args",
    "Bun.serve()",
    "Buffer.from([])",
    'require("x")',
    "__dirname",
    "global.x",
  ];
  await expectRule(
    "no-restricted-globals",
    texts.map((text): [string, string] => ["tokens", `export const x = ${text};`]),
  );
  const properties = ["globalThis.process", "(globalThis as any).Deno", "x?.Bun.serve()", "x.getBuiltinModule('fs')"];
  await expectRule(
    "no-restricted-properties",
    properties.map((text): [string, string] => ["endpoints", `declare const x: any;\nexport const y = ${text};`]),
  );
});

lint("refuses an import of a computed name", () =>
  expectRule("no-dynamic-require", [
    ["tokens", "export const load = (name: string) => import(name);"],
    ["serve", "export const load = (name: string) => import(`./${name}.ts`);"],
  ]),
);

lint("refuses files that import each other, in one folder as well", async () => {
  const folder = plant({
    "tokens/a.ts": 'import { b } from "./b.ts";\nexport const a = () => b;',
    "tokens/b.ts": 'import { c } from "./c.ts";\nexport const b = () => c;',
    "tokens/c.ts": 'import { a } from "./a.ts";\nexport const c = () => a;',
  });
  assert.match(await check("oxlint", ["src"], folder), "import(no-cycle)");
});

lint("accepts the allowed imports", async () => {
  const texts: [folder: string, text: string][] = [
    ["tokens", 'import { fail } from "../errors.ts";\n// import fs from "node:fs";\nexport const x = fail;'],
    ["sessions", 'import type { Store } from "../stores/store.ts";\nexport type X = Store;'],
    ["passwords", '/**\n * import { a } from "../handler.ts";\n */\nexport * from "./hasher.ts";'],
    ["stores", 'export const open = async () => (await import("./file/index.ts")).openFileStore;'],
    ["stores/file", 'import fs from "node:fs/promises";\nexport const pid = [fs, process.pid];'],
    ["serve", 'import { createJwtEndpoints } from "../index.ts";\nexport const x = [createJwtEndpoints, process.pid];'],
    ["tokens", "// process\nexport const x = { text: `Deno`, module: 1, y: /Buffer/ };"],
  ];
  assert.equal(
    await brokenRules(texts),
    texts.map(() => []),
  );
});

lint.run();

const types = suite("the core's types");

types("are those of no runtime", async () => {
  const lines = [
    'import fs from "node:fs"; export const a = fs;',
    'export const b = () => import("node:os");',
    "export const c = process.env;",
    "export const d = globalThis.process;",
    'export const e = globalThis["Deno"];',
    "export const f = Buffer.from([]);",
    "export const g = import.meta.dirname;",
    "export const h = typeof Bun;",
    "export const i = setImmediate;",
    "export const j = new URL(import.meta.url);", // standard, so the only line that compiles
  ];
  const folder = plant({ "tokens/planted.ts": lines.join("\n") });
  const output = await check("tsc", ["-p", "src/tsconfig.core.json", "--pretty", "false"], folder);
  const found = new Set([...output.matchAll(/planted\.ts\((\d+),/g)].map(([, line]) => Number(line)));
  assert.equal(
    [...found].toSorted((a, b) => a - b),
    lines.slice(0, -1).map((_line, index) => index + 1),
    output,
  );
});

types.run();
