/** Suites and programs as bundles for Node, which starts a bundle in a third of the processor time that tsx takes. */
import { readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { type Plugin, build } from "esbuild";

/** Where a source file is, since suites find their fixtures from there and the bundle is elsewhere. */
const sourcePlace: Plugin = {
  name: "source-place",
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
      const text = readFileSync(file, "utf8");
      if (!text.includes("import.meta.")) return undefined;
      const [folder, url] = [path.dirname(file), pathToFileURL(file).href].map((place) => JSON.stringify(place));
      return { loader: "ts", contents: `const sourceFolder = ${folder}, sourceUrl = ${url}; ${text}` };
    });
  },
};

/**
 * What the library depends on is bundled, as starting takes half the time then. Some packages load native code, and the list
 * of common passwords is CommonJS, of which a chunk that is imported on demand exports no names.
 */
const isLeftOut = (name: string): boolean => /^(pg$|@node-rs\/|@zxcvbn-ts\/)/.test(name);

/** Of the packages that only tests use, these are bundled too: many suites load them, which takes a third less time then. */
const isInMost = (name: string): boolean => name === "uvu" || name === "undici";

/**
 * Bundles programs of the project into a folder, each at its own path there with the ending `.mjs`. A link to `node_modules`
 * leads to the packages that are not bundled.
 * @param root the project's folder.
 * @param files paths within it.
 */
export async function bundle(root: string, files: readonly string[], folder: string): Promise<void> {
  symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
  const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as Record<string, object>;
  const [dependencies, ...others] = ["dependencies", "devDependencies", "optionalDependencies"].map((key) =>
    Object.keys(manifest[key]!),
  );
  await build({
    entryPoints: files.map((file) => path.join(root, file)),
    outbase: root,
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true, // what several programs share is written once, in a third of the time and a twentieth of the size
    external: [...others.flat().filter((name) => !isInMost(name)), ...dependencies!.filter(isLeftOut)],
    platform: "node",
    format: "esm",
    sourcemap: true,
    define: { "import.meta.dirname": "sourceFolder", "import.meta.url": "sourceUrl" },
    // Packages written in CommonJS call it for Node's own modules.
    banner: { js: 'globalThis.require ??= (await import("node:module")).createRequire(import.meta.url);' },
    plugins: [sourcePlace],
  });
}
