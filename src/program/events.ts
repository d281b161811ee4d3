/**
 * The lines of events, and what the commands add to the audit log. A logger library does not pay here: pino takes 33 ms to load on Node and
 * 136 ms on Deno, of 80 ms that a start may take, and its events would pass by the queue that all other lines wait in.
 */
import fs from "node:fs";
import process from "node:process";
import { type AuditEvent, type AuditEventName, type LogEvent, describeSettings } from "../index.ts";

/** Text that needs no quotes on a terminal. */
const plain = /^[\w.:@/-]+$/;
/** Characters that a terminal obeys. An error of a store or a host may quote a client's text. */
const obeyed = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;
/** Returns JSON in which characters that a terminal obeys are escaped. */
export const jsonLine = (value: object | string): string =>
  JSON.stringify(value).replace(obeyed, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
/** Indents the lines of a stack, so that none looks like an event. */
const indented = (stack: string): string =>
  stack
    .split("\n")
    .map((line) => `\n  ${line.replace(obeyed, "?")}`)
    .join("");

/**
 * Returns the line of an event, without its end: JSON, or for a person at a terminal.
 * @param event plain data; members that are `undefined` are left out.
 */
export function eventLine(event: AuditEvent | LogEvent, isTerminal: boolean): string {
  const { time = new Date().toISOString(), error, ...rest } = event as Partial<AuditEvent & LogEvent>;
  const stack = error instanceof Error ? String(error.stack ?? error) : undefined; // a host may make it a list
  if (!isTerminal) return jsonLine({ time, level: "info", ...rest, error: stack });
  const { event: name, level = "info", code, message, ...details } = rest;
  const shown = Object.entries(details).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${plain.test(String(value)) ? value : JSON.stringify(value)}`],
  );
  const words = [time.slice(11, 19), level, name ?? code, ...(message === undefined ? [] : [message]), ...shown];
  return words.join("  ").replace(obeyed, "?") + (stack === undefined ? "" : indented(stack));
}

/**
 * Records what a command did in the audit log. A failure is a warning: what was done stays done.
 * @param log where events go, as for the server, and which; without a target there is no log.
 */
export function recordCommand(
  event: AuditEventName,
  details: Omit<Partial<AuditEvent>, "time" | "event">,
  { target = "off", recorded }: { target?: string | undefined; recorded?: string[] | undefined },
): void {
  const names = recorded ?? (describeSettings().find(({ name }) => name === "auditEvents")!.default as string[]);
  if (target === "" || target === "off" || !names.includes(event)) return;
  const whole: AuditEvent = { time: new Date().toISOString(), event, ...details };
  if (target === "stderr") return console.error(eventLine(whole, process.stderr.isTTY));
  try {
    fs.appendFileSync(target, `${eventLine(whole, false)}\n`, { mode: 0o600 });
  } catch (error) {
    console.error(`the event ${event} is not in the audit log ${target}: ${(error as Error).message}`);
  }
}
