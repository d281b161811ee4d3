/** Random numbers that a seed repeats. */
import process from "node:process";

/**
 * Returns the seed of this run: a new one, or that of a failure from the environment. It is printed first, so that a
 * run that hangs can be repeated as well.
 * @param variable the environment variable that carries the seed.
 */
export function seedFrom(variable = "SEED"): number {
  const seed = Number(process.env[variable] || crypto.getRandomValues(new Uint32Array(1))[0]) >>> 0;
  console.log(`${variable}=${seed}`);
  return seed;
}

/**
 * Returns the share of random rounds that this process takes: in a run of several runtimes each takes a part, with a seed
 * of its own; a suite run alone takes all, and so does each runtime in CI.
 * @param total the rounds of a run.
 */
export function roundsHere(total: number): number {
  if (process.env.CI === "true") return total;
  const runtimes = (process.env.TEST_RUNTIMES ?? "").split(",").filter((name) => /^(node|deno|bun)$/.test(name));
  return Math.ceil(total / Math.max(1, runtimes.length));
}

export interface Random {
  /** Returns a number from 0 up to, but not including, 1. */
  next(): number;
  /** Returns a whole number from 0 up to, but not including, `n`. */
  below(n: number): number;
  pick<T>(list: readonly T[]): T;
  /** Returns true with the probability `p`. */
  chance(p: number): boolean;
  /** Returns `n` bytes. */
  bytes(n: number): Uint8Array<ArrayBuffer>;
}

/** Returns the sequence of a seed (mulberry32). */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number): number => Math.floor(next() * n);
  return {
    next,
    below,
    pick: (list) => list[below(list.length)]!,
    chance: (p) => next() < p,
    bytes: (n) => Uint8Array.from({ length: n }, () => below(256)),
  };
}
