/**
 * Writes the server's lines to standard output and standard error. A reader that stalls, goes away or has no room left
 * never delays a request: lines wait in a bounded queue, and lines beyond it are dropped and counted.
 */
import type { Handle } from "../http/message.ts";
import process from "node:process";
import { setImmediate, setTimeout } from "node:timers";
import { format } from "node:util";
import type { HttpResponse, HttpRequest } from "../index.ts";
import { isPromise } from "../maybe-promise.ts";
import { jsonLine } from "../program/events.ts";

/**
 * The most bytes that a pipe takes from several processes without mixing them (POSIX's PIPE_BUF). A process that writes alone
 * sends larger pieces, because each write costs as much as the lines of many requests.
 */
const pipeBytes = 4096;
/** How many bytes wait for a slow reader before lines are dropped. */
const waitingLimit = 1 << 20;
const newline = 10;
const encoder = new TextEncoder();
const encode = (text: string): Uint8Array => encoder.encode(text);
/** How long collected lines wait for others, in milliseconds: each batch costs a write, a timer and, on Deno, a thread. */
const collectMs = 100;
/** How many bytes of collected lines are sent without waiting: half of what a pipe holds. */
const enough = 32_768;

/**
 * Writes bytes without blocking, and calls `done` afterwards, with the error if it failed. The bytes are overwritten after
 * that.
 */
export type Send = (bytes: Uint8Array, done: (error?: unknown) => void) => void;

export interface LineWriter {
  /** Queues one or more whole lines. They are sent after the current turn of the event loop. */
  write(lines: string): void;
  /** Queues a whole line, in two parts, that may wait for others for a moment. */
  collect(start: Uint8Array, end: Uint8Array): void;
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
  let isUrgent = false; // whether the next batch holds more than collected lines
  let collecting: ReturnType<typeof setTimeout> | undefined;
  let [taken, out, failures] = [0, 0, 0]; // bytes, bytes, pieces
  const waiters = new Set<() => void>();

  function sendNext(): void {
    if (sent === size) {
      [size, sent] = [0, 0];
      if (dropped > 0) take(droppedLine());
      else if (!isUrgent && waiting < enough) {
        isSending = false;
        if (waiting > 0) collecting = setTimeout(beginSending, collectMs);
        return;
      }
      [batch, next, size, waiting, isUrgent] = [next, batch, waiting, 0, false];
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
    clearTimeout(collecting);
    collecting = undefined;
    isUrgent = true;
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

  /** Returns whether there is room for another line; counts it otherwise. */
  function accepts(): boolean {
    if (dropped > 0 || waiting + size - sent > waitingLimit) dropped++;
    return dropped === 0;
  }

  function droppedLine(): Uint8Array {
    const [count, time] = [dropped, new Date().toISOString()];
    dropped = 0;
    const message = `${count} log lines were dropped: the reader of ${name} did not keep up`;
    return encode(`${JSON.stringify({ time, level: "warn", code: "log_lines_dropped", message })}\n`);
  }

  return {
    write(lines) {
      if (!accepts()) return;
      take(encode(lines));
      beginSending();
    },
    collect(start, end) {
      if (!accepts()) return;
      take(start);
      take(end);
      if (isSending) return;
      if (waiting < enough) collecting ??= setTimeout(beginSending, collectMs);
      else beginSending();
    },
    writeAlone() {
      isShared = false;
    },
    async drain(ms) {
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

/** Writes to a stream of `node:process`. On Deno these block, so its entry file brings its own. */
export const sendTo =
  (stream: NodeJS.WriteStream): Send =>
  (bytes, done) =>
    void stream.write(bytes, done);

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

/** Keeps the requests that are not answered yet in a set. One that is answered at once is never seen there. */
export function withUnderWay(handle: Handle, underWay: Set<HttpRequest>): Handle {
  return (request) => {
    const result = handle(request);
    if (!isPromise(result)) return result;
    underWay.add(request);
    return result.then((response) => {
      underWay.delete(request);
      return response;
    });
  };
}

const endOfLine = (hundredths: number): Uint8Array => encode(`${hundredths / 100}}\n`);
/** The ends of the lines of fast requests, by hundredths of a millisecond. */
const fastEnds = Array.from({ length: 500 }, (_, hundredths) => endOfLine(hundredths));

/**
 * Does the same and writes a JSON line to standard output: time, method, path, status and milliseconds, but no query,
 * header or body. One function does both, since a second promise would cost measurable time.
 */
export function withRequestLog(handle: Handle, underWay: Set<HttpRequest>, { stdout }: Output): Handle {
  const pathOf = createLoggedPaths();
  // What the last line begins with: most requests are like the one before, and come in the same millisecond.
  let [time, method, path, status] = [0, "", "", 0];
  let begin = encode("");
  function log(request: HttpRequest, response: HttpResponse, start: number): void {
    const hundredths = Math.round((performance.now() - start) * 100);
    const now = Date.now();
    const shown = pathOf(request.url, response);
    if (now !== time || shown !== path || response.status !== status || request.method !== method) {
      [time, method, path, status] = [now, request.method, shown, response.status];
      const stamp = new Date(now).toISOString();
      begin = encode(`{"time":"${stamp}","method":${JSON.stringify(method)},"path":${path},"status":${status},"ms":`);
    }
    stdout.collect(begin, fastEnds[hundredths] ?? endOfLine(hundredths));
  }
  return (request) => {
    const start = performance.now();
    const result = handle(request);
    if (!isPromise(result)) {
      log(request, result, start);
      return result;
    }
    underWay.add(request);
    return result.then((response) => {
      underWay.delete(request);
      log(request, response, start);
      return response;
    });
  };
}

/** How many URLs are remembered: a client that varies `Host` makes ever new ones. */
const urlLimit = 100;

/**
 * Returns a function for the path that the log shows, as JSON. An unknown path is not shown, since it can hold a token. A
 * known path is told by the `Allow` header of its response, unless a segment is as long as a token. Ids of sessions are not
 * shown either, since they belong to the audit log.
 */
function createLoggedPaths(): (url: string, response: HttpResponse) => string {
  const known = new Map<string, string>(); // of routes, so that few requests need the pattern
  return (url, { headers }) => {
    if (headers.allow === undefined) return unknownPath;
    const found = known.get(url);
    if (found !== undefined) return found;
    const whole = /^(?:[a-z]+:\/\/[^/?#]*)?([^?#]*)/i.exec(url)![1]!;
    const path = whole.replace(/(\/jwt\/sessions\/)[^/]+(?=\/?$)/, "$1{id}");
    const shown = /[^/]{65}/.test(path) ? unknownPath : jsonLine(path);
    if (known.size >= urlLimit) known.clear();
    known.set(url, shown);
    return shown;
  };
}

const unknownPath = '"[unknown]"';
