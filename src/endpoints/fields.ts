/** The fields of request bodies, with the rules and texts of Django REST framework. */
import * as v from "valibot";
import { fail } from "../errors.ts";

/** The characters that Python's `str.strip` removes; `String.trim` removes others. */
const space =
  " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" +
  "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a";

/** Strips by index: a regular expression for the end of a text is quadratic in the spaces inside it. */
function strip(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && space.includes(text[start]!)) start++;
  while (end > start && space.includes(text[end - 1]!)) end--;
  return text.slice(start, end);
}

/** Whether every field accepts a text unchanged, such as a token. A regular expression takes five times as long. */
function isPlain(text: string): boolean {
  const first = text.charCodeAt(0);
  const last = text.charCodeAt(text.length - 1);
  return first > 0x20 && first < 0x7f && last > 0x20 && last < 0x7f && !text.includes("\0") && text.isWellFormed();
}

/** Whether all fields hold plain text, so that the body itself can be returned. */
function hasPlain<E extends object>(fields: E, data: object): data is { [K in keyof E]: string } {
  for (const name in fields) {
    const value = (data as { [K in keyof E]: unknown })[name];
    if (typeof value !== "string" || !isPlain(value)) return false;
  }
  return true;
}

/** Django REST framework's `CharField`: text or a number, not blank, no NUL, no lone surrogate. */
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

/** Returns the Python name of a JSON value's type. A float body arrives as a `Number` object. */
function pythonTypeName(data: unknown): string {
  if (Array.isArray(data)) return "list";
  if (typeof data === "string") return "str";
  if (typeof data === "boolean") return "bool";
  return data instanceof Number ? "float" : "int";
}

/**
 * Reads the fields of a body.
 * @throws `invalid_data` when the body is not an object, `field_errors` with the texts of every invalid field.
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
