/** Tokens and keys stay out of responses, errors and logs. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jti, now, open, secret, sign } from "../support/token-fixtures.ts";

const secrecy = suite("secrecy");

secrecy("no response, error or log line holds a token or the key", async () => {
  const server = await open();
  const { access, refresh } = await server.login();
  const [head, body, signature] = refresh.split(".") as [string, string, string];
  const said: string[] = [];
  for (const token of [
    `${refresh}x`,
    `${head}.${body}.${signature.slice(1)}A`,
    await sign({ exp: now - 5 }),
    await sign({ jti: undefined }),
    await sign({ token_type: "x" }),
    await sign({ user_id: "9" }),
    `${body}.${body}.${body}`,
  ]) {
    said.push((await server.post("verify", { token })).text, (await server.post("refresh", { refresh: token })).text);
    said.push(await server.step(token));
  }
  const authorization = `Bearer ${access.slice(0, -1)}`;
  await server.endpoints
    .authenticate(new Request("http://localhost/", { headers: { authorization } }))
    .catch((error: Error) => said.push(`${error.message} ${error.stack} ${JSON.stringify(error)}`));
  // A store that breaks in the middle of a refresh: the log gets its error, and nothing of the request.
  server.store.get = () => {
    throw new Error("boom");
  };
  said.push((await server.post("refresh", { refresh })).text, (await server.post("verify", { token: access })).text);
  assert.is(server.log.length, 2);
  for (const event of server.log) {
    const { error, ...rest } = event as { error?: Error };
    said.push(JSON.stringify(rest), String(error?.stack), JSON.stringify(error));
  }
  const all = said.join("\n");
  assert.match(all, "boom");
  assert.match(all, "invalid or expired");
  for (const piece of [secret, head, body.slice(0, 24), signature, access.split(".")[2]!, jti, 'refresh":"ey']) {
    assert.not.match(all, piece);
  }
});

secrecy.run();
