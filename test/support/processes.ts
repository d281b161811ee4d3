/** Processes: how they end, which are running, what they use, and the ports they listen on. */
import { type ChildProcess, execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { createInterface } from "node:readline";

/** Waits for the end of a child and returns all that it wrote. */
export async function finished(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (chunk: Uint8Array) => (stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Uint8Array) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout, stderr };
}

/**
 * Returns a function that sends a program a line of JSON and returns the line of JSON that it replies with.
 * @param name that of the program, for errors.
 */
export function jsonLines(child: ChildProcess, name: string): <T>(line: object) => Promise<T> {
  const waiting: { resolve(value: unknown): void; reject(error: Error): void }[] = [];
  let errors = "";
  let failure: Error | undefined;
  child.stderr?.on("data", (chunk: Uint8Array) => (errors += chunk.toString()));
  child.stdin!.on("error", () => {}); // `close` follows
  child.once("close", (code) => {
    failure = new Error(`${name} has ended with ${code}: ${errors}`);
    for (const { reject } of waiting) reject(failure);
  });
  createInterface({ input: child.stdout! }).on("line", (line) => waiting.shift()!.resolve(JSON.parse(line)));
  return <T>(line: object) =>
    new Promise<T>((resolve, reject) => {
      if (failure !== undefined) return reject(failure);
      waiting.push({ resolve: resolve as (value: unknown) => void, reject });
      child.stdin!.write(`${JSON.stringify(line)}\n`);
    });
}

/**
 * Waits until a condition holds. Tries it every 10 ms at first and every 50 ms after a second, since a condition may cost
 * a request or a look at all processes.
 * @param what completes the error "waited … in vain until …".
 */
export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  for (const begin = Date.now(); !(await condition());) {
    const waited = Date.now() - begin;
    if (waited > ms) throw new Error(`waited ${ms} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(50, Math.max(10, waited / 20))));
  }
}

/** Returns every process that has not ended. */
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

/** Returns the fields of `/proc/<pid>/stat` from the third on, which is the state. */
const statOf = (pid: number | string): string[] =>
  readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)!.split(" ");

/** Returns a line like that of `ps`, which not every machine has; an empty one if the process has ended. */
function readProcess(pid: string): string {
  try {
    const [state, parent] = statOf(pid);
    return [pid, parent, state, readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ")].join(" ");
  } catch {
    return "";
  }
}

export const isAlive = (pid: number): boolean => processes().some((each) => each.pid === pid);

/** Returns the ids of a process and its descendants. A descendant whose parent has ended is not found. */
export function familyOf(pid: number): number[] {
  const all = processes();
  const family = [pid];
  for (const member of family) family.push(...all.flatMap((each) => (each.parent === member ? [each.pid] : [])));
  return family;
}

/** Returns a free port of 127.0.0.1. Another process may take it before it is used. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** Returns whether something listens on a port of 127.0.0.1. */
export const isListening = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(true));
    socket.once("error", () => resolve(false)).once("connect", () => socket.destroy());
  });

/**
 * Returns the user and system time of processes in ms; undefined where there is no `/proc`.
 */
export function cpuMsOf(pids: readonly number[]): number | undefined {
  try {
    const ticks = pids.map(statOf).map((fields) => Number(fields[11]) + Number(fields[12])); // 1/100 s each
    return ticks.reduce((sum, each) => sum + each) * 10;
  } catch {
    return undefined;
  }
}

/** Returns the resident memory of a process in bytes; undefined where there is no `/proc`. */
export function residentOf(pid: number): number | undefined {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]) * 1024;
  } catch {
    return undefined;
  }
}
