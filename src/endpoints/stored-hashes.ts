/** Reads which password hashes are stored, so that from the first login on no response time tells which users exist. */
import type { Context } from "./endpoint.ts";

/** @returns a function that starts reading on its first call, if the store can list its hashes. A failure is a warning. */
export function createHashReader({ settings, store, passwords }: Context): () => void {
  let hasStarted = false;
  return () => {
    if (hasStarted || store.passwordHashes === undefined) return;
    hasStarted = true;
    passwords.learn(store.passwordHashes()).catch((error: unknown) => {
      const message =
        "the stored password hashes could not be read; how long a login takes may tell which users there are";
      settings.log({ level: "warn", code: "password_formats_unread", message, error });
    });
  };
}
