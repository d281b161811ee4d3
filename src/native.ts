/**
 * Built-ins of some runtimes that are faster than the standard globals: Node's modules (also in Deno and Bun) and Bun's
 * SHA-256. They are looked up by feature, here alone; each user has a path for runtimes without them. The types are
 * written by hand, so that the core compiles without those of any runtime.
 */
interface NodeCrypto {
  createHmac(hash: string, key: object): { update(data: Uint8Array): { digest(): Uint8Array } };
  hash?(hash: string, data: Uint8Array, encoding: "latin1"): string;
  createSecretKey(bytes: Uint8Array): object;
  scrypt(
    password: Uint8Array,
    salt: Uint8Array,
    length: number,
    options: { N: number; r: number; p: number; maxmem: number },
    done: (error: Error | null, key: Uint8Array) => void,
  ): void;
}

interface NodeBuffer extends Uint8Array<ArrayBuffer> {
  toString(encoding?: "base64url" | "latin1" | "utf8", start?: number, end?: number): string;
  write(text: string): number;
}

/** Writes the SHA-256 of `bytes` into the 32 bytes of `into`. */
export type Sha256 = (bytes: Uint8Array, into: Uint8Array) => unknown;

interface Runtime {
  process?: { getBuiltinModule?(name: string): unknown };
  Bun?: { SHA256?: { hash: Sha256 } };
  Deno?: object;
}

const runtime = globalThis as unknown as Runtime;
const builtin = (name: string): unknown => runtime.process?.getBuiltinModule?.(name);

export const nodeCrypto = builtin("node:crypto") as NodeCrypto | undefined;
export const nodeBuffer = (
  builtin("node:buffer") as
    | {
        Buffer: {
          alloc(size: number): NodeBuffer;
          from(bytes: ArrayBuffer, start: number, length: number): NodeBuffer;
        };
      }
    | undefined
)?.Buffer;
/**
 * Whether this is a Cloudflare Worker, where a promise may settle only for the request that made it: its fetches and timers
 * end with it, and the runtime ends a request that has nothing of its own to wait for.
 */
export const isWorker = (): boolean => globalThis.navigator?.userAgent === "Cloudflare-Workers";

function hashByNode(bytes: Uint8Array, into: Uint8Array): void {
  const hash = nodeCrypto!.hash!("sha256", bytes, "latin1"); // as a `Buffer` it takes twice the time
  for (let i = 0; i < 32; i++) into[i] = hash.charCodeAt(i);
}

/** `undefined` where our own takes less time: on Deno, `hash` takes 2 µs. */
export const nativeSha256: Sha256 | undefined =
  runtime.Bun?.SHA256?.hash ?? (nodeCrypto?.hash && runtime.Deno === undefined ? hashByNode : undefined);
