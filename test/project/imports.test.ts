/** Which file of `src/` may import which, and the rule that the core needs no runtime: read off the source. */
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectRoot, runtime } from "../support/runtime.ts";

const source = path.join(projectRoot, "src");

/**
 * File or folder (with its slash) -> what it may import: files and folders of `src/`, packages, `node:`. `type ` in
 * front takes an `import type` only, one that is gone at run time. A file's row adds to its folder's.
 */
const allowed: Record<string, string[]> = {
  index: [
    "handler",
    "settings/",
    "errors",
    "passwords/",
    "stores/store",
    "type endpoints/authenticate",
    "type http/message",
  ],
  handler: [
    "routes",
    "reports",
    "endpoints/",
    "sessions/",
    "http/",
    "settings/",
    "passwords/",
    "keys/",
    "errors",
    "maybe-promise",
  ],
  routes: ["endpoints/", "http/", "maybe-promise"],
  reports: ["http/message", "settings/", "type errors"],
  "settings/": [
    "settings/",
    "type stores/store",
    "passwords/formats",
    "type errors",
    "type maybe-promise",
    "valibot",
    "type jose",
  ],
  errors: ["@hapi/boom"],
  "endpoints/": [
    "endpoints/",
    "sessions/",
    "tokens/",
    "keys/",
    "passwords/",
    "errors",
    "maybe-promise",
    "type settings/",
    "type stores/store",
    "valibot",
  ],
  "sessions/": [
    "sessions/",
    "tokens/claims",
    "errors",
    "maybe-promise",
    "type endpoints/endpoint",
    "type settings/",
    "type stores/store",
  ],
  "http/": ["http/", "errors", "maybe-promise", "type settings/"],
  "http/cookies": ["cookie"],
  "http/body": ["native"],
  "keys/": ["keys/", "tokens/", "errors", "settings/", "type maybe-promise", "jose"],
  "tokens/": ["tokens/", "keys/", "errors", "settings/", "type stores/store", "type maybe-promise", "jose"],
  "tokens/claims": ["@noble/hashes"],
  "tokens/hmac": ["native"],
  "tokens/sha256": ["native"],
  "tokens/strict-json": ["native"],
  "passwords/": ["passwords/"],
  "passwords/argon2": ["type @node-rs/argon2"],
  "passwords/bcrypt": ["type @node-rs/bcrypt"],
  "passwords/scrypt": ["native", "@noble/hashes"],
  "stores/": ["stores/store", "type maybe-promise"],
  "stores/open": ["stores/"],
  "stores/memory": ["stores/forgetting"],
  "stores/file/": ["stores/", "node:"],
  "stores/postgres": ["stores/", "node:"],
  "program/": ["program/", "index", "errors", "settings/", "stores/", "node:"],
  "serve/": [
    "serve/",
    "program/",
    "index",
    "errors",
    "settings/",
    "http/body",
    "http/fetch",
    "maybe-promise",
    "stores/open",
    "stores/file/folder",
    "node:",
  ],
  "cli/": [
    "cli/",
    "program/",
    "index",
    "settings/",
    "stores/",
    "passwords/",
    "tokens/",
    "csv-parse",
    "stream-json",
    "citty",
    "node:",
  ],
  "cli/token": ["keys/", "endpoints/", "sessions/"],
  "cli/keys": ["keys/"],
};

/** Files that may know which runtime they are on. */
const isBound = (file: string): boolean => /^(serve|cli|program)\/|^stores\/(file\/|postgres$)/.test(file);

interface Import {
  from: string;
  isType: boolean;
}

/** Every file of `src/`, by its path without `.ts`. */
const files = new Map(
  readdirSync(source, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => [name.replaceAll("\\", "/").slice(0, -3), readFileSync(path.join(source, name), "utf8")]),
);

/**
 * The code without its comments, without what stands in regular expressions and templates (their `${…}` stay) and,
 * unless asked, in strings.
 */
