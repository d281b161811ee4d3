/** Settings that change what the endpoints do or whether they start. */
import { exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { secret } from "../support/contract-client.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";

const it = suite("settings of the endpoints");

it("refuses a verifying key that does not belong to the signing key", async () => {
  const pem = async () => {
    const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
    return { signingKey: await exportPKCS8(privateKey), verifyingKey: await exportSPKI(publicKey) };
  };
  const [one, two] = [await pem(), await pem()];
  await createJwtEndpoints({ store: memoryStore(), algorithm: "ES256", ...one }).ready();
  const mixed = createJwtEndpoints({
    store: memoryStore(),
    algorithm: "ES256",
    ...one,
    verifyingKey: two.verifyingKey,
  });
  const problem = await mixed.ready().then(
    () => undefined,
    (error: unknown) => error as Error,
  );
  assert.is(problem?.message, "setting verifyingKey does not belong to signingKey");
});

it("accepts durations as text or as seconds", async () => {
  for (const [lifetime, seconds] of [
    ["90s", 90],
    ["5m", 300],
    ["1h30m", 5400],
    ["1d", 86_400],
    ["1w", 604_800],
    [60, 60],
    ["60", 60],
  ]) {
    const { post } = await endpointsWith({ accessTokenLifetime: lifetime as string });
    const { access } = JSON.parse((await post("/jwt/create/", credentials)).text);
    const { iat, exp } = JSON.parse(atob(access.split(".")[1]));
    assert.is(exp - iat, seconds);
  }
});

it("keeps two instances apart", async () => {
  const one = await endpointsWith({ responses: "simplejwt", usernameField: "email" });
  const two = await endpointsWith({ signingKey: `another ${secret}` });
  assert.is((await one.post("/jwt/create/", { email: "ada", password: "correct horse" })).status, 200);
  const { access } = JSON.parse((await two.post("/jwt/create/", credentials)).text);
  assert.is((await one.post("/jwt/verify/", { token: access })).status, 401);
  assert.is((await two.post("/jwt/verify/", { token: access })).status, 200);
});

it("lets inactive users in when checkUserIsActive is off, and records logins when updateLastLogin is on", async () => {
  const { post, store } = await endpointsWith({ checkUserIsActive: false, updateLastLogin: true });
  assert.is((await post("/jwt/create/", { ...credentials, username: "ian" })).status, 200);
  assert.ok(((await store.findUserByUsername("ian"))?.lastLogin ?? 0) > Date.now() / 1000 - 60);
});

it.run();
