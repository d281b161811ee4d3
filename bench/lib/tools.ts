/** What the benches share: their flags, their progress, and what they read from a server's output. */
import process from "node:process";
import type { NewUser } from "../../src/stores/store.ts";

/** `--quick` checks that everything works; its figures are rough. */
export const quick = process.argv.includes("--quick");

/** Returns N of `--rounds N`, or the usual number of rounds. */
export function roundsOr(usual: number): number {
  const at = process.argv.indexOf("--rounds");
  const rounds = at === -1 ? usual : Number(process.argv[at + 1]);
  if (Number.isInteger(rounds) && rounds > 0) return rounds;
  console.error("--rounds takes a positive integer");
  process.exit(1);
}

const against = process.argv.indexOf("--against");
/** The version of this project to compare with, as git names it. */
export const againstRef = against === -1 ? undefined : process.argv[against + 1];

/**
 * Reports on stderr how far a bench is: on a terminal in one line that is overwritten, else in a line every 10 s at most.
 * @param rounds the rounds that count; one more before them warms up.
 * @param steps the steps of each round.
 * @returns a function to call after each step.
 */
export function progressOf(bench: string, rounds: number, steps: number): () => void {
  const all = (rounds + 1) * steps;
  const begin = performance.now();
  let done = 0;
  let toldAt = begin;
  return () => {
    done++;
    const now = performance.now();
    const seconds = Math.ceil(((now - begin) / done) * ((all - done) / 1000));
    const left = seconds < 100 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
    const round = Math.floor(done / steps);
    const line = `${bench}: ${round === 0 ? "warming up" : `round ${round} of ${rounds}`}, ${left} left`;
    if (process.stderr.isTTY) process.stderr.write(done === all ? "\r\x1b[K" : `\r\x1b[K${line}`);
    else if (now - toldAt >= 10_000 && done < all) {
      toldAt = now;
      console.error(line);
    }
  };
}

/** The names, in tables and chart, of our server and of the one that only parses JSON. */
export const [ours, bare] = ["jwt-endpoints", "bare"];

export const secret = "a signing key for benches, long enough for HS256";

/** Returns the items with a different first one each round, so that no contestant always comes first. */
export function rotated<T>(items: readonly T[], round: number): T[] {
  const start = round % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

/** Rounds to four digits, which is beyond the precision of any bench. */
export const tidy = (value: number): number => Number(value.toPrecision(4));

/** Returns the URL that a server has printed; undefined before it listens. */
export const urlIn = (told: string): string | undefined => /http:\/\/127\.0\.0\.1:\d+/.exec(told)?.[0];

/** Returns the first user, whose password our server prints at its start. */
export const credentialsIn = (told: string): { username: string; password: string } =>
  JSON.parse(/-d '(\{.*\})'/.exec(told)![1]!) as { username: string; password: string };

/** Makes users whose stored hash matches no password. */
export function* newUsers(count: number): Iterable<NewUser> {
  const passwordHash = `pbkdf2_sha256$600000$${"s".repeat(22)}$${"h".repeat(43)}=`;
  for (let i = 0; i < count; i++) {
    yield { id: `${i}`, username: `user${i}`, email: `user${i}@example.org`, passwordHash };
  }
}

export const rounded = (value: number): string => Math.round(value).toLocaleString("en");

/** Keeps `width` calls in flight for `ms` milliseconds and returns how many ended per second. */
export async function perSecond(call: () => Promise<unknown>, ms: number, width: number): Promise<number> {
  const start = performance.now();
  let calls = 0;
  const work = async () => {
    for (; performance.now() - start < ms; calls++) await call();
  };
  await Promise.all(Array.from({ length: width }, work));
  return calls / ((performance.now() - start) / 1000);
}
