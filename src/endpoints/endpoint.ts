/** What all endpoints share: what they are given, and the fields of their bodies with Django REST framework's texts. */
import * as v from "valibot";
import { fail } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import type { Passwords } from "../passwords/index.ts";
import type { EndpointsStore, LoginRequest, Settings } from "../settings/types.ts";
import type { KeySet } from "../keys/key-set.ts";

export interface Context {
  readonly settings: Settings;
  readonly store: EndpointsStore;
  readonly passwords: Passwords;
  /** Imported on first use. */
  readonly keys: () => MaybePromise<KeySet>;
}

/**
 * Plain data in, plain data out; everything else is thrown as a coded error, at once or by the promise.
 * @param request for a host's hooks alone.
 */
export type Endpoint = (context: Context, data: unknown, request: LoginRequest) => MaybePromise<Answered>;

export type Answered = Readonly<Record<string, string>>;

/** What Python's `str.strip` takes off, which is not quite what `String.trim` does. */
const space =
  " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" +
  "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a";

/** By index: a regular expression for the end of a text looks again from each space inside it. */
function strip(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && space.includes(text[start]!)) start++;
  while (end > start && space.includes(text[end - 1]!)) end--;
  return text.slice(start, end);
}

/** Text that every field takes as it is, as tokens are: printable ASCII without spaces. */
const plain = /^[!-~]+$/;

/** Whether all fields hold such text, so that the body is as good as what would be read from it. */
function hasPlain<E extends object>(fields: E, data: object): data is { [K in keyof E]: string } {
  for (const name in fields) {
    const value = (data as { [K in keyof E]: unknown })[name];
    if (typeof value !== "string" || !plain.test(value)) return false;
  }
  return true;
}

/** DRF's `CharField`: text or a number, not blank, no NUL, no lone surrogate. */
export function charField({ trim }: { trim: boolean }) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, string>(({ dataset: { value }, addIssue, NEVER }) => {
      const refuse = (message: string) => {
        addIssue({ message });
        return NEVER;
      };
      if (value === undefined) return refuse("This field is required.");
      if (value === null) return refuse("This field may not be null.");
      if (typeof value !== "string" && typeof value !== "number") return refuse("Not a valid string.");
      const text = trim ? strip(String(value)) : String(value);
      if (text === "") return refuse("This field may not be blank.");
      if (text.includes("\0")) addIssue({ message: "Null characters are not allowed." });
      const surrogate = /\p{Surrogate}/u.exec(text)?.[0].charCodeAt(0);
      if (surrogate !== undefined) {
        const codePoint = surrogate.toString(16).toUpperCase();
        addIssue({ message: `Surrogate characters are not allowed: U+${codePoint}.` });
      }
      return text;
    }),
  );
}

/** The Python name of a JSON value's type, as DRF puts it. A body that is a float arrives as a `Number` object. */
function pythonTypeName(data: unknown): string {
  if (Array.isArray(data)) return "list";
  if (typeof data === "string") return "str";
  if (typeof data === "boolean") return "bool";
  return data instanceof Number ? "float" : "int";
}

/**
 * Reads the fields of a body.
 * @throws `invalid_data` when the body is no object, `field_errors` naming every field that is wrong.
 */
export function parseFields<const E extends Record<string, ReturnType<typeof charField>>>(
  fields: E,
  data: unknown,
): { [K in keyof E]: string } {
  if (data === null) throw fail("invalid_data");
  if (typeof data !== "object" || Array.isArray(data) || data instanceof Number) {
    const text = `Invalid data. Expected a dictionary, but got ${pythonTypeName(data)}.`;
    throw fail("invalid_data", { text });
  }
  if (hasPlain(fields, data)) return data;
  const values: Record<string, string> = {};
  const problems: Record<string, string[]> = {};
  for (const [name, field] of Object.entries(fields)) {
    const value = Object.hasOwn(data, name) ? (data as Record<string, unknown>)[name] : undefined;
    const result = v.safeParse(field, value);
    if (result.success) values[name] = result.output;
    else problems[name] = result.issues.map((issue) => issue.message);
  }
  if (Object.keys(problems).length > 0) throw fail("field_errors", { fields: problems });
  return values as { [K in keyof E]: string };
}
