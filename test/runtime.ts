/** Which runtime a test runs on, and how to start another program on the same one. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export type Runtime = "node" | "deno" | "bun";

export const runtime: Runtime = "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";

export const projectRoot = path.resolve(import.meta.dirname, "..");

const flags: Record<Runtime, () => string[]> = {
  // Resolved here, so that the child may start in any folder.
  node: () => ["--import", import.meta.resolve("tsx")],
  deno: () => ["run", "-A"],
  bun: () => ["run"],
};

/** Program and arguments for `spawn` that run a TypeScript file of the project under the same runtime as this one. */
export function command(file: string, args: string[] = []): [program: string, args: string[]] {
  return [process.execPath, [...flags[runtime](), path.resolve(projectRoot, file), ...args]];
}

const children = new Set<ChildProcess>();
const folders: string[] = [];
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A child process that does not outlive this one. */
export function start(file: string, args: string[] = [], options: SpawnOptions = {}): ChildProcess {
  const [program, all] = command(file, args);
  const child = spawn(program, all, { stdio: ["ignore", "pipe", "pipe"], ...options });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

/** Everything a child writes, and how it ends. */
export async function finished(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (chunk: Uint8Array) => (stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Uint8Array) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout, stderr };
}

/** A folder of its own for a test, gone with the process. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "jwt-endpoints-"));
  folders.push(folder);
  return folder;
}

/** Waits until something holds. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  for (const end = Date.now() + ms; !(await condition());) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
