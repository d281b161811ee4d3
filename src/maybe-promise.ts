import { isWorker } from "./native.ts";

/**
 * A value now or later. Memory stores and HMAC keys need no promise, and a request that waits for none takes half the time
 * of one that waits for ten.
 */
export type MaybePromise<T> = T | Promise<T>;

/** Returns whether a value is a promise, or any other object with a `then`. */
export const isPromise = <T>(value: MaybePromise<T>): value is Promise<T> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

/** Calls `next` with a value: at once when the value is there, otherwise by `then`. */
export function after<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return isPromise(value) ? value.then(next) : next(value);
}

/**
 * Returns a function for a value that is loaded at its first call: a promise until it is there, then the value itself.
 * Callers share one loading, except in a worker, where each awaits its own. A failure is not kept: the next call loads again.
 */
export function onDemand<T extends object>(load: () => Promise<T>): () => MaybePromise<T> {
  let value: T | undefined;
  let loading: Promise<T> | undefined;
  const loadNow = () => load().then((loaded) => (value ??= loaded));
  return () => value ?? (isWorker() ? loadNow() : (loading ??= loadNow().finally(() => (loading = undefined))));
}
