/**
 * A key set that changes while requests come: the setting `keys`. It is read once a second, a request waits for it only when
 * it is needed, and the last set stays in use while it can't be read.
 */
import type { JWK } from "jose";
import { SettingError, fail } from "../errors.ts";
import { isWorker } from "../native.ts";
import type { RotatingKeys, Settings } from "../settings/types.ts";
import { isAlgorithm } from "../tokens/algorithms.ts";
import type { Key, KeySet } from "../tokens/key.ts";
import { checkedHalf, prepareKey, verifyingPart, wrongKey } from "./import.ts";

/** How often the key set is read while requests come. */
const pollMs = 1_000;
/** A key set that was read longer ago than this is waited for, at most {@link patienceMs}. */
const staleMs = 2_000;
const patienceMs = 1_000;
/** A reading that takes longer has failed. */
const readingMs = 5_000;
/** Pause between readings that tokens with unknown names cause. */
const unknownMs = 100;

export type OwnKeys = Pick<KeySet, "signing" | "verifying">;

export interface KeyMakers {
  /** Imports the keys of a key set; `undefined` stands for none. Rejects with a {@link SettingError}. */
  load: (given: RotatingKeys | undefined) => Promise<OwnKeys>;
  /** Makes a set of imported keys. */
  setOf: (own: OwnKeys) => Promise<KeySet>;
}

/**
 * Returns a function for the keys as they are now: the set itself while it is fresh, else a promise.
 * @param read the host's function that returns the key set.
 */
export function rotatingKeys(
  { log, now }: Settings,
  read: NonNullable<Settings["keys"]>,
  { load, setOf }: KeyMakers,
): () => KeySet | Promise<KeySet> {
  const clock = () => performance.now();
  let set: KeySet | undefined;
  let setText: string | undefined; // the key set that `set` was made from, as JSON
  let readAt = -Infinity; // when the last finished reading began
  let setAt = -Infinity; // when the reading of `set` began
  let beganAt = -Infinity;
  let reading: Promise<KeySet> | undefined;
  let next: Promise<KeySet> | undefined;
  let isFailing = false;

  const isExpired = ({ exp = Infinity }: Key): boolean => now() >= exp * 1000;

  /** Puts the keys of a reading to use, unless those of a later one are: in a worker an earlier one may end later. */
  async function use({ signing, verifying }: OwnKeys, text = setText, began = setAt): Promise<void> {
    const made = await setOf({ signing, verifying: verifying.filter((key) => !isExpired(key)) });
    if (began < setAt) return;
    [set, setText, setAt] = [{ ...made, newer }, text, began];
  }

  /** Reads the key set. Rejects only while there is no set yet: later a failure leaves every key in use until its own end. */
  async function readNow(): Promise<KeySet> {
    const began = (beganAt = clock());
    if (set?.verifying.some(isExpired)) await use(set);
    try {
      const given = await within(readingMs, (async () => read())());
      const text = String(JSON.stringify(given));
      if (set === undefined || text !== setText) await use(await load(given), text, began);
      else setAt = Math.max(setAt, began);
      isFailing = false;
    } catch (error) {
      if (set === undefined) {
        throw error instanceof SettingError ? error : fail("keys_unavailable", { retryAfter: 1, cause: error });
      }
      const message = "the keys can't be read again; the last ones stay in use";
      if (!isFailing) log({ level: "warn", code: "keys_unavailable", message, error }); // once, not at every poll
      isFailing = true;
    }
    readAt = Math.max(readAt, began);
    return set!;
  }
  /** Callers share one reading, except in a worker. */
  const readShared = () => (isWorker() ? readNow() : (reading ??= readNow().finally(() => (reading = undefined))));

  /** {@link newer} for a worker, where a request waits for its own timers and readings alone. */
  async function newerInWorker(): Promise<KeySet> {
    for (const calledAt = clock(); ;) {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, beganAt + unknownMs - clock())));
      if (readAt > calledAt) return set!;
      if (clock() - beganAt >= unknownMs) return readNow();
    }
  }

  /** Returns the result of a reading that begins after this call: one under way may have missed the newest key. */
  function newer(): Promise<KeySet> {
    if (isWorker()) return newerInWorker();
    return (next ??= (async () => {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, beganAt + unknownMs - clock())));
      await reading?.catch(() => {});
      next = undefined;
      return readShared();
    })());
  }

  return () => {
    const age = clock() - readAt;
    if (set !== undefined && age < pollMs) return set;
    const old = set;
    // In a worker a reading ends with its request, so one request a second waits for it.
    if (old !== undefined && age < staleMs && isWorker() && clock() - beganAt < pollMs) return old;
    const fresh = readShared();
    if (old === undefined) return fresh;
    const patience = beganAt + patienceMs - clock();
    if ((age < staleMs && !isWorker()) || patience <= 0) return old;
    return within(patience, fresh).catch(() => old);
  };
}

/** Rejects when a promise takes longer than `ms` milliseconds. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no key set was returned within ${Math.round(ms)} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Imports the keys that the setting `keys` returned.
 * @param fixed the keys of `signingKey`, whose tokens stay valid.
 */
export async function loadKeySet(given: RotatingKeys, fixed: OwnKeys): Promise<OwnKeys> {
  if (typeof given !== "object" || given === null) {
    throw wrongKey("keys", "returned no key set; accepted: { active, retiring } of JWKs, or undefined");
  }
  const { active, retiring = [], next = [] } = given;
  if (!Array.isArray(retiring) || !Array.isArray(next)) {
    throw wrongKey("keys", "returned retiring or next keys that are not a list; accepted: a list of JWKs");
  }
  const kids = new Set<string>();
  const load = async (setting: string, jwk: JWK, part: "private" | "public", exp?: unknown): Promise<Key> => {
    if (typeof jwk !== "object" || jwk === null) throw wrongKey(setting, "is not a JWK");
    const { alg, kid } = jwk;
    if (exp !== undefined && !Number.isFinite(exp)) {
      throw wrongKey(setting, "has an exp that is not a number; accepted: seconds since the epoch, or none");
    }
    if (!isAlgorithm(alg)) {
      throw wrongKey(setting, "has no known alg; accepted: HS256, RS256, ES256, EdDSA and the like");
    }
    if (kid !== undefined) {
      if (kids.has(kid)) throw wrongKey(setting, "has the kid of another key of the key set");
      kids.add(kid);
    }
    const key = await prepareKey(setting, part === "private" ? jwk : verifyingPart(jwk), alg, part)();
    return { ...key, needsKid: kid !== undefined, exp: exp as number | undefined };
  };
  const signing = await load("keys.active", active, "private");
  const verifying = [await checkedHalf("keys.active", signing)];
  for (const [index, jwk] of next.entries()) verifying.push(await load(`keys.next[${index}]`, jwk, "public"));
  for (const [index, jwk] of retiring.entries()) {
    const { exp } = (jwk ?? {}) as { exp?: unknown }; // the end of its use, which only a retiring key has
    verifying.push(await load(`keys.retiring[${index}]`, jwk, "public", exp));
  }
  return { signing, verifying: [...verifying, ...fixed.verifying] };
}
