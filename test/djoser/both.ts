/** The two sides of a variant: the Django site, and the endpoints on each runtime, with the same users, keys and settings. */
import { exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { type Dialect, hmacKey } from "../fixtures/djoser/cases.ts";
import { type Django, missingPackages, startDjango } from "../fixtures/djoser/site.ts";
import { type Ours, type Send, allOurs } from "./runtimes.ts";
import { wantedUsers } from "./users.ts";

const secret = "the secret of the differential suite, which both sides share; 64 bytes";

export interface Variant {
  name: string;
  /**
   * Whether it is tried on Node alone. Runtimes differ in reading bodies and headers, in hashing and in signing; these settings
   * touch none of them.
   */
  onNodeAlone?: true;
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
    onNodeAlone: true,
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
    onNodeAlone: true,
    django: {},
    djoser: { SET_PASSWORD_RETYPE: true, LOGOUT_ON_PASSWORD_CHANGE: true },
    ours: { setPasswordRetype: true, logoutOnPasswordChange: true },
  },
  {
    name: "rotation",
    onNodeAlone: true,
    django: { ROTATE_REFRESH_TOKENS: true },
    ours: { rotateRefreshTokens: true, blacklistAfterRotation: false },
  },
  {
    name: "rotation and blacklist",
    onNodeAlone: true,
    django: { ROTATE_REFRESH_TOKENS: true, BLACKLIST_AFTER_ROTATION: true },
    ours: { rotateRefreshTokens: true, blacklistAfterRotation: true, refreshGrace: 0 },
  },
  {
    name: "sliding tokens",
    onNodeAlone: true,
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
    onNodeAlone: true,
    django: { UPDATE_LAST_LOGIN: true },
    ours: { updateLastLogin: true },
    algorithm: "HS512",
  },
];

export interface Side {
  name: Ours["name"];
  send: Send;
  /** What differs from Django without being a known departure. */
  problems: string[];
}

export interface Both {
  variant: Variant;
  dialect: Dialect;
  idOf(username: string): string;
  theirs: Send;
  /** One for each runtime, each with users of its own. */
  ours: Side[];
  stop(): Promise<void>;
}

/** Returns our endpoints on the runtimes that a variant is tried on. */
export const oursFor = ({ onNodeAlone }: Variant): readonly Ours[] =>
  allOurs.filter(({ name }) => name === "node" || onNodeAlone !== true);

export const missing = missingPackages();

let django: Promise<Django> | undefined;

/** Starts Django, once. */
export const startOnce = (): Promise<Django> => (django ??= startDjango(secret, wantedUsers));

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
  const base = await startOnce();
  const idOf = (username: string): string => base.users.find((user) => user.username === username)!.id;
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
  const users = base.users.flatMap(({ hash: passwordHash, ...user }) => {
    const wanted = wantedUsers.find(({ username }) => username === user.username)!;
    return wanted.deleted === true ? [] : [{ ...user, passwordHash, isActive: wanted.inactive !== true }];
  });
  const settings = {
    sliding: dialect.sliding,
    djoser: variant.djoser,
    simple_jwt: { ALGORITHM: algorithm, ...django, ...variant.django },
  };
  const opened = oursFor(variant).map(async ({ name, open }): Promise<Side> => {
    const send = await open({ settings: { algorithm, ...ours, ...variant.ours }, users });
    return { name, send, problems: [] };
  });
  const [{ send, stop }, ...sides] = await Promise.all([base.open(settings), ...opened]);
  return { variant, dialect, idOf, theirs: send, ours: sides, stop };
}
