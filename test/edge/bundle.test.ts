/** What the core adds to a bundle. Prints the size and what it consists of; a bound keeps it from growing unseen. */
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { type BuildOptions, build } from "esbuild";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type * as Index from "../../src/index.ts";
import type * as Rules from "../../src/passwords/rules.ts";
import type * as Memory from "../../src/stores/memory.ts";
import { pairOf } from "../support/key-fixtures.ts";
import { buildPackage } from "../support/package.ts";

const folder = buildPackage();
const pair = await pairOf("RS256", "a");

/**
 * Minified and gzipped, in bytes: what is loaded at once, without the chunks that load when a setting needs them. A host
 * that brings its own store adds the handler alone.
 */
const bounds = { handler: 45 * 1024, withMemoryStore: 49.75 * 1024 };

const options = {
  bundle: true,
  minify: true,
  splitting: true,
  format: "esm",
  platform: "neutral",
  mainFields: ["module", "main"],
  absWorkingDir: folder,
} satisfies BuildOptions;

/** Bundles with everything that is loaded at once in the entry's chunks, and returns their size and the parts of it. */
async function measure(contents: string): Promise<{ gzipped: number; parts: [name: string, bytes: number][] }> {
  const { outputFiles, metafile } = await build({
    ...options,
    stdin: { contents, resolveDir: folder },
    metafile: true,
    write: false,
    outdir: path.join(folder, "bundle"),
  });
  const names = new Set(
    Object.keys(metafile.outputs).filter((name) => metafile.outputs[name]!.entryPoint === "<stdin>"),
  );
  const parts = new Map<string, number>();
  let gzipped = 0;
  for (const name of names) {
    const { imports, inputs } = metafile.outputs[name]!;
    for (const { kind, path: imported } of imports) if (kind === "import-statement") names.add(imported);
    gzipped += gzipSync(outputFiles.find((file) => file.path === path.join(folder, name))!.contents).length;
    for (const [input, { bytesInOutput }] of Object.entries(inputs)) {
      const part = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? input.split("/").slice(0, 2).join("/");
      parts.set(part, (parts.get(part) ?? 0) + bytesInOutput);
    }
  }
  return { gzipped, parts: [...parts].toSorted(([, a], [, b]) => b - a) };
}

const index = JSON.stringify(path.join(folder, "dist/index.js"));
const memory = JSON.stringify(path.join(folder, "dist/stores/memory.js"));

const it = suite("bundle of the core");

const handler = `export { createJwtEndpoints } from ${index};`;

for (const [title, contents, bound] of [
  ["createJwtEndpoints", handler, bounds.handler],
  ["createJwtEndpoints and memoryStore", `${handler} export { memoryStore } from ${memory};`, bounds.withMemoryStore],
] as const) {
  it(`is within its bound: ${title}`, async () => {
    const { gzipped, parts } = await measure(contents);
    const largest = parts.slice(0, 12).map(([name, bytes]) => `${name} ${(bytes / 1024).toFixed(1)}`);
    console.log(`${title}: ${(gzipped / 1024).toFixed(1)} KiB gzipped; minified, in KiB: ${largest.join(", ")}`);
    assert.ok(gzipped <= bound, `${gzipped} of ${bound} bytes`);
    assert.not.ok(parts.some(([name]) => name.includes("zxcvbn") || name === "jose" || name === "@hapi/hoek"));
  });
}

it("is nothing when nothing is used", async () => {
  const { gzipped } = await measure(
    `import { createJwtEndpoints } from ${index}; import { memoryStore } from ${memory}; console.log(1);`,
  );
  assert.ok(gzipped < 60, `${gzipped} bytes`);
});

it("leaves the list of common passwords out of one file, as README says", async () => {
  const readme = readFileSync(path.join(folder, "src/http/README.md"), "utf8");
  const [, name, replacement] = /`(no-passwords\.js)` with `(.+?)`/.exec(readme)!;
  const [, replaced] = /`"alias": \{ "(.+?)": "\.\/no-passwords\.js" \}`/.exec(readme)!;
  writeFileSync(path.join(folder, name!), replacement!);
  const bundled = async (contents: string, alias: Record<string, string>): Promise<Uint8Array> => {
    const stdin = { contents, resolveDir: folder };
    const { outputFiles } = await build({ ...options, splitting: false, alias, write: false, stdin });
    return outputFiles[0]!.contents;
  };
  const alias = { [replaced!]: path.join(folder, name!) };
  const [whole, small] = [gzipSync(await bundled(handler, {})).length, gzipSync(await bundled(handler, alias)).length];
  console.log(`in one file: ${(whole / 1024).toFixed(1)} KiB gzipped, ${(small / 1024).toFixed(1)} without the list`);
  assert.ok(small <= 76 * 1024, `${small} bytes`);
  const rules = `export * from ${JSON.stringify(path.join(folder, "dist/passwords/rules.js"))};`;
  writeFileSync(path.join(folder, "rules.mjs"), await bundled(rules, alias));
  const { djangoPasswordRules } = (await import(pathToFileURL(path.join(folder, "rules.mjs")).href)) as typeof Rules;
  const owner = { username: "ada", email: "" };
  assert.equal(await djangoPasswordRules("password123", owner), []);
  assert.equal(await djangoPasswordRules("123", owner), [
    "This password is too short. It must contain at least 8 characters.",
    "This password is entirely numeric.",
  ]);
});

it("has loaded what its settings need once it is ready", async () => {
  const outdir = path.join(folder, "loading");
  const passwords = JSON.stringify(path.join(folder, "dist/passwords/index.js"));
  const contents = `${handler} export { memoryStore } from ${memory}; export { createPasswords } from ${passwords};`;
  await build({ ...options, stdin: { contents, resolveDir: folder }, outdir });
  const { createJwtEndpoints, memoryStore, createPasswords } = (await import(
    pathToFileURL(path.join(outdir, "stdin.js")).href
  )) as typeof Index & typeof Memory;
  const hashing = { iterations: 1 };
  const store = memoryStore();
  const passwordHash = await createPasswords(hashing).hash("correct horse");
  await store.addUser({ id: "1", username: "ada", passwordHash });
  const endpoints = createJwtEndpoints({
    store,
    hashing,
    algorithm: "RS256",
    keys: () => ({ active: pair.jwk }),
    jwkUrl: "http://127.0.0.1:1/keys",
    cookies: { carry: ["refresh"] },
    checkRevokeToken: true,
    log: () => {},
  });
  await endpoints.ready();
  const loaded = readdirSync(outdir).filter((name) => /^(cookies|password-digest|remote|rotating)-/.test(name));
  assert.is(loaded.length, 4);
  for (const name of loaded) rmSync(path.join(outdir, name));
  const post = (route: string, data: object, headers: Record<string, string> = {}) =>
    endpoints.fetch(
      new Request(`http://localhost/jwt/${route}/`, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(data),
      }),
    );
  const login = await post("create", { username: "ada", password: "correct horse" });
  assert.is(login.status, 200);
  const cookie = login.headers.getSetCookie()[0]!.split(";")[0]!;
  const refreshed = await post("refresh", {}, { cookie });
  assert.is(refreshed.status, 200);
  const { access } = (await refreshed.json()) as { access: string };
  assert.is((await post("verify", { token: access })).status, 200);
});

it.run();
