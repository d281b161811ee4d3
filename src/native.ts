/**
 * Node's own modules where a runtime has them (Node, Deno and Bun all do), for what WebCrypto offers only slower or not
 * at all. Found by feature, here alone; whoever uses them has another way for runtimes without.
 */
export const nodeCrypto = globalThis.process?.getBuiltinModule?.("node:crypto");
export const nodeBuffer = globalThis.process?.getBuiltinModule?.("node:buffer")?.Buffer;
