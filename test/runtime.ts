/** Which runtime this is, and how to start another program under it. */

export type Runtime = "node" | "deno" | "bun";

export const runtime: Runtime = "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";

const flags: Record<Runtime, () => string[]> = {
  // Resolved here, so that the child may start in any folder.
  node: () => ["--import", import.meta.resolve("tsx")],
  deno: () => ["run", "-A"],
  bun: () => ["run"],
};

/** Program and arguments for `spawn` that run a TypeScript file under the same runtime as this one. */
export function command(file: string, args: string[] = []): [program: string, args: string[]] {
  return [process.execPath, [...flags[runtime](), file, ...args]];
}
