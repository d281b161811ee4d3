/** The recommendations of RFC 8725 (JSON Web Token Best Current Practices), one case each. */
import process from "node:process";
import { SignJWT, decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { type Opened, begin, secret, setUp, signed } from "../support/sessions.ts";

const rfc8725 = suite("RFC 8725");
const segment = (value: unknown) =>
  btoa(JSON.stringify(value)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const goodClaims = { token_type: "access", exp: begin + 100, iat: begin, jti: "j", user_id: "1" };

/** One row for each recommendation of RFC 8725 §3. */
const practices: [section: string, what: string, run: (here: Opened, access: string) => Promise<void>][] = [
  [
    "3.1",
    "verifies with the configured algorithm alone",
    async ({ verify }, access) => {
      const [, payload, signature] = access.split(".") as [string, string, string];
      for (const alg of ["none", "None", "HS384", "RS256", "", 256, null, undefined]) {
        for (const end of ["", signature]) assert.is(await verify(`${segment({ alg })}.${payload}.${end}`), 400);
      }
    },
  ],
  [
    "3.2",
    "refuses unfit algorithms in the settings",
    async () => {
      for (const algorithm of ["none", "HS1", "RS1", "ES256K", "RSA1_5", "dir"] as unknown as "HS256"[]) {
        const create = () => createJwtEndpoints({ store: memoryStore(), signingKey: secret, algorithm });
        assert.throws(create, /^setting algorithm: "[^"]+" is not known; accepted: HS256,/);
      }
    },
  ],
  [
    "3.3",
    "checks the whole signature, and before any claim",
    async ({ verify, refresh, log }, access) => {
      const [head, payload, signature] = access.split(".") as [string, string, string];
      for (let i = 0; i < signature.length; i++) {
        const other = signature[i] === "A" ? "B" : "A";
        const changed = signature.slice(0, i) + other + signature.slice(i + 1);
        assert.is(await verify(`${head}.${payload}.${changed}`), 400);
      }
      assert.is(await verify(`${head}.${payload}.${signature.slice(0, -1)}`), 400);
      for (const claims of [{ exp: 1 }, { token_type: "sliding" }, { user_id: "nobody" }]) {
        const forged = `${head}.${segment({ ...goodClaims, ...claims })}.${signature}`;
        assert.is((await refresh(forged)).text, "Token is invalid or expired");
      }
      assert.equal(log, []);
    },
  ],
  [
    "3.4",
    "refuses a key that is not a point of its curve",
    async () => {
      const jwk = async () => exportJWK((await generateKeyPair("ES256", { extractable: true })).publicKey);
      const verifyingKey = { ...(await jwk()), y: (await jwk()).y! };
      const endpoints = createJwtEndpoints({ store: memoryStore(), algorithm: "ES256", verifyingKey });
      const refused = await endpoints.ready().catch((error: Error) => error);
      assert.match(String(refused), /^SettingError: setting verifyingKey can't be read; accepted for ES256/);
      assert.not.match(String(refused), verifyingKey.y);
    },
  ],
  [
    "3.5",
    "refuses an HMAC key shorter than the hash",
    async () => {
      for (const [algorithm, least] of [
        ["HS256", 32],
        ["HS384", 48],
        ["HS512", 64],
      ] as const) {
        const create = (length: number) => () =>
          createJwtEndpoints({ store: memoryStore(), algorithm, signingKey: "k".repeat(length) });
        assert.throws(create(least - 1), new RegExp(`accepted: ${least} or more`));
        assert.not.throws(create(least));
      }
    },
  ],
  [
    "3.6",
    "refuses encrypted and compressed tokens",
    async ({ verify }, access) => {
      const [, payload, signature] = access.split(".") as [string, string, string];
      const jwe = segment({ alg: "dir", enc: "A256GCM", zip: "DEF" });
      for (const token of [`${jwe}..${payload}.${payload}.${signature}`, `${jwe}.${payload}.${signature}`]) {
        assert.is(await verify(token), 400);
      }
    },
  ],
  [
    "3.7",
    "refuses all encodings but UTF-8",
    async ({ verify }) => {
      const { createHmac } = process.getBuiltinModule("node:crypto");
      for (const payload of ['{"x":"\xff"}', "\xef\xbb\xbf{}", "\xff\xfe{\0}\0"]) {
        const text = `${segment({ alg: "HS256", typ: "JWT" })}.${btoa(payload).replaceAll("=", "")}`;
        assert.is(await verify(`${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`), 400);
      }
    },
  ],
  [
    "3.8",
    "checks the issuer if one is set, and the subject",
    async ({ guard }) => {
      const here = await setUp({ issuer: "https://me.example" });
      assert.is(await here.verify((await here.logIn()).access), 200);
      assert.is(await here.verify(await signed(goodClaims)), 400);
      assert.is(await here.verify(await signed({ ...goodClaims, iss: "https://you.example" })), 400);
      assert.is(await guard(await signed(goodClaims)), 200);
      for (const user_id of ["99", "", null, true, 1.5, ["1"], {}, undefined]) {
        assert.is(await guard(await signed({ ...goodClaims, user_id })), 401, JSON.stringify(user_id));
      }
    },
  ],
  [
    "3.9",
    "checks the audience if one is set",
    async () => {
      const here = await setUp({ audience: ["a", "b"] });
      assert.is(await here.verify((await here.logIn()).access), 200);
      for (const aud of [undefined, "c", ["c"], ["a", 5], [], {}]) {
        assert.is(await here.verify(await signed({ ...goodClaims, aud })), 400);
      }
    },
  ],
  [
    "3.10",
    "follows no address and uses no key of a token",
    async ({ verify, logIn }) => {
      const key = new TextEncoder().encode("a key that came with the token, long enough");
      for (const header of [
        { jku: "http://127.0.0.1:1/keys" },
        { x5u: "http://127.0.0.1:1/cert" },
        { jwk: { kty: "oct", k: segment("k") } },
        { kid: "../../etc/passwd" },
        { kid: "' OR 1=1 --" },
      ]) {
        const token = await new SignJWT(goodClaims).setProtectedHeader({ alg: "HS256", ...header }).sign(key);
        assert.is(await verify(token), 400);
      }
      // Ids and users that are names of something else look up nothing.
      for (const name of ["__proto__", "constructor", "../ada", "1'--"]) {
        const claims = { ...goodClaims, jti: name, sid: name };
        assert.is(await verify(await signed(claims)), 200);
        assert.is(await verify(await signed({ ...claims, user_id: name })), 200);
      }
      await logIn();
    },
  ],
  [
    "3.11",
    "writes the type of each token, in a claim as Simple JWT does",
    async ({ logIn, refresh }) => {
      const pair = await logIn();
      const types = [pair.access, pair.refresh].map((token) => decodeJwt(token).token_type);
      assert.equal(types, ["access", "refresh"]);
      assert.is(decodeProtectedHeader(pair.access).typ, "JWT");
      assert.is((await refresh(await signed({ ...goodClaims, token_type: undefined }))).text, "Token has no type");
    },
  ],
  [
    "3.12",
    "refuses a token of another type",
    async ({ post, refresh, guard, logIn }) => {
      const pair = await logIn();
      assert.is(await guard(pair.refresh), 401);
      assert.is((await refresh(pair.access)).text, "Token has wrong type");
      assert.is((await post("logout", { refresh: pair.access })).text, "Token has wrong type");
      for (const token_type of ["sliding", "Access", "", null, 1, ["access"]]) {
        const token = await signed({ ...goodClaims, token_type });
        assert.is((await refresh(token)).text, "Token has wrong type");
        assert.is(await guard(token), 401);
      }
    },
  ],
];
for (const [section, what, run] of practices) {
  rfc8725(`${section}: ${what}`, async () => {
    const here = await setUp();
    await run(here, (await here.logIn()).access);
  });
}
rfc8725.run();
