/**
 * Writes @hapi/boom into the built package, without the parts of @hapi/hoek that it never calls: they are a quarter of a
 * bundle for the edge, and need Node's `Buffer` while they load, which workers have only with Node compatibility.
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
