/** What a user's fields may hold, as the login endpoint will read them; and how the commands put things into words. */
import { UsageError } from "../program/problem.ts";

/** Something the person at the keyboard can mend: told in one line, without a stack. Holds no password and no hash. */
export class Mistake extends UsageError {
  override readonly name = "Mistake";
}

const unprintable = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u;
const maxPasswordBytes = 4096; // what a login accepts
const leastPasswordLength = 8; // NIST SP 800-63B section 5.1.1.2, which counts code points

/** The name a login looks up: trimmed, then NFKC, in this order. */
export const normalizeUsername = (text: string): string => text.trim().normalize("NFKC");

export function parseUsername(text: string): string {
  const username = normalizeUsername(text);
  if (username === "") throw new Mistake("the username is blank");
  if (unprintable.test(username)) throw new Mistake("the username holds a control character");
  // A spacing accent becomes a space and a combining one: nobody could type that name back.
  if (username !== username.trim()) throw new Mistake("the username begins or ends with a space in its NFKC form");
  return username;
}

export function parseEmail(text: string): string {
  const email = text.trim();
  if (unprintable.test(email)) throw new Mistake("the email holds a control character");
  return email;
}

/** Never trimmed (NIST SP 800-63B); refused is what a login refuses too, and what is too short for a new password. */
export function parsePassword(password: string): string {
  if (password === "") throw new Mistake("the password is empty");
  if (password.includes("\0")) throw new Mistake("the password holds a NUL character");
  if (!password.isWellFormed()) throw new Mistake("the password holds half a surrogate pair");
  if (new TextEncoder().encode(password).length > maxPasswordBytes) {
    throw new Mistake(`the password is longer than ${maxPasswordBytes} bytes`);
  }
  if (Array.from(password).length < leastPasswordLength) {
    throw new Mistake(`the password is too short; accepted: ${leastPasswordLength} characters or more`);
  }
  return password;
}

/** A text from somewhere else, made safe to print on a terminal's line. */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Bidi_Control}\p{Cs}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`);

/** Enough of a text to be recognized, on one line. */
export const quoted = (text: string): string => `"${printable(text.length > 150 ? `${text.slice(0, 150)}…` : text)}"`;

export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