function codeOf(text: string, { keepStrings }: { keepStrings: boolean }): string {
  let out = "";
  let i = 0;
  const templates: number[] = []; // depth of braces at which each open `${` ends
  let depth = 0;
  const templateText = () => {
    while (i < text.length) {
      if (text[i] === "\\") i += 2;
      else if (text[i] === "`") {
        out += text[i++];
        return;
      } else if (text.startsWith("${", i)) {
        out += "${";
        i += 2;
        templates.push(depth);
        return;
      } else i++;
    }
  };
  while (i < text.length) {
    const char = text[i]!;
    if (text.startsWith("//", i)) i = text.indexOf("\n", i) === -1 ? text.length : text.indexOf("\n", i);
    else if (text.startsWith("/*", i)) i = text.indexOf("*/", i) + 2;
    else if (char === '"' || char === "'") {
      const start = i++;
      while (text[i] !== char) i += text[i] === "\\" ? 2 : 1;
      i++;
      out += keepStrings ? text.slice(start, i) : char + char;
    } else if (char === "`") {
      out += text[i++];
      templateText();
    } else if (char === "/" && /(^|[=(,:[!&|?{};\n]|=>|return)\s*$/.test(out.slice(-20))) {
      let inClass = false;
      for (i++; text[i] !== "/" || inClass; i++) {
        if (text[i] === "\\") i++;
        else if (text[i] === "[") inClass = true;
        else if (text[i] === "]") inClass = false;
      }
      i++;
      out += "/ /";
    } else {
      if (char === "{") depth++;
      if (char === "}" && templates.length > 0 && templates.at(-1) === depth) {
        templates.pop();
        out += "}";
        i++;
        templateText();
        continue;
      }
      if (char === "}") depth--;
      out += char;
      i++;
    }
  }
  return out;
}

/** What a file imports. `import { type A }` counts as a value: it still loads the file (`verbatimModuleSyntax`). */
function importsOf(text: string): Import[] {
  const code = codeOf(text, { keepStrings: true });
  const found: Import[] = [];
  for (const [, type, from] of code.matchAll(/^\s*(?:import|export)\s+(type\s+)?[^;"']*?\bfrom\s*["']([^"']+)["']/gm)) {
    found.push({ from: from!, isType: type !== undefined });
  }
  for (const [, from] of code.matchAll(/^\s*import\s*["']([^"']+)["']/gm)) found.push({ from: from!, isType: false });
  for (const [before, from] of code.matchAll(/(?:typeof\s+)?\bimport\(\s*["']([^"']+)["']\s*\)/g)) {
    found.push({ from: from!, isType: before.startsWith("typeof") });
  }
  return found;
}

/** The name an import has in the table: a file of `src/`, a package, or `node:`. */
function targetOf(file: string, { from }: Import): string {
  if (from.startsWith("node:")) return "node:";
  if (from.startsWith(".")) return path.posix.join(path.posix.dirname(file), from).replace(/\.ts$/, "");
  return from.split("/", from.startsWith("@") ? 2 : 1).join("/");
}

function isAllowed(file: string, target: string, isType: boolean): boolean {
  const folders = [...file.matchAll(/\//g)].map(({ index }) => file.slice(0, index + 1));
  return [file, ...folders]
    .flatMap((name) => allowed[name] ?? [])
    .some((rule) => {
      const needsType = rule.startsWith("type ");
      const name = needsType ? rule.slice(5) : rule;
      if (needsType && !isType) return false;
      return target === name || (name.endsWith("/") && target.startsWith(name));
    });
}

function violations(sources: Map<string, string>): string[] {
  return [...sources].flatMap(([file, text]) =>
    importsOf(text)
      .map((each) => ({ target: targetOf(file, each), ...each }))
      .filter(({ target, isType }) => !isAllowed(file, target, isType))
      .map(({ target, isType }) => `${file} -> ${target}${isType ? " (type)" : ""}`),
  );
}

/** Names that only some runtimes have. `globalThis.navigator?.` and the like are looked up by feature. */
const runtimeName = new RegExp(
  [
    /(?<![\w$.#])(?:process|Deno|Bun|Buffer|__dirname|__filename|require|module|global)\b(?!\s*\??:)/,
    /\bglobalThis\s*\??\.\s*(?:process|Deno|Bun|Buffer|require|global)\b/,
    /\bglobalThis\s*(?:\?\.)?\s*\[/,
    /\bglobalThis\s+as\s[^;]*\)\s*\??\.\s*(?:process|Deno|Bun|Buffer|require|global)\b/,
    /\bimport\.meta\.(?:dirname|filename|require|main)\b/,
  ]
    .map(({ source: rule }) => rule)
    .join("|"),
  "g",
);
/** The ways to a faster built-in, in one file (STYLE, part (a)). */
const byFeature = new RegExp(
  [/\b(?:globalThis\s*\??\.\s*)?process\s*(?:\?\.|\.)\s*getBuiltinModule\b/, /\.\s*Bun\s*\?\.\s*SHA256\b/]
    .map(({ source: rule }) => rule)
    .join("|"),
  "g",
);

const runtimeNames = (text: string): string[] =>
  codeOf(text, { keepStrings: false }).replaceAll(byFeature, "feature").match(runtimeName) ?? [];

const imports = suite("imports");

imports("of src/ go only where an arrow is drawn", () => {
  assert.ok(files.size > 20, `${files.size} files`);
  assert.ok([...files].flatMap(([, text]) => importsOf(text)).length > 60);
  assert.equal(violations(files), []);
});

/** A dynamic import of what is no literal: nobody can read off it what it loads. */
const computedImport = /\bimport\(\s*(?:\/\*.*?\*\/\s*)*(?!["'\s/])/;

imports("are literals, but for the packages that no bundler can follow", () => {
  const computed = [...files].filter(([, text]) => computedImport.test(codeOf(text, { keepStrings: true })));
  assert.equal(
    computed.map(([file]) => file),
    ["passwords/index"],
  );
  for (const text of ["import(name)", "import( /* a */ name)", "import(`node:fs`)"]) assert.match(text, computedImport);
  assert.not.match('import("node:fs")', computedImport);
});

imports("name files that there are, with their ending", () => {
  const wrong = [...files].flatMap(([file, text]) =>
    importsOf(text)
      .filter((each) => each.from.startsWith(".") && !(each.from.endsWith(".ts") && files.has(targetOf(file, each))))
      .map(({ from }) => `${file} -> ${from}`),
  );
  assert.equal(wrong, []);
});

imports("make no circle at run time, but for a folder's index and its formats", () => {
  const edges = new Map(
    [...files].map(([file, text]) => [
      file,
      importsOf(text)
        .filter(({ isType }) => !isType)
        .map((each) => targetOf(file, each))
        .filter((target) => files.has(target) && !(file.startsWith("passwords/") && target === "passwords/index")),
    ]),
  );
  const done = new Set<string>();
  const visit = (file: string, way: string[]): void => {
    assert.not.ok(way.includes(file), [...way, file].join(" -> "));
    if (done.has(file)) return;
    for (const next of edges.get(file)!) visit(next, [...way, file]);
    done.add(file);
  };
  for (const file of files.keys()) visit(file, []);
});

imports("that break the rules are seen, in every way they can be written", () => {
  const bad: [file: string, text: string][] = [
    ["tokens/claims", 'import fs from "node:fs";'],
    ["tokens/claims", 'import { memoryStore } from "../stores/memory.ts";'],
    ["tokens/claims", 'import { type Store } from "../stores/store.ts";'],
    ["tokens/claims", 'import "./../handler.ts";'],
    ["tokens/claims", 'const x = await import("../http/render.ts");'],
    ["endpoints/create", 'import {\n  parseSettings,\n} from "../settings.ts";'],
    ["endpoints/create", 'export * from "../http/body.ts";'],
    ["endpoints/create", 'import { jwtVerify } from "jose";'],
    ["http/cors", 'import * as v from "valibot";'],
    ["http/render", 'import { Boom } from "@hapi/boom";'],
    ["passwords/argon2", 'const x = await import("@node-rs/argon2");'],
    ["passwords/pbkdf2", 'import { fail } from "../errors.ts";'],
    ["stores/memory", 'import fs from "node:fs";'],
    ["stores/memory", 'export { openFileStore } from "./file.ts";'],
    ["settings", 'import { importJWK } from "jose";'],
    ["handler", 'import { signToken } from "./tokens/sign.ts";'],
    ["serve/node", 'import { createJwtEndpoints } from "../handler.ts";'],
    ["cli/user", 'import { serve } from "srvx";'],
    ["index", 'import "left-pad";'],
    ["new/file", 'import type { Store } from "../stores/store.ts";'],
  ];
  for (const [file, text] of bad) assert.is(violations(new Map([[file, text]])).length, 1, `${file}: ${text}`);
  const good: [file: string, text: string][] = [
    ["tokens/claims", 'import type { Store } from "../stores/store.ts";\n// import fs from "node:fs";'],
    ["passwords/pbkdf2", '/**\n * import { a } from "../handler.ts";\n */\nimport { b } from "./index.ts";'],
    ["stores/open", 'return (await import("./file.ts")).openFileStore(folder);'],
  ];
  for (const [file, text] of good) assert.equal(violations(new Map([[file, text]])), [], `${file}: ${text}`);
});

imports.run();

const globals = suite("globals");

globals("of one runtime are used outside serve/, cli/ and the stores on disk by nobody", () => {
  const wrong = [...files]
    .filter(([file]) => !isBound(file))
    .flatMap(([file, text]) => runtimeNames(text).map((name) => `${file}: ${name}`));
  assert.equal(wrong, []);
});

globals("are looked up by feature in one file at most", () => {
  const users = [...files]
    .filter(([file, text]) => !isBound(file) && codeOf(text, { keepStrings: false }).match(byFeature))
    .map(([file]) => file);
  assert.ok(users.length <= 1, users.join());
});

globals("are seen where they stand in code, and only there", () => {
  for (const text of [
    "process.env.X",
    "x = Deno.args",
    "Bun.serve()",
    "Buffer.from(a)",
    "`${process.pid}`",
    "require(a)",
    "__dirname",
    "globalThis.process",
    'globalThis["Deno"]',
    "globalThis?.Buffer",
    "(globalThis as { Deno: Api }).Deno.args",
    "(globalThis as any).Bun.serve()",
    "import.meta.dirname",
    "a ? b : process",
    "typeof Deno",
    "f(/[/]'/, process)",
    "`a${`b${Bun}`}`",
    "a / process.b / c",
    "global.x",
    "const q = '\"'; process.exit()",
  ]) {
    assert.is.not(runtimeNames(text).length, 0, text);
  }
  for (const text of [
    "// process",
    "/* Deno\n */",
    '"Bun"',
    "'it is a Buffer'",
    "`process`",
    "a.process",
    "x = /process/g",
    "processes",
    'process.getBuiltinModule?.("node:crypto")',
    "globalThis.process?.getBuiltinModule",
    "globalThis.navigator?.x",
    "(globalThis as { Bun?: Api }).Bun?.SHA256",
    '"\\"process"',
    "`a${b}process`",
    "{ module: 1 }",
  ]) {
    assert.equal(runtimeNames(text), [], text);
  }
});

globals.run();

const bare = suite("the core");

const program = (folder: string) => `
import { createJwtEndpoints, createPasswords } from ${JSON.stringify(`${folder}/index.ts`)};
import { memoryStore } from ${JSON.stringify(`${folder}/stores/memory.ts`)};
const store = memoryStore();
await store.addUser({ username: "ada", passwordHash: await createPasswords({ iterations: 1 }).hash("x") });
const { fetch, ready } = createJwtEndpoints({ store, signingKey: "s".repeat(32), hashing: { iterations: 1 } });
await ready();
const post = async (name, data) => {
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) };
  const response = await fetch(new Request("http://localhost/jwt/" + name + "/", init));
  return { status: response.status, ...(await response.json()) };
};
const { refresh } = await post("create", { username: "ada", password: "x" });
const { access } = await post("refresh", { refresh });
const names = ["read", "write", "net", "env", "run", "sys", "ffi"];
const states = names.map((name) => Deno.permissions.querySync({ name }).state);
console.log(JSON.stringify({ verified: await post("verify", { token: access }), states: [...new Set(states)] }));
`;

bare("loads and logs somebody in without any permission of the runtime", async () => {
  const core = reachable(["index", "stores/memory"]);
  assert.ok(core.has("handler") && core.has("keys/key-set"));
  assert.equal([...core].filter(isBound), []);
  if (runtime !== "deno") return; // elsewhere there is no such thing as no permission; the scan above stands for it
  // Not by node:child_process, which under Deno adds -A to a `deno run` that names no permission.
  const { Command, execPath } = (globalThis as unknown as { Deno: DenoApi }).Deno;
  const child = new Command(execPath(), { args: ["run", "--no-prompt", "-"], cwd: projectRoot, ...piped }).spawn();
  const input = new Blob([program(new URL("../../src", import.meta.url).href)]);
  await input.stream().pipeTo(child.stdin);
  const { code, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  assert.is(code, 0, text.decode(stderr));
  assert.equal(JSON.parse(text.decode(stdout)), { verified: { status: 200 }, states: ["prompt"] });
});

const piped = { stdin: "piped", stdout: "piped", stderr: "piped" };

interface DenoApi {
  execPath(): string;
  Command: new (program: string, options: { args: string[]; cwd: string } & typeof piped) => { spawn(): DenoChild };
}

interface DenoChild {
  stdin: WritableStream<Uint8Array>;
  output(): Promise<{ code: number; stdout: Uint8Array; stderr: Uint8Array }>;
}

/** All files that are loaded at run time when these are. */
function reachable(entries: string[]): Set<string> {
  const seen = new Set(entries);
  for (const file of seen) {
    for (const each of importsOf(files.get(file)!)) {
      const target = targetOf(file, each);
      if (!each.isType && files.has(target)) seen.add(target);
    }
  }
  return seen;
}

bare("takes Buffer from no other package than @hapi/boom, which needs it at import", () => {
  const packages = new Set<string>();
  for (const file of reachable(["index", "stores/memory"])) {
    for (const { from, isType } of importsOf(files.get(file)!)) {
      if (!isType && !from.startsWith(".")) packages.add(from);
    }
  }
  assert.equal([...packages].toSorted(), [
    "@hapi/boom",
    "@noble/hashes/legacy.js",
    "@noble/hashes/scrypt.js",
    "@noble/hashes/utils.js",
    "cookie",
    "jose",
    "valibot",
  ]);
});

bare.run();
