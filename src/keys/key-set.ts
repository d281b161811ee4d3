/**
 * Settings -> keys, imported once: a CryptoKey costs half of what raw bytes cost at each use.
 * Each key's algorithm comes from the configuration and never from a token (RFC 8725 §3.1); a token's `kid` only picks
 * among the keys held here, and `jku`, `jwk`, `x5u`, `x5c` are never followed (§3.10).
 */
import type { JWK } from "jose";
import { SettingError, fail } from "../errors.ts";
import type { RotatingKeys, Settings } from "../settings/types.ts";
import {
  type Key,
  isAlgorithm,
  isSymmetric,
  prepareKey,
  publicHalf,
  publishedJwk,
  verifyingPart,
  wrongKey,
} from "./import.ts";
import { type RemoteKeys, remoteKeys } from "./remote.ts";
import { VerifiedTokens } from "../tokens/verify.ts";

export type { Key } from "./import.ts";

export interface KeySet {
  /** Signs new tokens; `undefined` where tokens are only verified. */
  readonly signing: Key | undefined;
  /** Verify, in the order they are tried. */
  readonly verifying: readonly Key[];
  /** The public keys among them as JWKs, with `kid`, `alg` and `use`, and nothing private. */
  readonly published: readonly JWK[];
  /** Claims of tokens whose signatures held, by their text; gone with the set. */
  readonly verified?: VerifiedTokens | undefined;
  /** Those of `jwkUrl`. */
  readonly remote: RemoteKeys | undefined;
  /** The set as it is after another look at the ring, for a token that names an unknown key. */
  readonly newer?: () => Promise<KeySet>;
}

type OwnKeys = Pick<KeySet, "signing" | "verifying">;

/** How often a ring is read while requests come. */
const ringMs = 1_000;
/** A ring read longer ago than this is waited for, though no longer than {@link patienceMs}. */
const ringLimitMs = 2_000;
const patienceMs = 1_000;
/** A reading that takes longer has failed. */
const readingMs = 5_000;
/** Pause between readings that tokens with unknown names ask for. */
const unknownMs = 100;

/**
 * Checks what can be checked at once and answers a function for the keys: the set itself once it is imported, and a
 * promise before. With `keys` the set changes as that ring does.
 * @throws {SettingError} (also the promise) when a key does not fit; the key itself is never in the message.
 */
export function keysFrom(settings: Settings): () => KeySet | Promise<KeySet> {
  const loadOwn = ownKeys(settings);
  const remote = settings.jwkUrl === undefined ? undefined : remoteKeys(settings, settings.jwkUrl);
  if (settings.keys !== undefined) return ringKeys(settings, settings.keys, loadOwn, remote);
  let set: KeySet | undefined;
  let loading: Promise<KeySet> | undefined;
  const load = async () => (set = await keySet(settings, await loadOwn(), remote));
  return () => set ?? (loading ??= load());
}

async function keySet(settings: Settings, own: OwnKeys, remote: RemoteKeys | undefined): Promise<KeySet> {
  const { verifiedTokenCache: size } = settings;
  const published = await Promise.all(own.verifying.map(publishedJwk));
  const verified = size === 0 ? undefined : new VerifiedTokens(size);
  return { ...own, published: published.filter((jwk) => jwk !== undefined), remote, verified };
}

/** The keys of `signingKey` and `verifyingKey`. */
function ownKeys({ algorithm: alg, signingKey, verifyingKey }: Settings): () => Promise<OwnKeys> {
  if (verifyingKey !== undefined && isSymmetric(alg)) {
    throw wrongKey("verifyingKey", `is set, but ${alg} verifies with signingKey`);
  }
  const signer = signingKey === undefined ? undefined : prepareKey("signingKey", signingKey, alg, "private");
  const verifier = verifyingKey === undefined ? undefined : prepareKey("verifyingKey", verifyingKey, alg, "public");
  return async () => {
    const signing = signer && { ...(await signer()), needsKid: false };
    const given = verifier && { ...(await verifier()), needsKid: false };
    if (signing === undefined) return { signing, verifying: given === undefined ? [] : [given] };
    const verifying = given === undefined ? await publicHalf(signing) : { ...given, kid: given.kid ?? signing.kid };
    if (given !== undefined && !(await belongTogether(signing, given))) {
      throw wrongKey("verifyingKey", "does not belong to signingKey");
    }
    if (given === undefined) await checkHalves("signingKey", signing, verifying);
    return { signing, verifying: [verifying] };
  };
}

async function belongTogether(signing: Key, verifying: Key): Promise<boolean> {
  const { CompactSign, compactVerify } = await import("jose");
  const sign = () => new CompactSign(new Uint8Array(1)).setProtectedHeader({ alg: signing.alg }).sign(signing.key);
  try {
    await compactVerify(await sign(), verifying.key);
    return true;
  } catch {
    return false; // runtimes import a key of numbers that don't fit together, and some find out as late as this
  }
}

