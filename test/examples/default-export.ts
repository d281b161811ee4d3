/** A module that exports the handler: for `deno serve`, `bun run`, `srvx serve` and hosts that take `{ fetch }`. */
import { createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";

const store = memoryStore();
await store.addUser({ username: "ada", passwordHash: await createPasswords().hash("correct horse") });
const endpoints = createJwtEndpoints({ store, signingKey: crypto.getRandomValues(new Uint8Array(32)) });

export default { fetch: endpoints.fetch };
