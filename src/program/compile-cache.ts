/**
 * Keeps the compiled code of a program for its next start: to compile takes Node longer than anything else of a start. The
 * build puts this file in front of the programs for Node. Node 22.8 and later do the same by themselves.
 *
 * The compiled code lies in the package, since other users may write to folders for temporary files. Where the package is
 * read-only, nothing is kept.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import Module from "node:module";
import path from "node:path";
import process from "node:process";
import { Script } from "node:vm";

type Load = (module: NodeJS.Module, file: string) => void;
interface Loader {
  enableCompileCache?(folder: string): void;
  _extensions: Record<string, Load>;
}

const loader = Module as unknown as Loader;
const programs = path.join(import.meta.dirname, "../programs");
const cache = path.join(import.meta.dirname, "../../node_modules/.cache/jwt-endpoints");
/** Compiled code is of use to the same Node alone. */
const kept = path.join(cache, `${process.version}-${process.arch}`);
/** The bytes of a digest, with which each kept file begins. */
const digestBytes = 32;

if (loader.enableCompileCache !== undefined) loader.enableCompileCache(cache);
else if (!("Deno" in globalThis) && process.env["NODE_DISABLE_COMPILE_CACHE"] === undefined) {
  // Not on Deno, which would ask for permission to write at the end.
  const load = loader._extensions[".js"]!;
  loader._extensions[".cjs"] = (module, file) =>
    path.dirname(file) === programs ? loadCompiled(module, file) : load(module, file);
}

/** What this start compiled, by the file that is to keep it. */
const compiled = new Map<string, { script: Script; source: Buffer }>();

/** Loads a CommonJS module from its kept code, or compiles it. */
function loadCompiled(module: NodeJS.Module, file: string): void {
  const source = readFileSync(file);
  const keptFile = path.join(kept, path.basename(file));
  const cachedData = readKept(keptFile, source);
  const script = new Script(Module.wrap(source.toString()), { filename: file, cachedData });
  if (cachedData === undefined || script.cachedDataRejected) {
    if (compiled.size === 0) process.once("exit", keepAll);
    compiled.set(keptFile, { script, source });
  }
  const run = script.runInThisContext() as (...args: unknown[]) => void;
  run.call(module.exports, module.exports, (name: string) => module.require(name), module, file, programs);
}

/** Returns the code that was kept of a source; `undefined` where there is none or a byte of it changed, which V8 would not notice. */
function readKept(file: string, source: Buffer): Buffer | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch {
    return undefined;
  }
  const code = bytes.subarray(digestBytes);
  return digestOf(source, code).equals(bytes.subarray(0, digestBytes)) ? code : undefined;
}

/** Keeps the code at the end, when it holds the functions that this start has called. */
function keepAll(): void {
  try {
    mkdirSync(kept, { recursive: true });
    for (const [file, { script, source }] of compiled) {
      const code = script.createCachedData();
      writeFileSync(file, Buffer.concat([digestOf(source, code), code]));
    }
  } catch {
    // The next start compiles again.
  }
}

const digestOf = (source: Buffer, code: Buffer): Buffer => createHash("sha256").update(source).update(code).digest();
