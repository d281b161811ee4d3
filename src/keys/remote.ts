/**
 * Keys that another party publishes: a JSON Web Key Set (RFC 7517 §5) at the URL of the setting `jwkUrl`. jose fetches, picks
 * and imports them; this file decides when: rarely, never for long, and so that no request waits for a URL that is down.
 */
import type { JWSHeaderParameters, createRemoteJWKSet } from "jose";
import { fail } from "../errors.ts";
import { isWorker } from "../native.ts";
import type { Settings } from "../settings/types.ts";
import { leastRsaBits } from "../tokens/algorithms.ts";
import type { CryptoKey, RemoteKeys } from "../tokens/key.ts";
import { rsaBits } from "./import.ts";

/** The time limit for a response, its body included. */
const responseMs = 5_000;
const maxBytes = 1_048_576;
/** How long keys are used without another request. */
const freshMs = 600_000;
/** How long they are used while requests fail or are slow. */
const staleMs = 3_600_000;
/** How long a request waits for newer keys while stale ones are at hand. */
const patienceMs = 250;
/** How long after a fetch a token with an unknown `kid` causes no other one. */
const unknownMs = 30_000;
/** How long after a failure no other request is made. */
const failureMs = 5_000;

/** Makes the keys of a URL. The first request is made when the first token needs it. */
export function remoteKeys({ algorithm: alg, now, log }: Settings, url: string): RemoteKeys {
  let set: ReturnType<typeof createRemoteJWKSet> | undefined;
  async function keySet(): Promise<NonNullable<typeof set>> {
    const jose = await import("jose");
    // With these times jose fetches only when `reload` is called.
    return (set ??= jose.createRemoteJWKSet(new URL(url), {
      timeoutDuration: responseMs,
      cacheMaxAge: Infinity,
      cooldownDuration: Infinity,
      [jose.customFetch]: fetchBounded,
    }));
  }
  let names = new Set<unknown>();
  let fetchedAt = -Infinity;
  let failure: { at: number; error: unknown } | undefined;
  let loading: Promise<boolean> | undefined;
  let loadingSince = 0;
  let beganAt = -Infinity;

  /** Fetches the keys. Returns whether there are newer ones now, and never rejects. */
  async function loadNow(): Promise<boolean> {
    const heldSince = fetchedAt;
    loadingSince = performance.now();
    beganAt = now();
    try {
      const loaded = await keySet();
      await loaded.reload();
      names = new Set(loaded.jwks()!.keys.map(({ kid }) => kid));
      fetchedAt = now();
      failure = undefined;
    } catch (error) {
      if (fetchedAt !== heldSince) return true; // in a worker another fetch may have succeeded meanwhile
      failure = { at: now(), error };
      log({ level: "warn", code: "keys_unavailable", message: "the keys at jwkUrl can't be fetched", error });
      return false;
    }
    return true;
  }
  /** Callers share one fetch, except in a worker. */
  const load = (): Promise<boolean> =>
    isWorker() ? loadNow() : (loading ??= loadNow().finally(() => (loading = undefined)));

  /** Absolute, so that a clock that was set back causes a request, instead of trust for as long as it was ahead. */
  const since = (time: number): number => Math.abs(now() - time);
  const isCoolingDown = (): boolean => failure !== undefined && since(failure.at) < failureMs;
  const unavailable = () => {
    const wait = failure === undefined ? 0 : failure.at + failureMs - now();
    return fail("keys_unavailable", { retryAfter: Math.max(1, Math.ceil(wait / 1000)), cause: failure?.error });
  };

  /**
   * Makes sure that there are keys to search, fetched or stale.
   * @throws `keys_unavailable` when there are none.
   */
  async function refresh(): Promise<void> {
    const age = since(fetchedAt);
    if (age < freshMs) return;
    if (age < staleMs) {
      if (isCoolingDown()) return;
      // In a worker a fetch ends with its request, so one request waits for it, and meanwhile the others do not.
      if (isWorker()) return void (since(beganAt) >= responseMs && (await load()));
      const loaded = load();
      const patience = loadingSince + patienceMs - performance.now();
      // A URL that failed at the last request gets no patience.
      if (failure === undefined && patience > 0) await atMost(patience, loaded);
      return;
    }
    if (isCoolingDown() || !(await load())) throw unavailable();
  }

  /** Returns the keys that fit a header; `undefined` when no key has its `kid`. */
  async function find(header: JWSHeaderParameters): Promise<CryptoKey[] | undefined> {
    const { errors } = await import("jose");
    const set = await keySet();
    const found: CryptoKey[] = [];
    try {
      found.push(await set(header));
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) return undefined;
      if (error instanceof errors.JWKSMultipleMatchingKeys) for await (const key of error) found.push(key);
      // Any other error: the only key of that name is damaged or private, so it counts as absent.
    }
    return found.filter((key) => (rsaBits(key) ?? leastRsaBits) >= leastRsaBits);
  }

  return {
    knows: (kid) => names.has(kid),
    async keysFor({ alg: theirs, kid }) {
      if (theirs !== alg || !(kid === undefined || typeof kid === "string")) return [];
      await refresh();
      const header = { alg, ...(kid !== undefined && { kid }) };
      const found = await find(header);
      if (found !== undefined) return found;
      // The key may have been published since the last fetch.
      if (failure === undefined && since(fetchedAt) < unknownMs) return [];
      if (isCoolingDown() || !(await load())) throw unavailable();
      return (await find(header)) ?? [];
    },
  };
}

/** Waits for a promise, at most `ms` milliseconds. */
async function atMost(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  await Promise.race([promise, new Promise((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}

/** Fetches without following redirects, and stops reading after {@link maxBytes}. */
async function fetchBounded(url: string, options: RequestInit): Promise<Response> {
  const response = await fetch(url, options);
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel();
    throw new Error(`the URL responded with status ${response.status}; accepted: 200`);
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
      if (size > maxBytes) throw new Error(`the URL responded with more than ${maxBytes} bytes`);
      chunks.push(value);
    }
  } finally {
    options.signal?.removeEventListener("abort", abort);
    abort();
  }
  options.signal?.throwIfAborted(); // a cancelled reader ends like a complete one
  return new Response(new Blob(chunks));
}
