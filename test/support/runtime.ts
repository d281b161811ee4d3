/** Which runtime a test runs on, and how to start another program on the same one. */
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, rmdirSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export * from "./processes.ts";

export type Runtime = "node" | "deno" | "bun";

export const runtime: Runtime = "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";

export const projectRoot = path.resolve(import.meta.dirname, "../..");

/** The Node 24 that `npm ci --prefix .ci/node24` installs on Linux, beside the machine's own. */
export const node24 = path.join(
  projectRoot,
  `.ci/node24/node_modules/node-${process.platform}-${process.arch}/bin/node`,
);

const flags: Record<Runtime, () => string[]> = {
  // Resolved here, so that the child may start in any folder.
  node: () => ["--import", import.meta.resolve("tsx")],
  deno: () => ["run", "-A"],
  bun: () => ["run"],
};

/** The folder with the bundles of a run (`test/run.ts`); without it programs are started from their sources. */
const bundles = runtime === "node" ? process.env.TEST_BUNDLES : undefined;
/** The folder with the package that a run has built, whose programs start faster than bundles. */
const built = runtime === "node" ? process.env.TEST_BUILT : undefined;

/**
 * Program and arguments for `spawn` that run a TypeScript file of the project, or a command such as `user`, under the same
 * runtime as this one.
 */
export function command(file: string, args: string[] = []): [program: string, args: string[]] {
  if (!/\.m?[jt]s$/.test(file)) return command("src/cli/main.ts", [file, ...args]);
  const places = file.endsWith(".ts") // beside the bundles lie the packages, which are none
    ? [
        built && path.join(built, file.replace(/^src(.*)\.ts$/, "dist$1.cjs")),
        bundles && path.join(bundles, file.replace(/\.ts$/, ".mjs")),
      ]
    : [];
  const faster = places.find((place) => place !== undefined && existsSync(place));
  if (faster !== undefined) return [process.execPath, [faster, ...args]];
  return [process.execPath, [...flags[runtime](), path.resolve(projectRoot, file), ...args]];
}

/** Returns the variables of this process without those that configure the program, and with the given ones. */
export function environmentWith(variables: Record<string, string>): Record<string, string> {
  const others = Object.entries(process.env).filter(([name]) => !/^(JWT_|PORT$|HOST$)/.test(name));
  return { ...(Object.fromEntries(others) as Record<string, string>), ...variables };
}

const children = new Set<ChildProcess>();
const folders: string[] = [];
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Starts a program that does not outlive this process. */
export function start(file: string, args: string[] = [], options: SpawnOptions = {}): ChildProcess {
  return startProgram(...command(file, args), options);
}

/** Another program as a child process that does not outlive this one. */
export function startProgram(program: string, args: string[], options: SpawnOptions = {}): ChildProcess {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

/** Makes a folder that is removed when the process ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "jwt-endpoints-"));
  folders.push(folder);
  return folder;
}

/** Mounts a small file system if this process may: as root, on Linux. */
export function mountTmpfs(size: string): string | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return undefined;
  const folder = mkdtempSync(path.join(tmpdir(), "jwt-endpoints-disk-"));
  const isMounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder]).status === 0;
  process.on("exit", () => {
    if (isMounted) spawnSync("umount", ["--lazy", folder]);
    rmdirSync(folder);
  });
  return isMounted ? folder : undefined;
}

/** Fills a disk, and returns the function that frees the space again. */
export function fillDisk(disk: string): () => void {
  const ballast = path.join(disk, "ballast");
  const fd = openSync(ballast, "w");
  for (let size = 1 << 16; size >= 1;) {
    try {
      if (writeSync(fd, new Uint8Array(size)) < size) size >>= 1;
    } catch {
      size >>= 1;
    }
  }
  closeSync(fd);
  return () => rmSync(ballast);
}

/** A `log` hook that keeps all events but the warning about the few iterations of tests. */
export function keptIn<Event extends { code: string }>(log: Event[]): (event: Event) => void {
  return (event) => {
    if (event.code !== "weak_setting") log.push(event);
  };
}
