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
