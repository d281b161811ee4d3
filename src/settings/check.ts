/** What settings are together: combinations that can't work, that do nothing, or that are weak. */
import { isSymmetric } from "../tokens/algorithms.ts";
import { isWorker } from "../native.ts";
import { defaultIterations } from "../passwords/formats.ts";
import { quoted } from "./values.ts";
import type { EndpointsStore, JwtEndpointsSettings, Settings } from "./types.ts";

interface Inconsistency {
  holds(settings: Settings): boolean;
  /** Begins with the name of the setting. */
  problem(settings: Settings): string;
}

const lacks = ({ store }: Settings, method: keyof EndpointsStore): boolean => typeof store[method] !== "function";

/**
 * Whether rotations of refresh tokens are recorded, so that a used token can be told from one that was not.
 * @param settings as given or as parsed.
 */
export const recordsRotations = (
  settings: Partial<Pick<JwtEndpointsSettings, "rotateRefreshTokens" | "blacklistAfterRotation">>,
): boolean => settings.rotateRefreshTokens === true && settings.blacklistAfterRotation !== false;

/** What the setting `sessions` needs of a store. */
const sessionMethods = ["addSession", "touchSession", "listSessions", "removeSession", "putIfAbsent", "get"] as const;
/** Made when it is needed: the first list format of a process takes 9 ms. */
const methodList = (): string => new Intl.ListFormat("en").format(sessionMethods);

/** The most PBKDF2 iterations that Cloudflare Workers derive once deployed; workerd on a developer's machine derives more. */
const workerIterations = 100_000;

/** Combinations that can't work. The first one that holds is reported. */
const inconsistencies: Inconsistency[] = [
  {
    holds: ({ hashing: { iterations, preferred } }) =>
      iterations > workerIterations && preferred.startsWith("pbkdf2") && isWorker(),
    problem: ({ hashing: { iterations } }) =>
      `hashing.iterations: ${iterations} is more than Cloudflare Workers derive; accepted there: at most ${workerIterations}`,
  },
  {
    holds: ({ signingKey, verifyingKey, jwkUrl, keys }) => (signingKey ?? verifyingKey ?? jwkUrl ?? keys) === undefined,
    problem: () => "signingKey is missing; accepted: text, bytes, a JWK or PEM text, or jwkUrl or keys",
  },
  {
    holds: ({ jwkUrl, algorithm }) => jwkUrl !== undefined && isSymmetric(algorithm),
    problem: ({ algorithm }) =>
      `jwkUrl can't be used with algorithm ${algorithm}; accepted: an algorithm with public keys, such as RS256 or ES256`,
  },
  {
    holds: (settings) => recordsRotations(settings) && (lacks(settings, "putIfAbsent") || lacks(settings, "get")),
    problem: () =>
      "blacklistAfterRotation can't be on: the store can't revoke tokens; accepted: false, or a store with putIfAbsent and get",
  },
  {
    holds: (settings) => settings.updateLastLogin && lacks(settings, "updateUser"),
    problem: () => "updateLastLogin can't be on: the store has no updateUser",
  },
  {
    holds: (settings) => !["id", "username"].includes(settings.userIdField) && lacks(settings, "findUserBy"),
    problem: ({ userIdField }) =>
      `userIdField: ${quoted(userIdField)} can't be looked up; accepted: id, username, or a store with findUserBy`,
  },
  {
    holds: (settings) => settings.sessions && sessionMethods.some((method) => lacks(settings, method)),
    problem: () => `sessions can't be on: the store keeps none; accepted: false, or a store with ${methodList()}`,
  },
  {
    holds: ({ cookies, cors }) => cookies.carry.length > 0 && cors === "*",
    problem: () => 'cors: "*" can\'t be used with cookies; accepted: exact origins',
  },
  {
    holds: ({ cookies }) => cookies.sameSite === "none" && !cookies.secure,
    problem: () => "cookies.secure can't be off with cookies.sameSite none: browsers drop such cookies",
  },
  {
    holds: ({ usernameField }) => usernameField === "password",
    problem: () => 'usernameField: "password" is the name of another field',
  },
  {
    holds: (settings) => takenClaim(settings) !== undefined,
    problem(settings) {
      const setting = takenClaim(settings)!;
      return `${setting}: ${quoted(settings[setting])} is taken, or no name of a claim`;
    },
  },
];

const claimSettings = [
  "userIdClaim",
  "jtiClaim",
  "tokenTypeClaim",
  "revokeTokenClaim",
  "slidingTokenRefreshExpClaim",
] as const;

/** Returns the first setting whose claim has another meaning already, in RFC 7519, here, or by a setting before it. */
function takenClaim(settings: Settings): (typeof claimSettings)[number] | undefined {
  const taken = new Set(["exp", "iat", "nbf", "iss", "aud", "sid", "auth_time", "__proto__"]);
  return claimSettings.find((setting) => {
    const claim = settings[setting];
    if (taken.has(claim)) return true;
    taken.add(claim);
    return false;
  });
}

/** Returns what is wrong with settings that are right one by one, or `undefined`. */
export const inconsistency = (settings: Settings): string | undefined =>
  inconsistencies.find(({ holds }) => holds(settings))?.problem(settings);

interface WithoutEffect {
  names: string[];
  why: string;
  holds(settings: Settings): boolean;
}

