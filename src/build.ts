/**
 * What is left of the build once tsc has written `dist`.
 *
 * First @hapi/boom goes into the package, without the parts of @hapi/hoek that it never calls: they are a quarter of a
 * bundle for the edge, and need Node's `Buffer` while they load, which workers have only with Node compatibility.
 *
 * Then the programs are bundled, since a runtime takes longer to find and open a hundred modules than to run them. What a
 * program loads only when it needs it stays apart. The server of Node and the commands become CommonJS, which Node loads without its
 * asynchronous loader and without reading every property of the built-in modules.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { type BuildOptions, type Plugin, build, transform } from "esbuild";

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

const programs = {
  outdir: "dist",
  outbase: "dist",
  bundle: true,
  splitting: true,
  chunkNames: "programs/[name]-[hash]",
  format: "esm",
  platform: "node",
  target: "node20",
  // Loaded on demand, and large or native.
  external: ["@node-rs/*", "@zxcvbn-ts/*", "pg", "prom-client"],
} satisfies BuildOptions;

/** Begins a program of Node, before it loads its other files. */
const cachingCode = await compileCache();

rmSync("dist/programs", { recursive: true, force: true }); // the names of its files change, and those of earlier builds would be published
writeFileSync("dist/import.cjs", "module.exports = (name) => import(name);\n");
// Programs bundled together share files, one for each set of programs that needs the same: the commands would add to them.
await bundleForNode("serve/node", await withOneSharedFile("serve/node", "dist/serve/start.js"));
await bundleForNode("cli/main", withoutServers());
await build({
  ...programs,
  entryPoints: ["deno", "bun", "fetch"].map((name) => `dist/serve/${name}.js`),
  allowOverwrite: true,
});

await runOnce();

/** Runs the server once, so that its compiled code is there from its first start on, and that of earlier builds is not. */
async function runOnce(): Promise<void> {
  rmSync("node_modules/.cache/jwt-endpoints", { recursive: true, force: true });
  const args = ["cli/main.cjs", "--store", "memory:", "--port", "0"];
  const server = spawn(process.execPath, args, { cwd: "dist", env: {}, stdio: ["ignore", "pipe", "inherit"] });
  let isListening = false;
  server.stdout.once("data", () => (isListening = server.kill()));
  const timer = setTimeout(() => server.kill(), 30_000);
  await once(server, "exit");
  clearTimeout(timer);
  if (!isListening) throw new Error("the server that was built does not start");
}

/** Returns the code that keeps a program's compiled code. */
async function compileCache(): Promise<string> {
  const { outputFiles } = await build({
    ...programs,
    entryPoints: ["dist/program/compile-cache.js"],
    define: { "import.meta.dirname": "__dirname" },
    write: false,
  });
  return `(() => {${synchronous(outputFiles[0]!.text)}})();`;
}

/** Bundles a program as CommonJS, and leaves an ES module under its former name that loads it. */
async function bundleForNode(name: string, plugin: Plugin): Promise<void> {
  const { outputFiles } = await build({
    ...programs,
    entryPoints: [`dist/${name}.js`],
    outExtension: { ".js": ".cjs" },
    plugins: [plugin],
    write: false,
  });
  for (const { path: file, text } of outputFiles) {
    const isEntry = file.endsWith(`${name}.cjs`);
    const required = isEntry ? synchronous(text) : importingOutside(synchronous(text));
    const banner = isEntry ? cachingCode : "";
    const { code } = await transform(required, { format: "cjs", platform: "node", target: programs.target, banner });
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, code);
  }
  writeFileSync(`dist/${name}.js`, `#!/usr/bin/env node\nimport "./${path.basename(name)}.cjs";\n`);
}

/**
 * Rewrites the imports of a bundle as calls of `require`. esbuild splits ES modules alone. It would read each import through a
 * getter at each use, and copy a built-in module to import its default export.
 */
function synchronous(code: string): string {
  return code
    .replaceAll(/\bimport\("(\.[^"]+\.cjs)"\)/g, 'Promise.resolve().then(() => require("$1"))')
    .replaceAll(/^import (\w+) from "(node:[^"]+)";$/gm, 'const $1 = require("$2");')
    .replaceAll(/^import \{([^}]+)\} from "((?:node:|\.)[^"]+)";$/gm, (_, names: string, from: string) => {
      return `const {${names.replaceAll(" as ", ": ")}} = require("${from}");`;
    });
}

/** Rewrites what remains, imports of packages and of configuration files: code that was kept may not import by itself. */
function importingOutside(code: string): string {
  return code.replaceAll(/\bimport\(/g, 'require("../import.cjs")(');
}

/**
 * Lets all that a program loads on demand import one of its modules. esbuild makes a file for each set of modules that needs
 * the same: so all that the program needs at its start is in one, instead of nine.
 */
async function withOneSharedFile(name: string, shared: string): Promise<Plugin> {
  const { metafile } = await build({ ...programs, entryPoints: [`dist/${name}.js`], write: false, metafile: true });
  const imports = Object.values(metafile.inputs).flatMap((input) => input.imports);
  const loaded = imports.filter(({ kind, external }) => kind === "dynamic-import" && external !== true);
  const onDemand = new Set(loaded.map((each) => path.resolve(each.path)));
  return {
    name: "one shared file",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^shared$/ }, () => ({ path: path.resolve(shared) }));
      onLoad({ filter: /./ }, ({ path: file }) => {
        if (!onDemand.has(file)) return undefined;
        return { contents: `${readFileSync(file, "utf8")}\nexport { start as shared } from "shared";\n` };
      });
    },
  };
}

/** Lets the command line load the servers as they are bundled by themselves. */
function withoutServers(): Plugin {
  return {
    name: "without servers",
    setup({ onResolve }) {
      onResolve({ filter: /^\.\.\/serve\// }, ({ path: name }) => ({
        path: name.replace("node.js", "node.cjs"),
        external: true,
      }));
    },
  };
}
