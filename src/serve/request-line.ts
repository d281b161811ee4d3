/** The line of a request in the log, as bytes. */
import type { HttpRequest, HttpResponse } from "../index.ts";
import { setTimeout } from "node:timers";
import { jsonLine } from "../program/events.ts";

/** How long lines wait for others, in milliseconds: each batch costs a write, a timer and, on Deno, a thread. */
const batchMs = 100;
/** How many lines are written without waiting: less than half of what a pipe holds. */
const batchLines = 256;
/** By how much the origin differs from one reading to the next while the system's clock is not set, in milliseconds. */
const originMs = 2;
/** Where the milliseconds of the time stamp are in a line. */
const stampEnd = '{"time":"2026-11-26T12:00:00.'.length;
/** The longest rest of a line: the digits of the milliseconds, and the end. */
const restBytes = 32;
const [zero, dot, closingBrace, newline] = [48, 46, 125, 10];
const encoder = new TextEncoder();

/** Writes a number of hundredths as a decimal, without zeros at its end. Returns where it ends. */
function writeHundredths(into: Uint8Array, start: number, hundredths: number): number {
  const whole = Math.floor(hundredths / 100);
  let [at, unit] = [start, 1];
  while (whole >= 10 * unit) unit *= 10;
  for (; unit >= 1; unit /= 10) into[at++] = zero + (Math.floor(whole / unit) % 10);
  const rest = hundredths % 100;
  if (rest > 0) {
    into[at++] = dot;
    into[at++] = zero + Math.floor(rest / 10);
    if (rest % 10 > 0) into[at++] = zero + (rest % 10);
  }
  return at;
}

/** How many kinds of requests are remembered: a client that varies `Host` or the query makes ever new ones. */
const kindLimit = 16;

/**
 * Creates a function that makes something once for requests of one kind: with one method, URL and status. All unknown paths are
 * one URL, since they can hold a token. A known one is told by the `Allow` of its response.
 * @param make is given an empty URL for an unknown path.
 */
export function onceByKind<T>(
  make: (method: string, url: string, status: number) => T,
): (request: HttpRequest, response: HttpResponse) => T {
  let kinds: { method: string; url: string; status: number; made: T }[] = [];
  return ({ method, url: whole }, { status, headers: { allow } }) => {
    const url = allow === undefined ? "" : whole;
    for (const kind of kinds) {
      if (kind.status === status && kind.method === method && kind.url === url) return kind.made;
    }
    if (kinds.length >= kindLimit) kinds = [];
    const made = make(method, url, status);
    kinds.push({ method, url, status, made });
    return made;
  };
}

/** What the lines of like requests have in common. */
interface Kind {
  /** What follows the time. */
  readonly rest: string;
  /** The second for which `line` was made, in milliseconds. */
  second: number;
  /** A line up to the duration, with the first millisecond of the second. */
  line: Uint8Array;
}

/** The clock of durations, in milliseconds. */
export const exactNow = (): number => performance.now();

/** Where the lines go. */
interface Target {
  write(lines: Uint8Array, count: number): void;
  beforeDrain(flush: () => void): void;
}

/**
 * Creates the log of requests: a line for each, with time, method, path, status and milliseconds. A request only leaves two
 * numbers. They become lines in batches: under load on Deno, what took 0.04 µs a line in a loop took 0.4 µs once a request.
 * @param now a clock in milliseconds, whose zero is that of `performance.now`.
 * @returns a function that is called when the response is there, with what the clock was when the request came.
 */
export function createRequestLog(
  { write, beforeDrain }: Target,
  now: () => number = exactNow,
): (request: HttpRequest, response: HttpResponse, start: number) => void {
  const kindOf = Array.from<Kind | undefined>({ length: batchLines }); // of the requests of the batch
  const times = new Float64Array(2 * batchLines); // of their start and their end
  let count = 0;
  let batch = new Uint8Array(batchLines * 128);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let origin = -Infinity; // of the clock, in milliseconds since 1970

  const findKind = onceByKind<Kind>((method, url, status) => {
    const path = url === "" ? unknownPath : shownPath(url);
    const rest = `"method":${JSON.stringify(method)},"path":${path},"status":${status},"ms":`;
    return { rest, second: -1, line: new Uint8Array(0) };
  });

  function writeBatch(): void {
    clearTimeout(timer);
    timer = undefined;
    if (count === 0) return;
    const measured = Date.now() - now();
    if (Math.abs(measured - origin) > originMs) origin = measured; // the system's clock was set
    let size = 0;
    for (let i = 0; i < count; i++) {
      const kind = kindOf[i]!;
      const [start, end] = [times[2 * i]!, times[2 * i + 1]!];
      const at = Math.floor(origin + end);
      const ms = at % 1000;
      if (at - ms !== kind.second) {
        kind.second = at - ms;
        kind.line = encoder.encode(`{"time":"${new Date(kind.second).toISOString()}",${kind.rest}`);
      }
      const { line } = kind;
      if (size + line.length + restBytes > batch.length) {
        const larger = new Uint8Array(2 * (batch.length + line.length));
        larger.set(batch);
        batch = larger;
      }
      batch.set(line, size);
      batch[size + stampEnd] = zero + Math.floor(ms / 100);
      batch[size + stampEnd + 1] = zero + (Math.floor(ms / 10) % 10);
      batch[size + stampEnd + 2] = zero + (ms % 10);
      size = writeHundredths(batch, size + line.length, Math.round((end - start) * 100));
      batch[size++] = closingBrace;
      batch[size++] = newline;
    }
    write(batch.subarray(0, size), count);
    kindOf.fill(undefined, 0, count); // a kind holds a path, which a client chooses
    count = 0;
  }

  beforeDrain(writeBatch);
  return (request, response, start) => {
    times[2 * count] = start;
    times[2 * count + 1] = now();
    kindOf[count++] = findKind(request, response);
    if (count === batchLines) writeBatch();
    else timer ??= setTimeout(writeBatch, batchMs);
  };
}

const unknownPath = '"[unknown]"';

/**
 * Returns the path that the log shows, as JSON, unless a segment is as long as a token. Ids of sessions are not shown either,
 * since they belong to the audit log.
 */
function shownPath(url: string): string {
  const whole = /^(?:[a-z]+:\/\/[^/?#]*)?([^?#]*)/i.exec(url)![1]!;
  const path = whole.replace(/(\/jwt\/sessions\/)[^/]+(?=\/?$)/, "$1{id}");
  return /[^/]{65}/.test(path) ? unknownPath : jsonLine(path);
}
