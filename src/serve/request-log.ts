/**
 * Writes the server's lines to standard output and standard error. A reader that stalls, goes away or has no room left
 * never delays a request: lines wait in a bounded queue, and lines beyond it are dropped and counted.
 */
import type { Handle } from "../http/message.ts";
import process from "node:process";
import { setImmediate, setTimeout } from "node:timers";
import { format } from "node:util";
import type { HttpRequest } from "../index.ts";
import { isPromise } from "../maybe-promise.ts";
import { createRequestLog, exactNow } from "./request-line.ts";

/**
 * The most bytes that a pipe takes from several processes without mixing them (POSIX's PIPE_BUF). A process that writes alone
 * sends larger pieces, because each write costs as much as the lines of many requests.
 */
const pipeBytes = 4096;
/** How many bytes wait for a slow reader before lines are dropped. */
const waitingLimit = 1 << 20;
const newline = 10;
const encoder = new TextEncoder();
/**
 * Writes bytes without blocking, and calls `done` afterwards, with the error if it failed. The bytes are overwritten after
 * that.
 */
export type Send = (bytes: Uint8Array, done: (error?: unknown) => void) => void;

export interface LineWriter {
  /**
   * Queues one or more whole lines. They are sent after the current turn of the event loop.
   * @param lines text, or bytes, which are copied.
   * @param count how many lines they are.
   */
  write(lines: string | Uint8Array, count?: number): void;
  /** Sets what is called before a drain: it writes the lines that a batch has collected so far. */
  beforeDrain(flush: () => void): void;
  /** Lets pieces be larger from now on, since no other process of this server writes to the stream. */
  writeAlone(): void;
  /**
   * Waits until the lines written so far are out.
   * @param ms the longest wait, in milliseconds.
   * @returns whether all of them are out.
   */
  drain(ms: number): Promise<boolean>;
}

/**
 * Creates the writer of one stream. Lines are kept as bytes in two buffers, which take turns: as text they made
 * garbage, and cost Deno twice as much.
 * @param name the stream's name, for the line that reports dropped lines.
 */
