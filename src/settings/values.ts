/** The forms that the values of settings have, each a valibot schema with its error message. `schema.ts` is made of them. */
import ipaddr from "ipaddr.js";
import type { JWK } from "jose";
import * as v from "valibot";
import { type TextCode, errorTable } from "../errors.ts";
import { algorithmNames } from "../tokens/algorithms.ts";
import type { Duration, KeyMaterial, Rate } from "./types.ts";

/**
 * How a setting is written as a flag or environment variable: `file` names a JSON file that holds the value; `none` when it is
 * a function, which only code can give.
 */
export type SettingForm = "text" | "number" | "duration" | "boolean" | "list" | "file" | "none";

/** States the form of a schema whose type does not tell it. */
const inForm = <T>(form: SettingForm) => v.metadata<T, { form: SettingForm }>({ form });

/** Quotes the value of a setting for an error message, at most 80 letters of it. It must not be a secret. */
export const quoted = (value: unknown): string => {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 78)}…"` : text;
};

export const boolean = v.boolean("is not a boolean; accepted: true or false");

export const text = v.string("is not text");

/** The name of a field or claim, or of an issuer or audience. */
export const name = v.pipe(text, v.nonEmpty("is empty; accepted: a name"));

export const nameOrNames = v.pipe(
  v.union([name, v.array(name)], "is not text or a list of text"),
  inForm<string | string[]>("list"),
);

/** A whole number from `least` to `most`. */
export const count = (least: number, most = Number.MAX_SAFE_INTEGER) =>
  v.pipe(
    v.number("is not a number"),
    v.check(
      (n) => Number.isSafeInteger(n) && n >= least && n <= most,
      `is out of range; accepted: a whole number from ${least}${most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : ""}`,
    ),
  );

export const oneOf = <const T extends readonly string[]>(options: T) =>
  v.picklist(options, `is not known; accepted: ${options.join(", ")}`);

/**
 * A function of type `F`.
 * @param accepted its signature, for the error message.
 */
export const fn = <F>(accepted: string) =>
  v.pipe(
    v.custom<F>((value) => typeof value === "function", `is not a function; accepted: ${accepted}`),
    inForm<F>("none"),
  );

const unitSeconds: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/**
 * Reads a duration.
 * @param value seconds as a number or as text, or text with units such as `"5m"` and `"1h30m"`.
 * @returns seconds, or `undefined` when the value is no duration.
 */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  if (/^\d+(\.\d+)?$/.test(value)) return parseDuration(Number(value));
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d|w))+$/.test(value)) return undefined;
  let seconds = 0;
  for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/g)) {
    seconds += Number(amount) * unitSeconds[unit!]!;
  }
  return parseDuration(seconds);
}

const durationText = v.pipe(
  v.custom<Duration>(
    (value) => parseDuration(value) !== undefined,
    'is not a duration; accepted: seconds, or text such as "30s", "5m", "1h30m", "1d"',
  ),
  inForm<Duration>("duration"),
);

/** 100,000 days. Python has no time beyond the year 9999, and JavaScript none beyond the year 275,760. */
const mostLifetime = 8_640_000_000;

/** A duration of one second or more, in seconds. */
export const lifetime = v.pipe(
  durationText,
  v.check((value) => parseDuration(value)! <= mostLifetime, 'is too long; accepted: up to "100000d"'),
  v.transform((value) => parseDuration(value)!),
  v.minValue(1, "is too short; accepted: one second or more"),
);

/** Ten minutes: clocks that differ by more need repair, and an expired token must not pass for long. */
const mostLeeway = 600;

/** A tolerated clock difference, in seconds. */
export const leeway = v.pipe(
  durationText,
  v.check((value) => parseDuration(value)! <= mostLeeway, 'is too long; accepted: up to "10m"'),
  v.transform((value) => parseDuration(value)!),
);

/** One hour: a stolen refresh token can be used within the grace period unnoticed. */
const mostGrace = 3600;

/** A grace period in seconds, or `"until-used"`. */
export const gracePeriod = v.pipe(
  v.custom<Duration>(
    (value) => value === "until-used" || parseDuration(value) !== undefined,
    'is not a duration; accepted: seconds, text such as "10s", 0 for none, or "until-used"',
  ),
  v.check(
    (value) => value === "until-used" || parseDuration(value)! <= mostGrace,
    'is too long; accepted: up to "1h", or "until-used"',
  ),
  v.transform((value): "until-used" | number => (value === "until-used" ? value : parseDuration(value)!)),
  inForm<"until-used" | number>("duration"),
);