/** A JWK states both halves, so they can disagree: nobody could verify its tokens. */
async function checkHalves(setting: string, signing: Key, verifying: Key): Promise<void> {
  if (signing.key === verifying.key || (await belongTogether(signing, verifying))) return;
  throw wrongKey(setting, "has a private and a public part that do not belong together");
}

/** The keys of a ring; `fixed` are those of `signingKey`, whose tokens stay good. */
async function keysOf(ring: RotatingKeys, fixed: OwnKeys): Promise<OwnKeys> {
  if (typeof ring !== "object" || ring === null) {
    throw wrongKey("keys", "answered no key ring; accepted: { active, retiring } of JWKs, or undefined");
  }
  const { active, retiring = [], next = [] } = ring;
  if (!Array.isArray(retiring) || !Array.isArray(next)) {
    throw wrongKey("keys", "answered retiring or next keys that are not a list; accepted: a list of JWKs");
  }
  const named = new Set<string>();
  const load = async (setting: string, jwk: JWK, part: "private" | "public"): Promise<Key> => {
    if (typeof jwk !== "object" || jwk === null) throw wrongKey(setting, "is not a JWK");
    const { alg, kid } = jwk;
    const exp = setting.startsWith("keys.retiring") ? (jwk as { exp?: unknown }).exp : undefined;
    if (exp !== undefined && !Number.isFinite(exp)) {
      throw wrongKey(setting, "has an exp that is not a number; accepted: seconds since the epoch, or none");
    }
    if (!isAlgorithm(alg))
      throw wrongKey(setting, "has no known alg; accepted: HS256, RS256, ES256, EdDSA and the like");
    if (kid !== undefined) {
      if (named.has(kid)) throw wrongKey(setting, "has the kid of another key of the ring");
      named.add(kid);
    }
    const key = await prepareKey(setting, part === "private" ? jwk : verifyingPart(jwk), alg, part)();
    return { ...key, needsKid: kid !== undefined, exp: exp as number | undefined };
  };
  const signing = await load("keys.active", active, "private");
  const verifying = await publicHalf(signing);
  await checkHalves("keys.active", signing, verifying);
  const others: Key[] = [];
  for (const [name, jwks] of Object.entries({ next, retiring })) {
    for (const [index, jwk] of jwks.entries()) others.push(await load(`keys.${name}[${index}]`, jwk, "public"));
  }
  return { signing, verifying: [verifying, ...others, ...fixed.verifying] };
}

function ringKeys(
  settings: Settings,
  ask: NonNullable<Settings["keys"]>,
  loadFixed: () => Promise<OwnKeys>,
  remote: RemoteKeys | undefined,
): () => KeySet | Promise<KeySet> {
  const { log, now } = settings;
  const clock = () => performance.now();
  let fixed: Promise<OwnKeys> | undefined;
  let set: KeySet | undefined;
  let held: string | undefined; // the ring that the set was made from
  let readAt = -Infinity; // when the last finished reading began
  let beganAt = -Infinity;
  let reading: Promise<KeySet> | undefined;
  let soon: Promise<KeySet> | undefined;
  let isFailing = false;

  const isOver = ({ exp = Infinity }: Key): boolean => now() >= exp * 1000;

  async function use({ signing, verifying }: OwnKeys): Promise<KeySet> {
    const own = { signing, verifying: verifying.filter((key) => !isOver(key)) };
    return (set = { ...(await keySet(settings, own, remote)), newer });
  }

  /** Once there are keys, it never rejects: they do until the ring can be read again, each until its own end. */
  async function read(): Promise<KeySet> {
    beganAt = clock();
    if (set?.verifying.some(isOver)) await use(set);
    try {
      const ring = await within(readingMs, (async () => ask())());
      const text = String(JSON.stringify(ring));
      if (set === undefined || text !== held) {
        const own = await (fixed ??= loadFixed());
        await use(ring === undefined ? own : await keysOf(ring, own));
        held = text;
      }
      isFailing = false;
    } catch (error) {
      if (set === undefined) {
        throw error instanceof SettingError ? error : fail("keys_unavailable", { retryAfter: 1, cause: error });
      }
      const message = "the keys can't be read again; the last ones stay in use";
      if (!isFailing) log({ level: "warn", code: "keys_unavailable", message, error }); // said once
      isFailing = true;
    }
    readAt = beganAt;
    return set!;
  }
  const readShared = () => (reading ??= read().finally(() => (reading = undefined)));

  /** A reading that begins after this call, since one under way may have passed the place. */
  function newer(): Promise<KeySet> {
    return (soon ??= (async () => {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, beganAt + unknownMs - clock())));
      await reading?.catch(() => {});
      soon = undefined;
      return readShared();
    })());
  }

  return () => {
    const age = clock() - readAt;
    if (set !== undefined && age < ringMs) return set;
    const next = readShared();
    const old = set;
    if (old === undefined) return next;
    const patience = beganAt + patienceMs - clock();
    if (age < ringLimitMs || patience <= 0) return old;
    return within(patience, next).catch(() => old);
  };
}

/** Rejects when a promise takes longer than so many milliseconds. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`there was no answer in ${Math.round(ms)} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
