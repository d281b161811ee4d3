/** Tokens that Simple JWT made are valid here. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { invalid, open, plain, secret } from "../support/token-fixtures.ts";

const recorded = suite("tokens recorded from PyJWT 2.6, as Simple JWT calls it");
const hs256 = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

const recordings: [algorithm: "HS256" | "HS384" | "HS512", name: string, token: string][] = [
  [
    "HS256",
    "access, user_id as text",
    `${hs256}.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIiwiZXhwIjoxOTAwMDAwMDAwLCJpYXQiOjE4MDAwMDAwMDAsImp0aSI6ImFhYWFhYWFhYWF` +
      "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhIiwidXNlcl9pZCI6IjEifQ.Ka0cAUdEdZUk3f8ANU6GmhI8q7Mgi77m2oRy4HhQz3E",
  ],
  [
    "HS256",
    "refresh, user_id as text",
    `${hs256}.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTkwMDAwMDAwMCwiaWF0IjoxODAwMDAwMDAwLCJqdGkiOiJkZGRkZGRkZGR` +
      "kZGRkZGRkZGRkZGRkZGRkZGRkZGRkZCIsInVzZXJfaWQiOiIxIn0.5hjYcUIxQuOfXIXO5Y5SIuUmISW9lVMo_Nor02Q9xB0",
  ],
  [
    "HS256",
    "refresh, user_id as a number and a claim of the site's own",
    `${hs256}.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTkwMDAwMDAwMCwiaWF0IjoxODAwMDAwMDAwLCJqdGkiOiJjY2NjY2NjY2N` +
      "jY2NjY2NjY2NjY2NjY2NjY2NjY2NjYyIsInVzZXJfaWQiOjEsInRpZXIiOiJnb2xkIn0.NWMNbSi77VYXaXI38HgsOTfjHelTBIF" +
      "xi4csabRp0AE",
  ],
  [
    "HS384",
    "HS384",
    "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIiwiZXhwIjoxOTAwMDAwMDAwLCJpYXQiOjE" +
      "4MDAwMDAwMDAsImp0aSI6ImFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhIiwidXNlcl9pZCI6IjEifQ.dhO49PNaRSY4" +
      "C9YHgHr4yAq0T7q7Qpydpv9nyGDA1k8G6Tebu6D55rWzd-OnqYVA",
  ],
  [
    "HS512",
    "HS512 with kid, nested and escaped claims",
    "eyJhbGciOiJIUzUxMiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIiwiZXhwIjoxOTAwMDAw" +
      "MDAwLCJpYXQiOjE4MDAwMDAwMDAsImp0aSI6ImFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhIiwidXNlcl9pZCI6IjEi" +
      "LCJuYW1lIjoiSlx1MDBmY3JnZW4gXHUyNjAzIFx1ZDgzZFx1ZGUwMCIsIm5lc3RlZCI6eyJhIjpbMSwyLjUsbnVsbF19fQ.A99Jm" +
      "jistVtwhMfLYOE5EHHPmN1OnvSVVRg6qpcESPt350r9LLVmHwDSuRgCdDjB0z_R7NLR8CFkoHDdhlx7TA",
  ],
];

for (const [algorithm, name, token] of recordings) {
  recorded(`verify: ${name}`, async () => {
    const server = await open({ algorithm });
    assert.is(await server.judge("verify", token), "ok");
    assert.is(await server.judge("verify", `${token.slice(0, -2)}${token.at(-1)}${token.at(-2)}`), invalid);
    const isRefresh = decodeJwt(token).token_type === "refresh";
    assert.is(await server.judge("refresh", token), isRefresh ? "ok" : "400 Token has wrong type");
    assert.is(await (await open({ algorithm, signingKey: `${secret}x` })).judge("verify", token), invalid);
  });
}

recorded("carry over into ours, the user's id as it stood", async () => {
  const { access } = (await plain.post("refresh", { refresh: recordings[2]![2] })).body;
  const { user_id, tier, token_type } = decodeJwt(access);
  assert.equal([user_id, tier, token_type], [1, "gold", "access"]);
  assert.ok(access.startsWith(`${hs256}.`));
});

recorded.run();