/** Requests per time, as Django REST framework writes them: `"20/min"`. */
const rate = v.pipe(
  text,
  v.regex(/^[1-9]\d{0,8}\/(s|sec|m|min|h|hour|d|day)$/, 'is not a rate; accepted: such as "5/s", "20/min", "100/hour"'),
  v.transform((value): Rate => {
    const [limit, unit] = value.split("/") as [string, string];
    return { limit: Number(limit), seconds: unitSeconds[unit[0]!]! };
  }),
);

export const rateOrOff = v.union(
  [v.literal(false), rate],
  'is not a rate; accepted: false, or such as "5/s", "20/min", "100/hour"',
);

const isProxy = (value: unknown): boolean =>
  value === "loopback" ||
  (typeof value === "string" &&
    (value.includes("/")
      ? ipaddr.isValidCIDR(value)
      : ipaddr.IPv4.isValidFourPartDecimal(value) || ipaddr.IPv6.isValid(value)));

/** Proxies that are trusted, by address or by number. A number may come as text, from a flag. */
export const proxies = v.pipe(
  v.custom<false | number | string[]>(
    (value) =>
      value === false ||
      (Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= 32) ||
      (Array.isArray(value) &&
        (value.every(isProxy) ||
          (value.length === 1 && typeof value[0] === "string" && /^([1-9]|[12]\d|3[0-2])$/.test(value[0])))),
    'is not a list of proxies; accepted: false, addresses, ranges such as "10.0.0.0/8", "loopback", or a number from 1 to 32',
  ),
  v.transform((value) => (Array.isArray(value) && /^\d+$/.test(value[0] ?? "") ? Number(value[0]) : value)),
  v.transform((value) => (Array.isArray(value) && value.length === 0 ? false : value)),
  inForm<false | number | string[]>("list"),
);

export const algorithm = oneOf(algorithmNames);

/** A key in any of its notations. Whether it fits the algorithm shows when it is imported. */
export const key = v.custom<KeyMaterial>(
  (value) =>
    (typeof value === "string" && value !== "") ||
    value instanceof Uint8Array ||
    (typeof value === "object" && value !== null && typeof (value as JWK).kty === "string"),
  "is not a key; accepted: text, bytes, a JWK or PEM text",
);

const errorText = v.pipe(
  v.string("is not text"),
  v.check((value) => value.trim() !== "", "is empty; accepted: a text"),
);

const textCodes = Object.keys(errorTable).filter((code): code is TextCode => code !== "field_errors");

/** Texts of errors by their code. */
export const errorTexts = v.pipe(
  v.strictObject(
    Object.fromEntries(textCodes.map((code) => [code, v.optional(errorText)])) as Record<
      TextCode,
      v.OptionalSchema<typeof errorText, undefined>
    >,
    ({ expected }) =>
      expected === "never" ? "is not the code of a text" : 'is not an object; accepted: such as {"token_expired": "…"}',
  ),
  inForm<Partial<Record<TextCode, string>>>("file"),
);

/** The URL of a key set, without credentials, which would end up in logs. */
export const keySetUrl = v.custom<string>((value) => {
  if (typeof value !== "string" || !URL.canParse(value)) return false;
  const { protocol, username, password } = new URL(value);
  return /^https?:$/.test(protocol) && username === "" && password === "";
}, "is not an address of keys; accepted: an http:// or https:// URL without a user name or password");

const originsAccepted = 'accepted: false, "*", or exact origins such as ["https://app.example.org"]';

/** Origins (RFC 6454) that browsers may call from. */
export const origins = v.pipe(
  v.union(
    [
      v.literal(false),
      v.literal("*"),
      v.array(v.pipe(v.string(), v.regex(/^https?:\/\/[^/\s]+$/, `is not an origin; ${originsAccepted}`))),
    ],
    `is not a list of origins; ${originsAccepted}`,
  ),
  inForm<false | "*" | string[]>("list"),
);

export const domain = v.pipe(
  text,
  v.regex(
    /^\.?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i,
    'is not a domain; accepted: such as "example.org"',
  ),
);

/** A path with a slash in front and none at its end; `""` stays empty. */
export const path = v.pipe(
  text,
  v.regex(/^\/?[\w\-./~]*$/, 'is not a path; accepted: such as "/auth"'),
  v.transform((value) => value.replace(/^\/*(?=.)/, "/").replace(/\/+$/, "")),
);

/** A token of RFC 9110 section 5.6.2. */
const headerToken = /^[\w!#$%&'*+.^`|~-]+$/;

export const headerName = v.pipe(
  text,
  v.regex(headerToken, 'is not the name of a header; accepted: such as "Authorization"'),
);

export const authSchemes = v.pipe(
  v.array(
    v.pipe(text, v.regex(headerToken, 'is not an authentication scheme; accepted: one word, such as "Bearer"')),
    "is not a list",
  ),
  v.minLength(1, "is empty"),
);
