/** The rules of sessions as tables: plain data in, the code of the first error out, no store. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { User } from "../../src/index.ts";
import {
  type Account,
  type Rotation,
  type TokenFacts,
  bearerError,
  isInGrace,
  isRefusedByUser,
  isSingleUse,
  refreshError,
  verifyError,
} from "../../src/sessions/rules.ts";
import type { Settings } from "../../src/settings/types.ts";
import { passwordDigest } from "../../src/tokens/claims.ts";

const now = 1_850_000_000;
const settings = {
  rotateRefreshTokens: true,
  blacklistAfterRotation: undefined,
  refreshGrace: 10,
  sessionLifetime: undefined,
  checkUserIsActive: true,
  checkRevokeToken: false,
  revokeTokenClaim: "hash_password",
  userIdClaim: "user_id",
  tokenTypeClaim: "token_type",
} as unknown as Settings;
const ada: User = {
  id: "1",
  username: "ada",
  email: "",
  passwordHash: "hash",
  isActive: true,
  lastLogin: null,
  tokensValidFrom: null,
};
const claims = { token_type: "refresh", user_id: "1", jti: "j", iat: now - 60, auth_time: now - 60, exp: now + 60 };
const rotation: Rotation = { jti: "k", iat: now - 30, exp: now + 60, usedAt: now - 30, readAt: now };

/** A row: the special property of a token, and the code that each decision returns. */
interface Row {
  what: string;
  settings?: Partial<Settings>;
  claims?: Record<string, unknown>;
  account?: Partial<Account>;
  facts?: TokenFacts;
  verify?: string;
  refresh?: string;
  bearer?: string;
}

const blacklisted = { verify: "verify_blacklisted", refresh: "token_blacklisted", bearer: "token_blacklisted" };
const changed = { verify: "password_changed", refresh: "password_changed", bearer: "password_changed" };
const marked: User = { ...ada, tokensValidFrom: now - 60 };
const missing = { user: undefined, mayLogIn: false };
const disabled = { user: { ...ada, isActive: false }, mayLogIn: false };
const checking = { checkRevokeToken: true };
const gone = "no_active_account";

const rows: Row[] = [
  { what: "nothing stands against the token" },
  { what: "token revoked", facts: { isBlacklisted: true }, ...blacklisted },
  { what: "session ended", facts: { isSessionEnded: true }, ...blacklisted },
  { what: "user revoked after the login", account: { user: marked }, ...blacklisted },
  { what: "user revoked before the login", account: { user: { ...marked, tokensValidFrom: now - 60.001 } } },
  { what: "login knew of a mark ahead", account: { user: marked }, claims: { tokens_valid_from: now - 60 } },
  {
    what: "login before the mark, issued after it",
    account: { user: marked },
    claims: { iat: now - 1 },
    ...blacklisted,
  },
  {
    what: "no login time: iat counts, earlier than the mark",
    account: { user: marked },
    claims: { auth_time: undefined },
    ...blacklisted,
  },
  {
    what: "no login time: iat counts, later than the mark",
    account: { user: marked },
    claims: { auth_time: undefined, iat: now - 1 },
  },
  {
    what: "rotated, grace period over: left to rotate at refresh",
    facts: { rotation },
    verify: "verify_blacklisted",
    bearer: "token_blacklisted",
  },
  { what: "rotated, in grace", facts: { rotation: { ...rotation, usedAt: now - 9 } } },
  { what: "rotated, successor unused", settings: { refreshGrace: "until-used" }, facts: { rotation } },
  {
    what: "rotated, successor used",
    settings: { refreshGrace: "until-used" },
    facts: { rotation: { ...rotation, isSuccessorUsed: true } },
    verify: "verify_blacklisted",
    bearer: "token_blacklisted",
  },
  { what: "user missing", account: missing, refresh: gone, bearer: "user_not_found" },
  {
    what: "user removed",
    account: { ...missing, wasRemoved: true },
    verify: "verify_blacklisted",
    refresh: gone,
    bearer: "user_not_found",
  },
  {
    what: "user missing and token revoked: the user first at refresh",
    account: missing,
    facts: { isBlacklisted: true },
    ...blacklisted,
    refresh: gone,
  },
  {
    what: "token names no user",
    claims: { user_id: undefined },
    account: missing,
    refresh: gone,
    bearer: "no_user_claim",
  },
  { what: "user disabled", account: disabled, refresh: gone, bearer: "user_inactive" },
  {
    what: "user disabled, checkUserIsActive off",
    settings: { checkUserIsActive: false },
    account: { user: disabled.user },
  },
  {
    what: "user disabled and session ended: the user first at refresh",
    account: disabled,
    facts: { isSessionEnded: true },
    ...blacklisted,
    refresh: gone,
  },
  { what: "refused by the host's rule", account: { mayLogIn: false }, refresh: gone },
  { what: "password changed", settings: checking, claims: { hash_password: "another" }, ...changed },
  {
    what: "password unchanged (MD5 of the stored hash)",
    settings: checking,
    claims: { hash_password: "0800FC577294C34E0B28AD2839435945" },
  },
  { what: "no password claim", settings: checking, ...changed },
  {
    what: "password changed and token revoked",
    settings: checking,
    facts: { isBlacklisted: true },
    ...blacklisted,
  },
  {
    what: "password changed, user disabled",
    settings: checking,
    account: disabled,
    ...changed,
    refresh: gone,
    bearer: "user_inactive",
  },
  {
    what: "password changed, user missing",
    settings: checking,
    account: missing,
    refresh: gone,
    bearer: "user_not_found",
  },
  { what: "session over", settings: { sessionLifetime: 60 }, refresh: "token_expired" },
  { what: "session not over", settings: { sessionLifetime: 60.001 } },
  {
    what: "session over and password changed",
    settings: { sessionLifetime: 60, ...checking },
    ...changed,
  },
  {
    what: "session over and token revoked",
    settings: { sessionLifetime: 60 },
    facts: { isBlacklisted: true },
    ...blacklisted,
  },
];

