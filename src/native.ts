/**
 * Built-ins that are faster than the standard ones, found by feature and only here: two modules of Node's, which Deno and
 * Bun have too, and Bun's hash. Each is undefined elsewhere, and its callers then use standard globals.
 */
export const nodeCrypto = globalThis.process?.getBuiltinModule?.("node:crypto");
export const nodeBuffer = globalThis.process?.getBuiltinModule?.("node:buffer")?.Buffer;
/** SHA-256 of the first array, written into the second, of 32 bytes. */
export const bunSha256 = (globalThis as { Bun?: { SHA256?: { hash(bytes: Uint8Array, into: Uint8Array): unknown } } })
  .Bun?.SHA256;
