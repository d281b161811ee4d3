/**
 * What the server writes to standard output and standard error. A reader that stalls, goes away or has no room left never
 * holds up a request: lines wait in a bounded queue, and those beyond it are dropped and counted.
 */
import process from "node:process";
import { setImmediate, setTimeout } from "node:timers";
import { format } from "node:util";
import type { HttpResponse, HttpRequest } from "../index.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";

/** What several processes write to one pipe stays whole up to this size, in bytes (POSIX's PIPE_BUF). */
const pipeBytes = 4096;
/** How much waits for a slow reader before lines are dropped, in characters. */
const waitingLimit = 1 << 20;

/** Writes a text without holding up the program, and calls `done` afterwards, with the error if it failed. */
export type Send = (text: string, done: (error?: unknown) => void) => void;

export interface LineWriter {
  /** Takes one or more whole lines; they go out after the current turn. */
  write(lines: string): void;
  /**
   * Waits until all that was written so far is out.
   * @param ms the longest wait.
   * @returns whether it is.
   */
  drain(ms: number): Promise<boolean>;
}

/** @param name of the stream, for the line that tells of dropped ones. */
export function createLineWriter(name: string, send: Send): LineWriter {
  let waiting = ""; // for the next batch
  let batch = ""; // on its way, in pieces
  let sent = 0; // of the batch
  let dropped = 0;
  let isSending = false;
  let [taken, out, failures] = [0, 0, 0]; // characters, characters, pieces
  const waiters = new Set<() => void>();

  function sendNext(): void {
    if (sent === batch.length) {
      if (dropped > 0) take(tellDropped());
      [batch, waiting, sent] = [waiting, "", 0];
      if (batch === "") {
        isSending = false;
        return;
      }
    }
    const start = sent;
    sent = endOfPiece(batch, start);
    send(batch.slice(start, sent), (error) => {
      if (error !== undefined && error !== null) failures++;
      out += sent - start;
      for (const look of waiters) look();
      sendNext();
    });
  }

  function take(lines: string): void {
    waiting += lines;
    taken += lines.length;
  }

  function tellDropped(): string {
    const [count, time] = [dropped, new Date().toISOString()];
    dropped = 0;
    const message = `${count} log lines were dropped: the reader of ${name} did not keep up`;
    return `${JSON.stringify({ time, level: "warn", code: "log_lines_dropped", message })}\n`;
  }

  return {
    write(lines) {
      if (dropped > 0 || waiting.length + batch.length - sent > waitingLimit) {
        dropped++;
        return;
      }
      take(lines);
      if (isSending) return;
      isSending = true;
      setImmediate(sendNext); // one call to the system for all that is written in a turn
    },
    async drain(ms) {
      const [end, failed] = [taken, failures];
      if (dropped > 0) return false; // perhaps the line that matters
      if (out < end) {
        await new Promise<void>((resolve) => {
          const look = () => {
            if (out < end) return;
            clearTimeout(timer);
            waiters.delete(look);
            resolve();
          };
          const timer = setTimeout(() => (waiters.delete(look), resolve()), ms);
          waiters.add(look);
        });
      }
      return out >= end && failures === failed;
    },
  };
}

/** Where the lines from `start` on end that fit into one piece; a line longer than that is a piece of its own. */
function endOfPiece(text: string, start: number): number {
  if (text.length - start <= pipeBytes) return text.length;
  const end = text.lastIndexOf("\n", start + pipeBytes - 1) + 1;
  return end > start ? end : text.indexOf("\n", start) + 1 || text.length;
}

/** How to write to a stream of `node:process`. On Deno these block, so that its entry file brings other ones. */
export const sendTo =
  (stream: NodeJS.WriteStream): Send =>
  (text, done) =>
    void stream.write(text, done);

export interface Output {
  stdout: LineWriter;
  stderr: LineWriter;
}

/** The writers of this process, through which everything on `console` goes from now on. */
export function takeOver(send: { stdout: Send; stderr: Send }): Output {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {}); // `done` is told too
  const stdout = createLineWriter("standard output", send.stdout);
  const stderr = createLineWriter("standard error", send.stderr);
  console.log = (...args: unknown[]) => stdout.write(`${format(...args)}\n`);
  console.warn = console.error = (...args: unknown[]) => stderr.write(`${format(...args)}\n`);
  return { stdout, stderr };
}

export type Step = (asked: HttpRequest) => MaybePromise<HttpResponse>;

/** Keeps the requests that are not answered yet in a set. */
export function withUnderWay(step: Step, underWay: Set<HttpRequest>): Step {
  return (asked) => {
    underWay.add(asked);
    return after(step(asked), (answer) => {
      underWay.delete(asked);
      return answer;
    });
  };
}

/**
 * The same, and a JSON line on standard output: time, method, path, status and milliseconds; never a query, a header or a
 * body. In one, since each promise more would show.
 */
export function withRequestLog(step: Step, underWay: Set<HttpRequest>, prefix: string, { stdout }: Output): Step {
  return (asked) => {
    const start = performance.now();
    underWay.add(asked);
    return after(step(asked), (answer) => {
      underWay.delete(asked);
      const ms = Math.round((performance.now() - start) * 100) / 100;
      const time = new Date().toISOString();
      const path = loggedPath(asked.url, answer, prefix);
      stdout.write(`${JSON.stringify({ time, method: asked.method, path, status: answer.status, ms })}\n`);
      return answer;
    });
  };
}

/**
 * An unknown path can be anything, a token for one, and is not repeated. A preflight is answered 204 wherever it is for;
 * other answers about a path of ours say what it allows.
 */
function loggedPath(url: string, { status, headers }: HttpResponse, prefix: string): string {
  const path = /^(?:[a-z]+:\/\/[^/?#]*)?([^?#]*)/i.exec(url)![1]!;
  const isOurs =
    status === 204
      ? path.startsWith(prefix) && /^\/jwt\/[a-z]{1,9}\/?$/.test(path.slice(prefix.length))
      : headers.allow !== undefined;
  return isOurs ? path : "[unknown]";
}
