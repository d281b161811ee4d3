/**
 * What is there at once, or later. Stores in memory and keys for HMAC answer at once, and a request that meets no promise
 * on its way takes half the time of one that meets ten.
 */
export type MaybePromise<T> = T | Promise<T>;

export const isPromise = <T>(value: MaybePromise<T>): value is Promise<T> =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

/** `next` of a value: called at once when the value is there, as `then` does it when it is a promise. */
export function after<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return isPromise(value) ? value.then(next) : next(value);
}
