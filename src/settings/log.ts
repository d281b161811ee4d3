/** Where log events go: to the host's hook, and to standard error when there is none or it fails. */
import type { LogEvent } from "./types.ts";

/** Writes an event as one JSON line to standard error: the log of the server, and of a host without a hook. */
export function logToStandardError({ error, ...event }: LogEvent): void {
  const cause = error instanceof Error ? { error: error.stack ?? String(error) } : {};
  try {
    console.error(JSON.stringify({ time: new Date().toISOString(), ...event, ...cause }));
  } catch {
    // Deno throws when the disk of the log is full, which must not fail the request.
  }
}

/** Wraps a log hook so that a failing one never fails a request: its event then goes to standard error. */
export function safeLog(log: (event: LogEvent) => unknown): (event: LogEvent) => void {
  return (event) =>
    void (async () => log(event))().catch((error: unknown) => {
      logToStandardError(event);
      logToStandardError({ level: "error", code: "log_failed", message: "the log hook failed", error });
    });
}
