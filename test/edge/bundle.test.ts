/** What the core adds to a bundle. Prints the size and what it consists of; a bound keeps it from growing unseen. */
import path from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildPackage } from "../support/package.ts";

const folder = buildPackage();

/**
 * Minified and gzipped, in bytes: what is loaded at once, without the chunks that load when a setting needs them. A host
 * that brings its own store adds the handler alone.
 */
const bounds = { handler: 51.25 * 1024, withMemoryStore: 56 * 1024 };

/** Bundles with everything that is loaded at once in the entry's chunks, and returns their size and the parts of it. */
async function measure(contents: string): Promise<{ gzipped: number; parts: [name: string, bytes: number][] }> {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: folder },
    bundle: true,
    minify: true,
    splitting: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    metafile: true,
    write: false,
    outdir: path.join(folder, "bundle"),
    absWorkingDir: folder,
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

it.run();
