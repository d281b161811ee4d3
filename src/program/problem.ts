/** What a program says of the error that ends it: one line for what its operator can mend, else the stack. */
import { constants } from "node:os";
import { SettingError, StoreError } from "../index.ts";
import { StoreUrlError } from "../stores/open.ts";

/** An error whose message is meant for the operator, as a setting's and a store's are. */
export class UsageError extends Error {}

/** Codes of the system that a mistake in the program causes. */
const ownFaults = ["EBADF", "EFAULT", "EINVAL"];
const lookUpFailures = ["ENOTFOUND", "EAI_AGAIN"];

/** Whether the system refused something: a file, an address, a process. */
function isSystemError(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  if (typeof code !== "string" || ownFaults.includes(code)) return false;
  return Object.hasOwn(constants.errno, code) || lookUpFailures.includes(code);
}

/** One line that says what is wrong and what to do; for what nobody foresaw, the stack. */
export function problemOf(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause.name === "NotCapable") return denial(cause.message, error instanceof StoreError);
  }
  return isForeseen(error) ? (error as Error).message.replace(/\s*\n\s*/g, " ") : stackOf(error);
}

function isForeseen(error: unknown): boolean {
  if ([UsageError, SettingError, StoreUrlError].some((kind) => error instanceof kind)) return true;
  if (error instanceof StoreError) return error.cause === undefined || isForeseen(error.cause);
  return isSystemError(error);
}

/** With those of its causes. */
function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stack = error.stack ?? String(error);
  return error.cause === undefined ? stack : `${stack}\ncaused by: ${stackOf(error.cause)}`;
}

/** What the server reads from the environment. */
const variables = "PORT,HOST,JWT_*";
const storeFile = /^(.*)\/(keys\.json|signing\.key|journal-\d)[^/]*$/;

/**
 * Names the flag that gives a permission.
 * @param message Deno's, which names the permission.
 */
function denial(message: string, isOfStore: boolean): string {
  const [, kind, what] = /^Requires (\S+) access(?: to "?(.*?)"?)?, run again/.exec(message) ?? [];
  if (kind === undefined) return message;
  const flags = what === undefined ? `--allow-${kind}` : flagsFor(kind, what, isOfStore);
  return `Deno denies ${kind} access${what === undefined ? "" : ` to ${what}`}; start it with ${flags}`;
}

function flagsFor(kind: string, what: string, isOfStore: boolean): string {
  const folder = storeFile.exec(what)?.[1];
  if (kind === "write" || (kind === "read" && (isOfStore || folder !== undefined))) {
    return `--allow-read=${folder ?? what} --allow-write=${folder ?? what}`;
  }
  if (kind === "env") return `--allow-env=${/^(PORT|HOST|JWT_.*)$/.test(what) ? variables : `${variables},${what}`}`;
  return `--allow-${kind}=${what}`;
}
