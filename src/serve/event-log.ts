/** Where the server's events go: warnings and failures to standard error, audit events there or to a file. */
import fs from "node:fs";
import process from "node:process";
import { type AuditEvent, type LogEvent, SettingError } from "../index.ts";
import { eventLine } from "../program/events.ts";
import { createLineWriter } from "./request-log.ts";
import { workerCount } from "./workers.ts";

function toStandardError(event: AuditEvent | LogEvent): void {
  try {
    console.error(eventLine(event, process.stderr.isTTY));
  } catch {
    // Deno throws when the disk of the log is full, which must not fail the request.
  }
}

/** The `log` hook. Workers leave out the warnings about settings, which the process that watches them has logged. */
export function logEvent(event: LogEvent): void {
  const isOfSettings = event.code === "setting_without_effect" || event.code === "weak_setting";
  if (!isOfSettings || workerCount() === undefined) toStandardError(event);
}

export interface AuditLog {
  /** The `audit` hook; `undefined` for none. */
  record: ((event: AuditEvent) => void) | undefined;
  /** Waits until the events so far are written, at most a number of milliseconds. */
  drain(ms: number): Promise<unknown>;
}

/**
 * Opens the audit log.
 * @param target `stderr`, whose lines wait in the queue of all others; `off`; or a file, whose lines wait in one like it. It
 * is opened for each batch of lines, so that it can be moved away while the server runs.
 * @throws {SettingError} when the file can't be written to.
 */
export function openAuditLog(target: string): AuditLog {
  const drain = () => Promise.resolve();
  if (target === "off") return { record: undefined, drain };
  if (target === "stderr") return { record: toStandardError, drain };
  try {
    fs.closeSync(fs.openSync(target, "a", 0o600));
  } catch (error) {
    if ((error as Error).name === "NotCapable") throw error; // Deno's, which names the permission
    const { code, message } = error as NodeJS.ErrnoException;
    throw new SettingError(`setting auditLog: ${target} can't be written to: ${code ?? message}`, { cause: error });
  }
  const writer = createLineWriter("the audit log", (lines, done) => {
    fs.appendFile(target, lines, { mode: 0o600 }, done);
  });
  return { record: (event) => writer.write(`${eventLine(event, false)}\n`), drain: (ms) => writer.drain(ms) };
}