/** Settings that do nothing beside others, and why. Each setting is reported for the first row that names it. */
const withoutEffect: WithoutEffect[] = [
  {
    names: [
      "accessTokenLifetime",
      "refreshTokenLifetime",
      "rotateRefreshTokens",
      "blacklistAfterRotation",
      "refreshGrace",
      "throttleRotations",
    ],
    why: "with SlidingToken first in authTokenClasses",
    holds: ({ authTokenClasses }) => authTokenClasses[0] === "SlidingToken",
  },
  {
    names: ["blacklistAfterRotation", "refreshGrace", "throttleRotations"],
    why: "without rotateRefreshTokens",
    holds: ({ rotateRefreshTokens }) => !rotateRefreshTokens,
  },
  {
    names: ["refreshGrace", "throttleRotations"],
    why: "without blacklistAfterRotation",
    holds: ({ blacklistAfterRotation }) => blacklistAfterRotation === false,
  },
  {
    names: ["slidingTokenLifetime", "slidingTokenRefreshLifetime"],
    why: "without SlidingToken first in authTokenClasses",
    holds: ({ authTokenClasses }) => authTokenClasses[0] !== "SlidingToken",
  },
  {
    names: ["slidingTokenRefreshExpClaim"],
    why: "without SlidingToken in authTokenClasses",
    holds: ({ authTokenClasses }) => !authTokenClasses.includes("SlidingToken"),
  },
  {
    names: ["cookies.sameSite", "cookies.secure", "cookies.domain"],
    why: "without cookies.carry",
    holds: ({ cookies }) => cookies.carry.length === 0,
  },
  {
    names: ["revokeTokenClaim"],
    why: "without checkRevokeToken",
    holds: ({ checkRevokeToken }) => !checkRevokeToken,
  },
  {
    names: ["forwardedHeader"],
    why: "without trustedProxies",
    holds: ({ trustedProxies }) => trustedProxies === false,
  },
  { names: ["maxSessions"], why: "without sessions", holds: ({ sessions }) => !sessions },
  { names: ["auditEvents"], why: "without audit", holds: ({ audit }) => audit === undefined },
  {
    names: ["passwordRules", "setPasswordRetype", "logoutOnPasswordChange", "throttleSetPassword"],
    why: "with a store that has no updateUser",
    holds: (settings) => lacks(settings, "updateUser"),
  },
  { names: ["userFields"], why: "without me", holds: ({ me }) => !me },
  {
    names: [
      "throttle",
      "maxSessions",
      "updateLastLogin",
      "claims",
      "onLoginSuccess",
      "onLoginFailed",
      "usernameField",
      "usernameMatching",
    ],
    why: "without signingKey or keys, as nobody can log in",
    holds: ({ signingKey, keys }) => signingKey === undefined && keys === undefined,
  },
];

/**
 * Lists the settings that were set and do nothing. That is no error: sites carry such pairs over from Django. A setting
 * that is turned off is not meant to do anything.
 * @param input the settings as they were given.
 * @param settings the same, parsed.
 * @returns one line, or `undefined` when all of them have an effect.
 */
export function settingsWithoutEffect(input: JwtEndpointsSettings, settings: Settings): string | undefined {
  const reported = new Set<string>();
  const groups: string[] = [];
  for (const { names, why, holds } of withoutEffect) {
    if (!holds(settings)) continue;
    const idle = names.filter((name) => isSet(input, name) && !reported.has(name));
    for (const name of idle) reported.add(name);
    if (idle.length > 0) groups.push(`${idle.join(", ")} ${why}`);
  }
  return groups.length === 0 ? undefined : `settings without effect: ${groups.join("; ")}`;
}

function isSet(input: JwtEndpointsSettings, name: string): boolean {
  const value = name.split(".").reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], input);
  return value !== undefined && (value !== false || name === "cookies.secure"); // on by default, so `false` sets it
}

/** A sixth of the default. A stolen hash with fewer is soon searched for its password. */
const fewIterations = 100_000;

/** A secret with fewer different characters is a word or a pattern, such as `changeme` again and again. */
const fewCharacters = 9;

/** Returns warnings about settings that are allowed, for tests, and weak. None holds a part of a secret. */
export function weakSettings({ hashing: { iterations, preferred }, signingKey, algorithm }: Settings): string[] {
  const problems: string[] = [];
  if (iterations < fewIterations && preferred.startsWith("pbkdf2")) {
    const remedy = `recommended: ${defaultIterations} or more`;
    problems.push(
      `setting hashing.iterations: ${iterations} makes passwords easy to find from their hashes; ${remedy}`,
    );
  }
  if (isSymmetric(algorithm) && (typeof signingKey === "string" || signingKey instanceof Uint8Array)) {
    const weakness = weaknessOf(signingKey);
    if (weakness !== undefined) {
      problems.push(`setting signingKey ${weakness}; recommended: 48 random bytes, as from openssl rand -base64 48`);
    }
  }
  return problems;
}

/** Words why a secret is easy to guess. */
function weaknessOf(secret: string | Uint8Array): string | undefined {
  if (typeof secret === "string" && secret.startsWith("django-insecure-")) {
    return "is the one that Django makes for development";
  }
  return new Set<unknown>(secret).size < fewCharacters ? "consists of a few characters that are repeated" : undefined;
}
