/** Which runtime a test runs on, and how to start another program on the same one. */
import { type ChildProcess, type SpawnOptions, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  writeSync,
} from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

export type Runtime = "node" | "deno" | "bun";

export const runtime: Runtime = "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";

export const projectRoot = path.resolve(import.meta.dirname, "../..");

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

/** This process's variables without those that set the program up, and with these. */
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

/** Every process that has not ended: its id, its parent's and its arguments. */
export function processes(): { pid: number; parent: number; args: string }[] {
  const lines = existsSync("/proc/self/stat")
    ? readdirSync("/proc").map(readProcess)
    : execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat=,args="], { encoding: "utf8" }).split("\n");
  return lines.flatMap((line) => {
    const [pid, parent, state, ...args] = line.trim().split(/\s+/);
    return state === undefined || state.startsWith("Z")
      ? []
      : [{ pid: Number(pid), parent: Number(parent), args: args.join(" ") }];
  });
}

/** What `ps` says of a process, for machines without it. */
function readProcess(pid: string): string {
  try {
    const [state, parent] = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ");
    return [pid, parent, state, readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ")].join(" ");
  } catch {
    return ""; // none, or ended meanwhile
  }
}

export const isAlive = (pid: number): boolean => processes().some((each) => each.pid === pid);

/** A process and all that it has started, as far as each one's parent still lives. */
export function familyOf(pid: number): number[] {
  const all = processes();
  const family = [pid];
  for (const member of family) family.push(...all.flatMap((each) => (each.parent === member ? [each.pid] : [])));
  return family;
}

/** A port that nobody listens on just now. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** Whether something listens on a port of this machine. */
export const isListening = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(true));
    socket.once("error", () => resolve(false)).once("connect", () => socket.destroy());
  });

/** A small file system of its own, where this process may mount one: as root, on Linux. */
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

/** Leaves no room on a disk, and returns what makes room again. */
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

/** A `log` hook that keeps what it is told, but for the few iterations that tests make do with. */
export function keptIn<Event extends { code: string }>(log: Event[]): (event: Event) => void {
  return (event) => {
    if (event.code !== "weak_setting") log.push(event);
  };
}
