/** Ends the server: on a signal, within a time limit, with the last lines of its log. */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Output, UnderWay } from "./request-log.ts";
import { whenWatcherIsGone } from "./workers.ts";

/** How long requests under way may take after the signal, in milliseconds. */
const shutdownMs = 10_000;
/** How long a client may take to send the rest of its request after the signal, in milliseconds. */
const restMs = 1000;
/** How long the last responses have to leave, in milliseconds. */
const lastResponseMs = 50;
/** Signals within this many milliseconds count as one: a terminal and npm both send it. */
const sameSignalMs = 1000;
/** How long the end waits for a slow reader of the log, in milliseconds. */
export const lastLinesMs = 1000;

/** Ends the process with this exit code. */
export type End = (code: number) => Promise<never>;

/** Makes what ends the process once the last lines of its log are out. */
export const endWith =
  ({ stdout, stderr }: Output): End =>
  async (code) => {
    await Promise.all([stdout.drain(lastLinesMs), stderr.drain(lastLinesMs)]);
    process.exit(code);
  };

/**
 * Resolves when every request that has arrived completely within a second has its response. The others end with the process.
 * @param underWay the requests without a response yet.
 */
export async function whenAnswered(underWay: UnderWay): Promise<void> {
  await sleep(restMs);
  do await sleep(lastResponseMs);
  while (underWay.hasArrived());
}

/**
 * Stops the process on SIGTERM, SIGINT or SIGHUP, with time for requests under way. A second signal ends it at once.
 * @param stop resolves when requests are answered and the store is closed.
 * @param giveUp closes what must be closed when that takes too long.
 */
export function stopOnSignal(stop: () => Promise<void>, giveUp: () => unknown, end: End): void {
  let since: number | undefined;
  const onSignal = async (): Promise<void> => {
    if (since !== undefined) {
      if (performance.now() - since < sameSignalMs) return;
      giveUp();
      process.exit(1);
    }
    since = performance.now();
    endLater(giveUp, end);
    await stop();
    await end(0);
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => void onSignal());
}

/**
 * Stops a worker when its watcher says so or has ended. Other signals are ignored: a terminal sends them to the workers
 * and to the watcher, which passes them on.
 */
export function stopWithWatcher(stop: () => Promise<void>, giveUp: () => unknown, end: End): void {
  let stopping: Promise<void> | undefined;
  const onStop = () => {
    if (stopping !== undefined) return;
    endLater(giveUp, end);
    stopping = stop().then(() => end(0));
  };
  process.on("SIGTERM", onStop);
  whenWatcherIsGone(onStop);
  for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => {});
}

/** Ends the process with code 1 when stopping takes too long. */
function endLater(giveUp: () => unknown, end: End): void {
  setTimeout(() => void Promise.resolve(giveUp()).finally(() => end(1)), shutdownMs);
}
