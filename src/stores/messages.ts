/** What the stores with messages share: texts are collected for a moment and sent together, with the sender's id. */
import type { MessageStore } from "./store.ts";

/** How long texts are collected, in milliseconds. */
const collectMs = 20;
/** The most that the texts of a batch take, in bytes: with its head, a notice of PostgreSQL takes less than 8000. */
const longestBatch = 7900;
/** The most texts that wait to be sent. Further ones get lost. */
const mostWaiting = 20_000;

/** A store's messages, and how batches go in and out. */
export interface Messages extends MessageStore {
  /** Hands a batch of any process to the subscribers, unless it is this process's own or no batch at all. */
  receive(batch: string): void;
  /** Sends what waits, and nothing more. */
  close(): Promise<void> | undefined;
}

/**
 * Creates the messages of one opener of a store.
 * @param send sends batches to all processes: printable ASCII, one line each. While its promise is pending, texts wait.
 */
export function createMessages(send: (batches: string[]) => Promise<void> | undefined): Messages {
  const me = crypto.randomUUID();
  const receivers: ((text: string) => void)[] = [];
  let waiting: string[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sending: Promise<void> | undefined;
  let isClosed = false;
  let counter = 0; // PostgreSQL delivers equal notices of one transaction once

  /** Encodes the texts that wait as batches. A text that fits into none is left out. */
  function takeBatches(): string[] {
    const batches: string[] = [];
    let batch = "";
    const end = (): void => {
      if (batch !== "") batches.push(`["${me}",${++counter}${batch}]`);
      batch = "";
    };
    for (const text of waiting) {
      const encoded = `,${ascii(JSON.stringify(text))}`;
      if (batch.length + encoded.length > longestBatch) end();
      if (encoded.length <= longestBatch) batch += encoded;
    }
    end();
    waiting = [];
    return batches;
  }

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    if (sending !== undefined || waiting.length === 0) return;
    sending = send(takeBatches())
      ?.catch(() => {})
      .then(() => {
        sending = undefined;
        if (waiting.length > 0 && !isClosed) timer ??= setTimeout(flush, collectMs);
      });
  }

  return {
    publish(text) {
      if (isClosed || waiting.length >= mostWaiting) return;
      waiting.push(text);
      timer ??= setTimeout(flush, collectMs);
    },
    subscribe(receive) {
      receivers.push(receive);
    },
    receive(batch) {
      for (const text of textsOf(batch, me)) for (const receive of receivers) receive(text);
    },
    close() {
      isClosed = true;
      const earlier = sending;
      flush();
      return earlier?.then(flush).then(() => sending) ?? sending;
    },
  };
}

/** Escapes what is not ASCII, so that a batch has as many bytes as characters and fits every encoding of a database. */
const ascii = (json: string): string =>
  json.replaceAll(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Returns the texts of another process's batch; none of what is no batch. */
function textsOf(batch: string, me: string): string[] {
  let parts: unknown;
  try {
    parts = JSON.parse(batch);
  } catch {
    return [];
  }
  if (!Array.isArray(parts) || parts[0] === me) return [];
  return parts.slice(2).filter((part) => typeof part === "string");
}