export function createLineWriter(name: string, send: Send): LineWriter {
  let isShared = true;
  let next = new Uint8Array(pipeBytes); // collects the next batch
  let waiting = 0; // bytes of the next batch
  let batch = new Uint8Array(pipeBytes); // is sent, in pieces
  let [size, sent] = [0, 0]; // bytes of the batch
  let dropped = 0;
  let isSending = false;
  let flush = (): void => {};
  let [taken, out, failures] = [0, 0, 0]; // bytes, bytes, pieces
  const waiters = new Set<() => void>();

  function sendNext(): void {
    if (sent === size) {
      [size, sent] = [0, 0];
      if (dropped > 0) take(encoder.encode(droppedLine()));
      [batch, next, size, waiting] = [next, batch, waiting, 0];
      if (size === 0) {
        isSending = false;
        return;
      }
    }
    const start = sent;
    sent = isShared ? endOfPiece(batch.subarray(0, size), start) : size;
    send(batch.subarray(start, sent), (error) => {
      if (error !== undefined && error !== null) failures++;
      out += sent - start;
      for (const look of waiters) look();
      sendNext();
    });
  }

  /** Sends what waits, if nothing is being sent; what is sent next follows by itself. */
  function beginSending(): void {
    if (isSending) return;
    isSending = true;
    setImmediate(sendNext); // one system call for all lines of a turn
  }

  function take(bytes: Uint8Array): void {
    makeRoom(bytes.length);
    next.set(bytes, waiting);
    waiting += bytes.length;
    taken += bytes.length;
  }

  function makeRoom(bytes: number): void {
    if (waiting + bytes <= next.length) return;
    const larger = new Uint8Array(Math.max(2 * next.length, waiting + bytes));
    larger.set(next);
    next = larger;
  }

  /** Returns whether there is room for more lines; counts them otherwise. */
  function accepts(count: number): boolean {
    if (dropped > 0 || waiting + size - sent > waitingLimit) dropped += count;
    return dropped === 0;
  }

  function droppedLine(): string {
    const [count, time] = [dropped, new Date().toISOString()];
    dropped = 0;
    const message = `${count} log lines were dropped: the reader of ${name} did not keep up`;
    return `${JSON.stringify({ time, level: "warn", code: "log_lines_dropped", message })}\n`;
  }

  return {
    write(lines, count = 1) {
      if (!accepts(count)) return;
      take(typeof lines === "string" ? encoder.encode(lines) : lines);
      beginSending();
    },
    beforeDrain(call) {
      flush = call;
    },
    writeAlone() {
      isShared = false;
    },
    async drain(ms) {
      flush();
      const [end, failed] = [taken, failures];
      if (dropped > 0) return false; // the dropped line may be the one the caller waits for
      if (out < end) {
        beginSending();
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

/** Returns the end of the lines from `start` that fit into one piece. A longer line is a piece of its own. */
function endOfPiece(bytes: Uint8Array, start: number): number {
  if (bytes.length - start <= pipeBytes) return bytes.length;
  const end = bytes.lastIndexOf(newline, start + pipeBytes - 1) + 1;
  return end > start ? end : bytes.indexOf(newline, start) + 1 || bytes.length;
}

/** Writes to a stream of `node:process`. */
export const sendTo =
  (stream: NodeJS.WriteStream): Send =>
  (bytes, done) =>
    void stream.write(bytes, done);

/** A stream that resolves to how many bytes it took, as Deno's. */
export interface PromiseWriter {
  write(bytes: Uint8Array): Promise<number>;
}

/** Writes to a stream of Deno's, where those of `node:process` block until the reader has read. */
export function sendByPromise(writer: PromiseWriter): Send {
  const writeAll = async (bytes: Uint8Array): Promise<void> => {
    for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await writer.write(rest));
  };
  return (bytes, done) => void writeAll(bytes).then(() => done(), done);
}

export interface Output {
  stdout: LineWriter;
  stderr: LineWriter;
}

/** Creates the writers of this process and sends everything on `console` through them. */
export function takeOver(send: { stdout: Send; stderr: Send }): Output {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {}); // `done` gets the error
  const stdout = createLineWriter("standard output", send.stdout);
  const stderr = createLineWriter("standard error", send.stderr);
  console.log = (...args: unknown[]) => stdout.write(`${format(...args)}\n`);
  console.warn = console.error = (...args: unknown[]) => stderr.write(`${format(...args)}\n`);
  return { stdout, stderr };
}

/** Requests that are not answered yet. A `Set` of them took 4 to 7 % of a verify's time on Deno. */
export class UnderWay {
  readonly #requests: (HttpRequest | undefined)[] = [];
  readonly #free: number[] = [];
  /** Returns the place of the request, for {@link remove}. */
  add(request: HttpRequest): number {
    const place = this.#free.pop() ?? this.#requests.length;
    this.#requests[place] = request;
    return place;
  }
  /** Removes the request at a place, which another one may then have. */
  remove(place: number): void {
    this.#requests[place] = undefined;
    this.#free.push(place);
  }
  /** Returns whether one of them has arrived completely. */
  hasArrived(): boolean {
    return this.#requests.some((request) => request !== undefined && request.isReading !== true);
  }
}

/** Notes the requests that are not answered yet. One that is answered at once is never among them. */
export function withUnderWay(handle: Handle, underWay: UnderWay): Handle {
  return (request) => {
    const result = handle(request);
    if (!isPromise(result)) return result;
    const place = underWay.add(request);
    return result.then((response) => {
      underWay.remove(place);
      return response;
    });
  };
}

/**
 * Does the same and writes a JSON line to standard output: time, method, path, status and milliseconds, but no query,
 * header or body. One function does both, since a second promise would cost measurable time.
 * @param now a clock in milliseconds, whose zero is that of `performance.now`.
 */
export function withRequestLog(
  handle: Handle,
  underWay: UnderWay,
  { stdout }: Output,
  now: () => number = exactNow,
): Handle {
  const log = createRequestLog(stdout, now);
  return (request) => {
    const start = now();
    const result = handle(request);
    if (!isPromise(result)) {
      log(request, result, start);
      return result;
    }
    const place = underWay.add(request);
    return result.then((response) => {
      underWay.remove(place);
      log(request, response, start);
      return response;
    });
  };
}