const rules = suite("rules");

for (const { what, account, facts = {}, ...row } of rows) {
  rules(`decide by the contract's order: ${what}`, async () => {
    const digest = await passwordDigest(ada.passwordHash);
    const all = [
      { ...settings, ...row.settings },
      { ...claims, ...row.claims },
      { account: { user: ada, wasRemoved: false, mayLogIn: true, passwordDigest: digest, ...account }, facts },
    ] as const;
    assert.equal(
      { verify: verifyError(...all), refresh: refreshError(...all, now), bearer: bearerError(...all) },
      { verify: row.verify, refresh: row.refresh, bearer: row.bearer },
    );
  });
}

rules("count the grace period from the first use, whatever the clocks say", () => {
  const cases: [refreshGrace: number, usedAt: number, began: number, clock: number, inGrace: boolean][] = [
    [10, now, now, now, true],
    [10, now, now + 9.999, now + 9.999, true],
    [10, now, now + 10, now + 10, false],
    [10, now, now + 9, now + 60, true], // waiting for the store is not the client's delay
    [10, now, now - 1, now, true], // began first, arrived second
    [10, now, now - 4, now - 4, true],
    [10, now, now - 10, now - 10, false], // the clock was set back
    [1, now, now - 4.9, now - 4.9, true], // the skew of two machines' clocks
    [1, now, now - 5, now - 5, false],
    [0, now, now, now, false],
    [0, now, now - 1, now, false],
  ];
  for (const [refreshGrace, usedAt, began, clock, inGrace] of cases) {
    const told = JSON.stringify([refreshGrace, usedAt - now, began - now, clock - now]);
    assert.is(isInGrace({ ...settings, refreshGrace }, { ...rotation, usedAt, readAt: clock }, began), inGrace, told);
  }
});

rules("call a token single-use only if it is rotated and then blacklisted", () => {
  const cases: [more: Partial<Settings>, type: string | undefined, isSingle: boolean][] = [
    [{}, "refresh", true],
    [{ blacklistAfterRotation: true }, "refresh", true],
    [{ blacklistAfterRotation: false }, "refresh", false],
    [{ rotateRefreshTokens: false }, "refresh", false],
    [{}, "access", false],
    [{}, "sliding", false],
    [{}, undefined, false],
  ];
  for (const [more, type, isSingle] of cases) {
    assert.is(isSingleUse({ ...settings, ...more }, { ...claims, token_type: type }), isSingle, `${type}`);
  }
});

rules("need no facts when the user decides", () => {
  const account: Account = { user: ada, wasRemoved: false, mayLogIn: true };
  const cases: [more: Partial<Account>, isRefused: boolean][] = [
    [{}, false],
    [{ user: undefined }, false],
    [{ user: undefined, wasRemoved: true }, true],
    [{ mayLogIn: false }, true],
    [{ user: marked }, true],
  ];
  for (const [more, isRefused] of cases) assert.is(isRefusedByUser(claims, { ...account, ...more }), isRefused);
});

rules.run();
