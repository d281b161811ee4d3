/** Random changes of tokens against the endpoints, with jose as the judge. */
import process from "node:process";
import { exportPKCS8, generateKeyPair, jwtVerify } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  base64url,
  checkResponse,
  credentials,
  decodeSegment,
  hs256,
  mutateToken,
  now,
  open,
  randomOf,
  run,
  secret,
  utf8,
  validToken,
} from "../support/fuzzing.ts";

const tokenCases = 3_000;
const asymmetricCases = 200; // for each algorithm

const tokens = suite("fuzz: tokens");

/** What DRF takes off around a token field, so that both readers get the same text. */
const isSpace = (char: string | undefined): boolean =>
  char !== undefined && char !== "\ufeff" && (char.trim() === "" || "\x1c\x1d\x1e\x1f\x85".includes(char));
function trimmed(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && isSpace(text[start])) start++;
  while (end > start && isSpace(text[end - 1])) end--;
  return text.slice(start, end);
}

async function judge(fetch: (request: Request) => Promise<Response>, name: "verify" | "refresh", token: string) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(name === "verify" ? { token } : { refresh: token });
  const response = await fetch(new Request(`http://localhost/jwt/${name}/`, { method: "POST", headers, body }));
  const text = await response.text();
  checkResponse("POST", response, text);
  return response.status;
}

async function joseAccepts(token: string, key: CryptoKey, algorithm: string): Promise<boolean> {
  const options = { algorithms: [algorithm], currentDate: new Date(now * 1000) };
  return jwtVerify(token, key, options).then(
    () => true,
    () => false,
  );
}

tokens(
  `that were changed are accepted only where jose accepts them, in ${tokenCases} cases, and unchanged ones always`,
  async () => {
    const { fetch, log } = await open();
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("raw", utf8.encode(secret), hmac, false, ["verify"]);
    const counts = { accepted: 0, refused: 0, stricter: 0 };
    await run("tokens", tokenCases, async (index, note) => {
      const random = randomOf(1, index);
      const valid = validToken(random);
      let token = valid;
      const other = () => validToken(random);
      for (let times = 1 + random.below(2); times > 0; times--) token = mutateToken(random, token, other);
      note({ valid, token });
      if (index % 4 === 0) assert.is(await judge(fetch, "verify", valid), 200, "an unchanged token was refused");
      const status = await judge(fetch, "verify", token);
      const read = trimmed(token);
      const isGood = await joseAccepts(read, key, "HS256");
      if (status === 200) {
        assert.ok(isGood, "accepted, though jose refuses it");
        const [header, payload, signature] = read.split(".") as [string, string, string];
        // An accepted token is the canonical encoding of its content.
        const again = [header, payload].map((segment) => base64url(Uint8Array.from(rawBytes(segment))));
        assert.equal([header, payload, signature], [...again, hs256(`${header}.${payload}`)], "not canonical");
        const claims = JSON.parse(decodeSegment(payload)) as { exp?: unknown; jti?: unknown };
        assert.ok(typeof claims.exp === "number" && claims.exp > now && typeof claims.jti === "string");
        counts.accepted++;
      } else if (isGood) counts.stricter++;
      else counts.refused++;
      if (index % 3 === 0) {
        const refreshed = await judge(fetch, "refresh", token);
        assert.ok(refreshed !== 200 || status === 200, "refresh took what verify refused");
      }
    });
    assert.equal(log, []);
    for (const count of Object.values(counts)) assert.ok(process.env.FUZZ_FROM || count > 50, JSON.stringify(counts));
    console.log(`tokens: ${JSON.stringify(counts)}`);
  },
);

function rawBytes(segment: string): number[] {
  return [...atob(segment.replaceAll("-", "+").replaceAll("_", "/"))].map((char) => char.charCodeAt(0));
}

for (const [group, algorithm] of (["RS256", "ES256", "EdDSA"] as const).entries()) {
  tokens(`of ${algorithm} likewise, in ${asymmetricCases} cases`, async () => {
    const pair = await generateKeyPair(algorithm, { extractable: true });
    const { fetch, log } = await open({ algorithm, signingKey: await exportPKCS8(pair.privateKey) });
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(credentials) };
    const login = async () => (await fetch(new Request("http://localhost/jwt/create/", init))).json();
    const [one, two] = [await login(), await login()] as [Record<string, string>, Record<string, string>];
    await run(algorithm, asymmetricCases, async (index, note) => {
      const random = randomOf(2 + group, index);
      const valid = random.pick([one.access!, one.refresh!]);
      const token = mutateToken(random, valid, () => two.access!);
      note({ valid, token });
      if (index % 10 === 0) assert.is(await judge(fetch, "verify", valid), 200, "an unchanged token was refused");
      if ((await judge(fetch, "verify", token)) !== 200) return;
      assert.ok(await joseAccepts(trimmed(token), pair.publicKey, algorithm), "accepted, though jose refuses it");
    });
    assert.equal(log, []);
  });
}

tokens.run();
