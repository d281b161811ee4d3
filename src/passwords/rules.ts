/** What a new password must be: the four validators that Django sets up for a new site, with their texts and in their order. */
import type { MaybePromise } from "../maybe-promise.ts";

/** What the rules know of the user whose password it will be. */
export interface PasswordOwner {
  readonly username: string;
  readonly email: string;
}

/** Returns what is wrong with a new password, one sentence each; an empty list for a good one. */
export type PasswordRules<O extends PasswordOwner = PasswordOwner> = (
  password: string,
  user: O,
) => MaybePromise<readonly string[]>;

const leastLength = 8; // NIST SP 800-63B section 5.1.1.2, which counts code points
const mostSimilar = 0.7;

/** Django's rules: not too similar to the user's name or email, 8 characters, not common, not digits alone. */
export const djangoPasswordRules: PasswordRules = async (password, { username, email }) => {
  const problems: string[] = [];
  if (isSimilar(password, username)) problems.push("The password is too similar to the username.");
  else if (isSimilar(password, email)) problems.push("The password is too similar to the email address.");
  if (Array.from(password).length < leastLength) {
    problems.push(`This password is too short. It must contain at least ${leastLength} characters.`);
  }
  if ((await commonPasswords()).has(password.toLowerCase().trim())) problems.push("This password is too common.");
  if (/^\p{Nd}+$/u.test(password)) problems.push("This password is entirely numeric.");
  return problems;
};

let common: ReadonlySet<string> | undefined;

/** The 49,000 most common passwords; loaded when the first password is changed, since it takes a while and some memory. */
async function commonPasswords(): Promise<ReadonlySet<string>> {
  if (common !== undefined) return common;
  const { dictionary } = await import("@zxcvbn-ts/language-common");
  return (common ??= new Set(dictionary["passwords-common"]));
}

/** Compares with the whole value and with each word in it, so with both sides of an email's `@`. */
function isSimilar(password: string, value: string): boolean {
  const text = Array.from(password.toLowerCase());
  const whole = value.toLowerCase();
  return [...whole.split(/[^\p{L}\p{N}_]+/u), whole].some((part) => {
    const other = Array.from(part);
    // A part a tenth as long can't be similar enough.
    if (text.length >= 10 * other.length && other.length < (mostSimilar / 2) * text.length) return false;
    return similarity(text, other) >= mostSimilar;
  });
}

/** The share of characters that both have, in any order (`quick_ratio` of Python's difflib). */
function similarity(one: readonly string[], other: readonly string[]): number {
  const left = new Map<string, number>();
  for (const character of other) left.set(character, (left.get(character) ?? 0) + 1);
  let shared = 0;
  for (const character of one) {
    const count = left.get(character) ?? 0;
    if (count > 0) shared++;
    left.set(character, count - 1);
  }
  return (2 * shared) / (one.length + other.length);
}
