/** Checks what a user's fields may hold, as the login endpoint reads them. */
import { type PasswordOwner, djangoPasswordRules } from "../passwords/rules.ts";
import { UsageError } from "../program/problem.ts";

const unprintable = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;
const maxPasswordBytes = 4096; // a login refuses longer ones
const leastPasswordLength = 8; // NIST SP 800-63B section 5.1.1.2, which counts code points

/** Returns the name that a login looks up: trimmed, then in NFKC form, in this order. */
export const normalizeUsername = (text: string): string => text.trim().normalize("NFKC");

/** @throws {UsageError} for a name that no login could send. */
export function parseUsername(text: string): string {
  const username = normalizeUsername(text);
  if (username === "") throw new UsageError("the username is blank");
  if (unprintable.test(username)) throw new UsageError("the username holds a control character");
  // NFKC turns a spacing accent into a space and a combining accent, a name that no keyboard types.
  if (username !== username.trim()) throw new UsageError("the username begins or ends with a space in its NFKC form");
  return username;
}

/** @throws {UsageError} for an email with a control character. */
export function parseEmail(text: string): string {
  const email = text.trim();
  if (unprintable.test(email)) throw new UsageError("the email holds a control character");
  return email;
}

/**
 * Checks a new password. It is never trimmed (NIST SP 800-63B section 5.1.1.2).
 * @throws {UsageError} for a password that a login refuses, or that is too short for a new one.
 */
export function parsePassword(password: string): string {
  if (password === "") throw new UsageError("the password is empty");
  if (password.includes("\0")) throw new UsageError("the password holds a NUL character");
  if (!password.isWellFormed()) throw new UsageError("the password holds half a surrogate pair");
  if (new TextEncoder().encode(password).length > maxPasswordBytes) {
    throw new UsageError(`the password is longer than ${maxPasswordBytes} bytes`);
  }
  if (Array.from(password).length < leastPasswordLength) {
    throw new UsageError(`the password is too short; accepted: ${leastPasswordLength} characters or more`);
  }
  return password;
}

/**
 * Checks a new password by the rules of `/users/set_password/`.
 * @throws {UsageError} for a password that is common, all digits, or like the user's name or email.
 */
export async function refuseWeak(password: string, owner: PasswordOwner): Promise<void> {
  const problems = await djangoPasswordRules(password, owner);
  if (problems.length > 0) throw new UsageError(problems.join(" "));
}
