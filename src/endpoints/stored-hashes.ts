/** Reads which password hashes are stored, so that from the first login on no response time tells which users exist. */
import { isWorker } from "../native.ts";
import { sharedBy } from "../shared-by.ts";
import type { Context } from "./endpoint.ts";

/** How long after its beginning a reading in a worker counts as ended with its request, in milliseconds. */
const readingMs = 5_000;

/**
 * @returns a function that starts reading on its first call, if the store can list its hashes. In a worker a reading ends
 * with its request: it returns a promise there, which the request has to await, until one reading has come to its end. A
 * failure is a warning.
 */
export function createHashReader({ settings, store, passwords }: Context): () => Promise<void> | undefined {
  if (store.passwordHashes === undefined) return () => undefined;
  const reading = sharedBy(passwords, "reading", () => ({ beganAt: -Infinity, hasRead: false }));

  async function read(): Promise<void> {
    try {
      await passwords.learn(store.passwordHashes!());
    } catch (error) {
      const message =
        "the stored password hashes could not be read; how long a login takes may tell which users there are";
      settings.log({ level: "warn", code: "password_formats_unread", message, error });
    }
    reading.hasRead = true;
  }

  return () => {
    const age = Math.abs(settings.now() - reading.beganAt);
    if (reading.hasRead || age < (isWorker() ? readingMs : Infinity)) return undefined;
    reading.beganAt = settings.now();
    const whole = read();
    return isWorker() ? whole : undefined;
  };
}
