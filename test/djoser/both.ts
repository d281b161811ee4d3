/** The two sides of a variant: the Django site and the endpoints, with the same users, keys and settings. */
import { exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { type JwtEndpointsSettings, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store } from "../../src/stores/store.ts";
import { type Dialect, hmacKey } from "../fixtures/djoser/cases.ts";
import {
  type SiteResponse,
  type SiteRequest,
  type Site,
  type SiteSettings,
  missingPackages,
  prepareDatabase,
  startSite,
} from "../fixtures/djoser/site.ts";
import { wantedUsers } from "./users.ts";

const secret = "the secret of the differential suite, which both sides share; 64 bytes";
export const iterations = 1000;

/** The site's Simple JWT has one text for both, as all before 5.5. */
const textsOf54 = { token_invalid: "Token is invalid or expired", token_expired: "Token is invalid or expired" };

export interface Variant {
  name: string;
  django: Record<string, unknown>;
  /** Django's `DJOSER`; the variant is then about passwords. */
  djoser?: Record<string, unknown>;
  ours: Partial<JwtEndpointsSettings>;
  algorithm?: Dialect["algorithm"];
  dialect?: Partial<Dialect>;
}

const names = { userIdClaim: "uid", jtiClaim: "myjti", tokenTypeClaim: "kind" };
export const variants: Variant[] = [
  { name: "the defaults", django: {}, ours: {} },
  {
    name: "other claims, audience, issuer, leeway",
    django: {
      USER_ID_CLAIM: names.userIdClaim,
      JTI_CLAIM: names.jtiClaim,
      TOKEN_TYPE_CLAIM: names.tokenTypeClaim,
      AUDIENCE: ["here", "there"],
      ISSUER: "the issuer",
      LEEWAY: 120,
      ACCESS_TOKEN_LIFETIME: 75,
      REFRESH_TOKEN_LIFETIME: 7775,
    },
    ours: {
      ...names,
      audience: ["here", "there"],
      issuer: "the issuer",
      leeway: 120,
      accessTokenLifetime: 75,
      refreshTokenLifetime: "7775s",
    },
    dialect: { ...names, audience: ["here", "there"], issuer: "the issuer", leeway: 120 },
  },
  {
    name: "a new password twice, and a logout with it",
    django: {},
    djoser: { SET_PASSWORD_RETYPE: true, LOGOUT_ON_PASSWORD_CHANGE: true },
    ours: { setPasswordRetype: true, logoutOnPasswordChange: true },
  },
  {
    name: "rotation",
    django: { ROTATE_REFRESH_TOKENS: true },
    ours: { rotateRefreshTokens: true, blacklistAfterRotation: false },
  },
  {
    name: "rotation and blacklist",
    django: { ROTATE_REFRESH_TOKENS: true, BLACKLIST_AFTER_ROTATION: true },
    ours: { rotateRefreshTokens: true, blacklistAfterRotation: true, refreshGrace: 0 },
  },
  {
    name: "sliding tokens",
    django: {
      AUTH_TOKEN_CLASSES: ["rest_framework_simplejwt.tokens.SlidingToken"],
      SLIDING_TOKEN_LIFETIME: 200,
      SLIDING_TOKEN_REFRESH_LIFETIME: 9000,
      SLIDING_TOKEN_REFRESH_EXP_CLAIM: "until",
    },
    ours: {
      authTokenClasses: ["SlidingToken"],
      slidingTokenLifetime: 200,
      slidingTokenRefreshLifetime: 9000,
      slidingTokenRefreshExpClaim: "until",
    },
    dialect: { sliding: true, refreshExpClaim: "until" },
  },
  { name: "ES256", django: {}, ours: {}, algorithm: "ES256" },
  { name: "RS256", django: {}, ours: {}, algorithm: "RS256" },
  {
    name: "HS512 and the time of the last login",
    django: { UPDATE_LAST_LOGIN: true },
    ours: { updateLastLogin: true },
    algorithm: "HS512",
  },
];

export interface Both {
  variant: Variant;
  dialect: Dialect;
  store: Store;
  idOf(username: string): string;
  theirs(request: SiteRequest): Promise<SiteResponse>;
  ours(request: SiteRequest): Promise<SiteResponse>;
  stop(): Promise<void>;
}

export const missing = missingPackages();

interface Prepared {
  base: ReturnType<typeof prepareDatabase>;
  idOf: (username: string) => string;
}
let prepared: Prepared | undefined;

/** Makes the database with the users, once. */
export const prepare = (): Prepared => (prepared ??= makeDatabase());

function makeDatabase(): Prepared {
  const base = prepareDatabase({ secret }, wantedUsers);
  const ids = new Map(base.users.map(({ username, id }) => [username, id]));
  return { base, idOf: (username) => ids.get(username)! };
}

async function keysFor(algorithm: Dialect["algorithm"]) {
  if (algorithm.startsWith("HS")) {
    const bits = Number(algorithm.slice(2));
    return {
      key: await hmacKey(secret, bits),
      otherKey: await hmacKey(`${secret}!`, bits),
      publicText: secret,
      django: {},
      ours: { signingKey: secret },
    };
  }
  const pair = await generateKeyPair(algorithm, { extractable: true });
  const other = await generateKeyPair(algorithm, { extractable: true });
  const [signingKey, verifyingKey] = [await exportPKCS8(pair.privateKey), await exportSPKI(pair.publicKey)];
  return {
    key: pair.privateKey,
    otherKey: other.privateKey,
    publicText: verifyingKey,
    django: { SIGNING_KEY: signingKey, VERIFYING_KEY: verifyingKey },
    ours: { signingKey, verifyingKey },
  };
}

export async function open(variant: Variant): Promise<Both> {
  const { base, idOf } = prepare();
  const algorithm = variant.algorithm ?? "HS256";
  const { key, otherKey, publicText, django, ours } = await keysFor(algorithm);
  const dialect: Dialect = {
    algorithm,
    key,
    otherKey,
    publicText,
    sliding: false,
    userIdClaim: "user_id",
    jtiClaim: "jti",
    tokenTypeClaim: "token_type",
    refreshExpClaim: "refresh_exp",
    leeway: 0,
    active: idOf("ada"),
    inactive: idOf("idle"),
    deleted: idOf("gone"),
    ...variant.dialect,
  };
  const store = memoryStore();
  for (const { id, username, email, hash } of base.users) {
    const wanted = wantedUsers.find((one) => one.username === username)!;
    if (wanted.deleted !== true) {
      await store.addUser({ id, username, email, passwordHash: hash, isActive: wanted.inactive !== true });
    }
  }
  const endpoints = createJwtEndpoints({
    store,
    algorithm,
    ...ours,
    ...variant.ours,
    responses: "simplejwt",
    texts: textsOf54,
    prefix: "/auth",
    hashing: { iterations },
    log: () => {},
  });
  const whoami = endpoints.protect((_, { user: { id, username, lastLogin } }) => {
    const body = JSON.stringify({ id, username, has_logged_in: lastLogin !== null });
    return new Response(body, { headers: { "content-type": "application/json" } });
  });
  const settings: SiteSettings = { secret, sliding: dialect.sliding, djoser: variant.djoser };
  settings.simple_jwt = { ALGORITHM: algorithm, ...django, ...variant.django };
  const site: Site = await startSite(settings, base.database);
  const both: Both = {
    variant,
    dialect,
    store,
    idOf,
    theirs: (request) => site.send(request),
    async ours({ method, path, headers, body }) {
      const request = new Request(`http://127.0.0.1${path}`, {
        method,
        headers: [
          ...headers.map(([name, value]): [string, string] => [name, value]),
          ...(body.length > 0 ? [["Content-Length", String(body.length)] as [string, string]] : []),
        ],
        ...(body.length > 0 && { body }),
      });
      const response = await (path.startsWith("/whoami") ? whoami(request) : endpoints.fetch(request));
      return { status: response.status, headers: response.headers, text: await response.text() };
    },
    stop: () => site.stop(),
  };
  return both;
}
