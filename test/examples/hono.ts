/** The handler in a Hono application, and a route that wants an access token. */
import { Hono } from "hono";
import { createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";

const store = memoryStore();
await store.addUser({ username: "ada", passwordHash: await createPasswords().hash("correct horse") });
const signingKey = crypto.getRandomValues(new Uint8Array(32));
const endpoints = createJwtEndpoints({ store, signingKey, prefix: "/auth" });

const app = new Hono();
app.all("/auth/*", (context) => endpoints.fetch(context.req.raw));
app.get("/me", async (context) => {
  try {
    const { user } = await endpoints.authenticate(context.req.raw);
    return context.json({ username: user.username });
  } catch (error) {
    return endpoints.errorResponse(error);
  }
});

export default app;
