/**
 * What is left of the build once tsc has written `dist`.
 *
 * First @hapi/boom goes into the package, without the parts of @hapi/hoek that it never calls: they are a quarter of a
 * bundle for the edge, and need Node's `Buffer` while they load, which workers have only with Node compatibility.
 *
 * Then the programs are bundled, since a runtime takes longer to find and open a hundred modules than to run them. What a
 * program loads only when it needs it stays apart.
 */
import { readFileSync } from "node:fs";
import { build } from "esbuild";

/** What boom calls of hoek here: `clone` is for an error given as the message, which `fail` never does. */
const used = ["assert", "escapeHeaderAttribute"].map((name) => `exports.${name} = require("@hapi/hoek/${name}");`);

const licenses = ["boom", "hoek"]
  .map((name) => readFileSync(`node_modules/@hapi/${name}/LICENSE.md`, "utf8"))
  .join("\n");

await build({
  entryPoints: ["dist/boom.js"],
  outfile: "dist/boom.js",
  allowOverwrite: true,
  bundle: true,
  format: "esm",
  platform: "neutral",
  mainFields: ["main"],
  banner: { js: `/*\n${licenses}*/` },
  plugins: [
    {
      name: "hoek",
      setup({ onResolve, onLoad }) {
        onResolve({ filter: /^@hapi\/hoek$/ }, ({ resolveDir }) => ({
          path: "hoek",
          namespace: "used",
          pluginData: resolveDir,
        }));
        onLoad({ filter: /.*/, namespace: "used" }, ({ pluginData }) => ({
          contents: used.join("\n"),
          resolveDir: pluginData,
        }));
      },
    },
  ],
});

/** Programs bundled together share files, one for each set of programs that needs the same: the commands would add to them. */
const programs = [["serve/node", "serve/deno", "serve/bun", "serve/fetch"], ["cli/main"]];

for (const names of programs) {
  await build({
    entryPoints: names.map((name) => `dist/${name}.js`),
    outdir: "dist",
    outbase: "dist",
    allowOverwrite: true,
    bundle: true,
    splitting: true,
    chunkNames: "programs/[name]-[hash]",
    format: "esm",
    platform: "node",
    target: "node20",
    // Loaded on demand, and large or native. The command line starts the servers as they were bundled before it.
    external: ["@node-rs/*", "@zxcvbn-ts/*", "pg", "prom-client", "../serve/*"],
  });
}
