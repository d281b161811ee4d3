/** What the client weighs in a bundle, and whether the snippets of its README compile. */
import { execFileSync } from "node:child_process";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";
import { compile } from "svelte/compiler";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileScript, compileTemplate, parse } from "vue/compiler-sfc";
import { projectRoot, temporaryFolder } from "../support/runtime.ts";

const entry = path.join(projectRoot, "src/client/index.ts");
const document = readFileSync(path.join(projectRoot, "src/client/README.md"), "utf8");
const snippet = (language: string): string => new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "m").exec(document)![1]!;

const it = suite("client, bundled");

it("weighs under 3 KB, minified and compressed, and imports nothing", async () => {
  const options = { bundle: true, minify: true, format: "esm", write: false, metafile: true } as const;
  const { outputFiles, metafile } = await build({ ...options, entryPoints: [entry], platform: "browser" });
  const size = gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
  assert.ok(size < 3072, `${size} bytes`);
  assert.ok(Object.keys(metafile.inputs).every((name) => name.startsWith("src/client/")));
});

it("has snippets for itself, React, Vue and Svelte that pass the type check", () => {
  const folder = temporaryFolder();
  symlinkSync(path.join(projectRoot, "node_modules"), path.join(folder, "node_modules"));
  const { descriptor } = parse(snippet("vue"));
  const sources = {
    "auth.ts": snippet("ts"),
    "react.tsx": snippet("tsx"),
    "package.json": '{"type":"module"}',
    "vue.ts": descriptor.scriptSetup!.content,
    "svelte.ts": `import "svelte";\n${/<script lang="ts">([^]*?)<\/script>/.exec(snippet("svelte"))![1]!}`,
  };
  for (const [name, text] of Object.entries(sources)) writeFileSync(path.join(folder, name), text);
  const compilerOptions = {
    ...JSON.parse(readFileSync(path.join(projectRoot, "tsconfig.json"), "utf8")).compilerOptions,
    jsx: "react-jsx",
    types: [],
    noUnusedLocals: false, // the templates use them
    paths: { "jwt-endpoints/client": [entry] },
  };
  writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["."] }));
  const tsc = path.join(projectRoot, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", folder], { stdio: ["ignore", "inherit", "inherit"] });
});

it("has snippets for Vue and Svelte that compile", () => {
  const { descriptor, errors } = parse(snippet("vue"));
  assert.equal(errors, []);
  compileScript(descriptor, { id: "x" });
  const template = compileTemplate({ id: "x", filename: "x.vue", source: descriptor.template!.content });
  assert.equal([template.errors, template.tips], [[], []]);
  const { warnings } = compile(snippet("svelte"), { runes: true });
  assert.equal(warnings, []);
});

it("has snippets for other clients that are whole programs, or a method of an object", async () => {
  const blocks = [...document.matchAll(/^```js\n([^]*?)^```/gm)].map(([, text]) => text!);
  assert.is(blocks.length, 4);
  for (const text of blocks) {
    const source = /^async \w+\(/.test(text) ? `export default {${text}};` : text;
    const { warnings } = await transform(source, { loader: "ts", format: "esm" });
    assert.equal(warnings, [], text);
  }
});

it.run();
