/** The look-up of a token's state: which reads each decision makes, in which order, and when without a promise. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings, Store } from "../../src/index.ts";
import { type Purpose, lookUp } from "../../src/sessions/state.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { begin, passwordHash, secret } from "../support/sessions.ts";

const now = () => begin * 1000;
const claims = { token_type: "refresh", user_id: "1", jti: "j", sid: "s", iat: begin, exp: begin + 100 };
const rotation = JSON.stringify({ jti: "k", iat: begin, exp: begin + 100, usedAt: begin });

type Prepare = (store: Store) => unknown;

/** The reads of a look-up, in order; every method of the store is watched. */
async function readsOf(
  purpose: Purpose,
  more: Partial<JwtEndpointsSettings>,
  prepare: Prepare = () => {},
): Promise<string[]> {
  const store = memoryStore({ now });
  await store.addUser({ id: "1", username: "ada", passwordHash });
  await prepare(store);
  const reads: string[] = [];
  const watched: Store = {
    ...store,
    findUserById: (id) => (reads.push("user"), store.findUserById(id)),
    wasRemoved: (field, value) => (reads.push("removed"), store.wasRemoved(field, value)),
    get: (kind, id) => (reads.push(`${kind} ${id}`), store.get(kind, id)),
  };
  const settings = parseSettings({ store: watched, signingKey: secret, now, rotateRefreshTokens: true, ...more });
  const state = lookUp({ settings, store: watched }, claims, purpose);
  assert.not.ok(state instanceof Promise, "no promise where the store returns none");
  return reads;
}

const revocation = ["blacklist j", "session s"];
const rotated: Prepare = (store) => store.putIfAbsent("successor", "j", rotation, begin + 100);
const removed: Prepare = (store) => store.removeUser("1");
const marked: Prepare = (store) => store.updateUser("1", { tokensValidFrom: begin });

const cases: [
  what: string,
  purpose: Purpose,
  settings: Partial<JwtEndpointsSettings>,
  prepare: Prepare | undefined,
  reads: string[],
][] = [
  ["verify", "verify", {}, undefined, ["user", ...revocation, "successor j"]],
  ["verify without rotation", "verify", { rotateRefreshTokens: false }, undefined, ["user", ...revocation]],
  ["verify of a rotated token", "verify", {}, rotated, ["user", ...revocation, "successor j"]],
  [
    "verify with refreshGrace until-used",
    "verify",
    { refreshGrace: "until-used" },
    rotated,
    ["user", ...revocation, "successor j", "successor k"],
  ],
  ["verify of a removed user's token", "verify", {}, removed, ["user", "removed"]],
  ["verify of a revoked user's token", "verify", {}, marked, ["user", 'kept ["1","s",1850000000]']],
  [
    "verify of a revoked token",
    "verify",
    {},
    (store) => store.putIfAbsent("blacklist", "j", "1", begin + 100),
    ["user", "blacklist j"],
  ],
  ["refresh", "refresh", {}, rotated, ["user", ...revocation]],
  ["refresh for a removed user", "refresh", {}, removed, ["user"]],
  ["refresh for a disabled user", "refresh", {}, (store) => store.updateUser("1", { isActive: false }), ["user"]],
  ["a bearer token of a removed user", "bearer", {}, removed, ["user", ...revocation, "successor j"]],
];

const lookUps = suite("look-ups");

for (const [what, purpose, settings, prepare, reads] of cases) {
  lookUps(`read only what decides, the user first: ${what}`, async () => {
    assert.equal(await readsOf(purpose, settings, prepare), reads);
  });
}

lookUps.run();
