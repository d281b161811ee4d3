/** The handler in a plain `node:http` server, beside other routes. Runs on Node, Deno and Bun. */
import { type RequestListener, createServer } from "node:http";
import process from "node:process";
import { toNodeHandler } from "srvx/node";
import { createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";

const store = memoryStore();
await store.addUser({ username: "ada", passwordHash: await createPasswords().hash("correct horse") });
const signingKey = crypto.getRandomValues(new Uint8Array(32));
const endpoints = createJwtEndpoints({ store, signingKey, prefix: "/auth" });
await endpoints.ready();

const auth = toNodeHandler(endpoints.fetch) as RequestListener; // its type takes HTTP/2 requests too
const server = createServer((request, response) => {
  if (request.url?.startsWith("/auth/")) return void auth(request, response);
  response.end("hello\n");
});

server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  const { port } = server.address() as { port: number };
  console.log(`http://127.0.0.1:${port}/`);
});
process.once("SIGTERM", () => process.exit(0));
