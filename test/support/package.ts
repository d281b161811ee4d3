/** Makes the package as its users get it. npm is what packs and installs, whatever runs later. */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import process from "node:process";
import { projectRoot, temporaryFolder } from "./runtime.ts";

/** Programs in Go, such as TypeScript 7, take less time when they rarely collect garbage. */
export const rareCollection = { ...process.env, GOGC: "400" };

/** Runs a program to its end and returns what it printed. */
export function run(folder: string, command: string, ...args: string[]): string {
  const options = { cwd: folder, env: rareCollection, encoding: "utf8", timeout: 180_000 } as const;
  const { status, stdout, stderr, error } = spawnSync(command, args, options);
  const reason = `${command} ${args.join(" ")} failed: ${error?.message ?? ""}\n${stdout}\n${stderr}`;
  if (status !== 0) throw new Error(reason);
  return stdout;
}

/**
 * Returns a folder that is made once in a run of all suites (`test/run.ts`), and must not be changed; for a suite run alone,
 * one of its own.
 * @param make fills the folder.
 */
export function onceInRun(name: string, make: (folder: string) => void): string {
  const shared = process.env.TEST_BUNDLES;
  if (shared === undefined) {
    const own = temporaryFolder();
    make(own);
    return own;
  }
  const folder = path.join(shared, name);
  const outcome = `${folder}.outcome`; // is there when the folder is complete, empty if nothing failed
  if (mkdirSync(folder, { recursive: true }) !== undefined) {
    let problem = "no outcome";
    try {
      make(folder);
      problem = "";
    } finally {
      writeFileSync(`${outcome}.tmp`, problem);
      renameSync(`${outcome}.tmp`, outcome);
    }
  }
  const clock = new Int32Array(new SharedArrayBuffer(4));
  for (let waited = 0; !existsSync(outcome); waited += 100) {
    if (waited > 240_000) throw new Error(`waited in vain for another suite to make ${name}`);
    Atomics.wait(clock, 0, 0, 100);
  }
  if (readFileSync(outcome, "utf8") !== "") throw new Error(`another suite failed to make ${name}`);
  return folder;
}

/** Returns a copy of a folder. */
function copyOf(folder: string): string {
  const own = temporaryFolder();
  cpSync(folder, own, { recursive: true, verbatimSymlinks: true });
  return own;
}

/** Builds the package from a copy of the sources, once in a run, and returns the folder of the copy. */
export function buildOnce(): string {
  return onceInRun("built", (copy) => {
    for (const name of ["package.json", "tsconfig.json", "README.md", "src"]) {
      cpSync(path.join(projectRoot, name), path.join(copy, name), { recursive: true });
    }
    symlinkSync(path.join(projectRoot, "node_modules"), path.join(copy, "node_modules"));
    run(copy, "npm", "run", "build");
  });
}

/** Returns a folder with the package as it is built, which may be changed. */
export const buildPackage = (): string => copyOf(buildOnce());

/**
 * Builds and packs a copy of the sources, and installs the package into an empty folder.
 * @returns that folder, and the packed file.
 */
export function packAndInstall(): { host: string; tarball: string } {
  const folder = onceInRun("installed", (made) => {
    run(buildPackage(), "npm", "pack", "--pack-destination", made);
    const host = path.join(made, "host");
    mkdirSync(host);
    writeFileSync(path.join(host, "package.json"), '{"name":"host","private":true,"type":"module"}');
    run(host, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", tarballIn(made));
  });
  const own = copyOf(folder);
  return { host: path.join(own, "host"), tarball: tarballIn(own) };
}

const tarballIn = (folder: string): string =>
  path.join(
    folder,
    readdirSync(folder).find((name) => name.endsWith(".tgz"))!,
  );
