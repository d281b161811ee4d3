/**
 * Keys that another party publishes, a JSON Web Key Set (RFC 7517 §5) at a URL. jose fetches, picks and imports them;
 * here is when it may: seldom, never for long, and without a request paying for a URL that is down or slow.
 */
import type { JWSHeaderParameters } from "jose";
import { fail } from "../errors.ts";
import type { Settings } from "../settings/types.ts";
import { type CryptoKey, leastRsaBits, rsaBits } from "./import.ts";

/** How long an answer may take, its body included. */
const answerMs = 5_000;
const maxBytes = 1_048_576;
/** For how long keys are used without asking. */
const freshMs = 600_000;
/** For how long they are used while asking fails or takes its time. */
const staleMs = 3_600_000;
/** How long a request waits for newer keys while it could use such older ones. */
const patienceMs = 250;
/** How long a token with an unknown `kid` can't make us ask once more. */
const unknownMs = 30_000;
/** How long a URL that failed is left in peace. */
const failureMs = 5_000;

export interface RemoteKeys {
  /** Whether a key of that name is held right now. */
  knows(kid: unknown): boolean;
  /**
   * The keys that may have signed a token, by its header; one at most, unless the token or the keys are without `kid`.
   * @throws `keys_unavailable` (503, with `retryAfter`) when it takes keys that can't be had.
   */
  keysFor(header: { alg?: unknown; kid?: unknown }): Promise<readonly CryptoKey[]>;
}

export function remoteKeys({ algorithm: alg, now, log }: Settings, url: string): RemoteKeys {
  // Never by itself: with these times jose leaves it to `reload`.
  const makeSet = async () => {
    const { createRemoteJWKSet, customFetch } = await import("jose");
    return createRemoteJWKSet(new URL(url), {
      timeoutDuration: answerMs,
      cacheMaxAge: Infinity,
      cooldownDuration: Infinity,
      [customFetch]: fetchBounded,
    });
  };
  let making: ReturnType<typeof makeSet> | undefined;
  const keySet = () => (making ??= makeSet());
  let names = new Set<unknown>();
  let fetchedAt = -Infinity;
  let failure: { at: number; error: unknown } | undefined;
  let loading: Promise<boolean> | undefined;
  let loadingSince = 0;

  /** Whether it worked. Callers share a request. */
  function load(): Promise<boolean> {
    if (loading !== undefined) return loading;
    loadingSince = performance.now();
    return (loading = keySet()
      .then(async (set) => (await set.reload(), set))
      .then(
        (set) => {
          names = new Set(set.jwks()!.keys.map(({ kid }) => kid));
          fetchedAt = now();
          failure = undefined;
          return true;
        },
        (error: unknown) => {
          failure = { at: now(), error };
          log({ level: "warn", code: "keys_unavailable", message: "the keys at jwkUrl can't be had", error });
          return false;
        },
      )
      .finally(() => (loading = undefined)));
  }

  /** Either way, so that a clock set back makes us ask, and not trust for as long as it was ahead. */
  const since = (time: number): number => Math.abs(now() - time);
  const isCoolingDown = (): boolean => failure !== undefined && since(failure.at) < failureMs;
  const unavailable = () => {
    const wait = failure === undefined ? 0 : failure.at + failureMs - now();
    return fail("keys_unavailable", { retryAfter: Math.max(1, Math.ceil(wait / 1000)), cause: failure?.error });
  };

  /** Sees to it that there are keys to look in. */
  async function refresh(): Promise<void> {
    const age = since(fetchedAt);
    if (age < freshMs) return;
    if (age < staleMs) {
      if (isCoolingDown()) return;
      const loaded = load();
      const patience = loadingSince + patienceMs - performance.now();
      // A URL that failed last time is not waited for at all.
      if (failure === undefined && patience > 0) await atMost(patience, loaded);
      return;
    }
    if (isCoolingDown() || !(await load())) throw unavailable();
  }

  /** `undefined` when no key has that name. */
  async function look(header: JWSHeaderParameters): Promise<CryptoKey[] | undefined> {
    const { errors } = await import("jose");
    const set = await keySet();
    const found: CryptoKey[] = [];
    try {
      found.push(await set(header));
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return undefined;
      if (error instanceof errors.JWKSMultipleMatchingKeys) for await (const key of error) found.push(key);
      // Any other: the one key of that name is damaged or private, which is as good as none.
    }
    return found.filter((key) => (rsaBits(key) ?? leastRsaBits) >= leastRsaBits);
  }

  return {
    knows: (kid) => names.has(kid),
    async keysFor({ alg: theirs, kid }) {
      if (theirs !== alg || !(kid === undefined || typeof kid === "string")) return [];
      await refresh();
      const header = { alg, ...(kid !== undefined && { kid }) };
      const found = await look(header);
      if (found !== undefined) return found;
      // Maybe a key so new that it is not held yet.
      if (failure === undefined && since(fetchedAt) < unknownMs) return [];
      if (isCoolingDown() || !(await load())) throw unavailable();
      return (await look(header)) ?? [];
    },
  };
}

/** Waits for a promise, though no longer than so many milliseconds. */
async function atMost(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([promise, new Promise((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}

/** Follows no redirect, and stops reading where a key set must have ended. */
async function fetchBounded(url: string, options: RequestInit): Promise<Response> {
  const response = await fetch(url, options);
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel();
    throw new Error(`the URL answered with status ${response.status}; accepted: 200`);
  }
  const reader = response.body.getReader();
  const abort = () => void reader.cancel().catch(() => {});
  options.signal?.addEventListener("abort", abort);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > maxBytes) throw new Error(`the URL answered with more than ${maxBytes} bytes`);
      chunks.push(value);
    }
  } finally {
    options.signal?.removeEventListener("abort", abort);
    abort();
  }
  options.signal?.throwIfAborted(); // cancelled, it ends as if it were whole
  return new Response(new Blob(chunks));
}
