/** Words the error that ends a program: one line for what its operator can mend, a stack for a bug. */
import { constants } from "node:os";
import { SettingError, StoreError } from "../index.ts";
import { StoreUrlError } from "../stores/open.ts";

/** An error that the person at the keyboard can mend. Its message is one line and holds no password, hash or token. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** System error codes that only a bug in the program causes. */
const bugCodes = ["EBADF", "EFAULT", "EINVAL"];
const lookUpCodes = ["ENOTFOUND", "EAI_AGAIN"];

/** Returns whether the system refused something: a file, an address, a process. */
function isSystemError(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  if (typeof code !== "string" || bugCodes.includes(code)) return false;
  return Object.hasOwn(constants.errno, code) || lookUpCodes.includes(code);
}

/**
 * Words an error for its operator.
 * @returns one line that says what is wrong and what to do; the stack for an error that only a bug can cause.
 */
export function problemOf(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause.name === "NotCapable") return denialLine(cause.message, error instanceof StoreError);
  }
  return isForeseen(error) ? (error as Error).message.replace(/\s*\n\s*/g, " ") : stackOf(error);
}

function isForeseen(error: unknown): boolean {
  if ([UsageError, SettingError, StoreUrlError].some((kind) => error instanceof kind)) return true;
  if (error instanceof StoreError) return error.cause === undefined || isForeseen(error.cause);
  return isSystemError(error);
}

/** Returns the stack of an error and of its causes. */
function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stack = error.stack ?? String(error);
  return error.cause === undefined ? stack : `${stack}\ncaused by: ${stackOf(error.cause)}`;
}

/** The variables that the server reads, as Deno's flag takes them. */
const variables = "PORT,HOST,JWT_*";
const storeFile = /^(.*)\/(keys\.json|signing\.key|journal-\d)[^/]*$/;

/**
 * Names the flag that gives a permission Deno denied.
 * @param message Deno's, which names the permission.
 * @param isOfStore whether the file store needs it; a store is read and written.
 */
function denialLine(message: string, isOfStore: boolean): string {
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
