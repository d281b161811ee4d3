/**
 * What some runtimes have of their own that WebCrypto and the like offer only slower or not at all: Node's modules (Node,
 * Deno and Bun have them) and Bun's hash. Found by feature, here alone; whoever uses them has another way for runtimes
 * without.
 */
export const nodeCrypto = globalThis.process?.getBuiltinModule?.("node:crypto");
export const nodeBuffer = globalThis.process?.getBuiltinModule?.("node:buffer")?.Buffer;
/** SHA-256 of some bytes, into 32 others. */
export const bunSha256 = (globalThis as { Bun?: { SHA256?: { hash(bytes: Uint8Array, into: Uint8Array): unknown } } })
  .Bun?.SHA256;
