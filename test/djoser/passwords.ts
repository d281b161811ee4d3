/** Changes of a password on both sides: what is refused, what is accepted, and which tokens are valid afterwards. */
import {
  type Case,
  type Media,
  type Tokens,
  authorizations,
  bodyOf,
  contentTypes,
  endings,
  methods,
  shapes,
  tokenOf,
  wholes,
} from "../fixtures/djoser/cases.ts";
import { randomFrom } from "../support/random.ts";
import type { Both } from "./both.ts";
import { compare } from "./compare.ts";
import { withLogin, withToken } from "./journeys.ts";
import { pathOf } from "./requests.ts";
import { changers, password } from "./users.ts";

interface Parts {
  current?: string;
  next?: string;
  again?: string;
  /** Why the new password is tried. */
  about?: string;
  media?: Media;
  shape?: Record<string, string>;
  whole?: string;
  contentType?: string | undefined;
  method?: string;
  ending?: string;
  authorization?: string;
  token?: string;
}

const accepted = "vijf Boterhammen & kaas";

/** New passwords for the user `marjolein-N` with the email `van.der.veen@tulips-N.example`. */
const nextPasswords: [about: string, next: string][] = [
  ["accepted", accepted],
  ["the same as before", password],
  ["8 characters", "Zx9_#qÄ😀"],
  ["7 characters", "Zx9_#q😀"],
  ["short and numeric", "666"],
  ["short and common", "qwerty"],
  ["common", "football1"],
  ["common, in capitals", "PassWord1"],
  ["common, with spaces", " iloveyou1 "],
  ["numeric", "83645019278"],
  ["numeric and common", "123456789"],
  ["numeric, other digits", "٨٣٦٤٥٠١٩٢٧٨"],
  ["numeric, but for a space", "8364501 9278"],
  ["the name", "marjolein"],
  ["like the name", "Marjolein!"],
  ["the name reversed", "nielojram"],
  ["the email", "van.der.veen@tulips"],
  ["a part of the email", "xtulipsx"],
  ["the name in something longer", "marjolein goes to the market"],
  ["a letter often", "jjjjjjjj"],
  ["long", "lang ".repeat(40)],
];

function* passwordCases(isRetyped: boolean): Generator<Parts> {
  for (const [about, next] of nextPasswords) yield { about, next };
  for (const current of ["wrong", "", password.toUpperCase()]) {
    for (const next of [accepted, "666", ""]) yield { current, next };
  }
  const fields = ["new_password", "current_password", ...(isRetyped ? ["re_new_password"] : [])];
  for (const media of isRetyped ? (["json"] as const) : (["json", "form", "multipart"] as const)) {
    for (const shape of shapes[media]) {
      for (const field of fields) yield { media, shape: { [field]: shape } };
      yield { media, shape: Object.fromEntries(fields.map((field) => [field, shape])) };
    }
    for (const whole of wholes[media]) yield { media, whole };
  }
  if (isRetyped) {
    for (const again of ["another", accepted.toUpperCase()]) yield { again };
    yield { again: `${accepted} `, about: "again, with a space" };
    yield { again: "another", next: "qwerty" };
    yield { again: "another", current: "wrong" };
    return;
  }
  for (const contentType of contentTypes) yield { contentType, current: "wrong" };
  for (const method of methods) for (const authorization of ["bearer", "none"]) yield { method, authorization };
  for (const ending of endings) yield { ending, current: "wrong" };
  for (const authorization of Object.keys(authorizations)) yield { authorization, current: "wrong" };
  for (const token of ["expired", "type refresh", "user inactive", "user deleted", "no user"]) yield { token };
}

async function caseOf(both: Both, username: string, parts: Parts): Promise<Case> {
  const { current = password, next = accepted, again = next, media = "json", shape = {}, whole } = parts;
  const { about, method = "POST", ending, authorization = "bearer", token: kind = "valid" } = parts;
  const tokens: Tokens = {
    dialect: { ...both.dialect, active: both.idOf(username) },
    random: randomFrom(0),
    blacklisted: [],
  };
  const header = authorizations[authorization]!(await tokenOf(tokens, kind, "access"));
  const isRetyped = both.variant.ours.setPasswordRetype === true;
  const fields = [
    ["new_password", next],
    ...(isRetyped ? [["re_new_password", again] as const] : []),
    ["current_password", current],
  ] as [string, string][];
  const made = bodyOf(media, fields, shape, whole);
  const contentType = "contentType" in parts ? parts.contentType : made.contentType;
  const hasBody = method !== "GET" && method !== "HEAD";
  const marks = Object.entries({
    about,
    media,
    body: whole,
    method: parts.method,
    path: ending,
    token: kind,
    ...shape,
  });
  return {
    endpoint: "set_password",
    method,
    path: ending === undefined ? pathOf("set_password") : pathOf("set_password").replace(/\/$/, ending),
    headers: [
      ...(header === undefined ? [] : [["Authorization", header] as const]),
      ...(contentType === undefined || !hasBody ? [] : [["Content-Type", contentType] as const]),
    ],
    body: hasBody ? made.body : new Uint8Array(0),
    marks: new Set([
      ...marks.flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`])),
      `authorization: ${authorization}`,
    ]),
  };
}

/**
 * Sends every kind of request for another password, each for a user whose password was not changed yet.
 * @returns how many.
 */
export async function changePasswords(both: Both): Promise<number> {
  const users = changers.map(({ username }) => username);
  let [count, username] = [0, users.pop()!];
  for (const parts of passwordCases(both.variant.ours.setPasswordRetype === true)) {
    count++;
    const { theirs, ours } = await compare(both, await caseOf(both, username, parts));
    const changed = [theirs, ...ours].filter(({ status }) => status === 204);
    if (changed.length === 0) continue;
    if (changed.length === 1 + ours.length && parts.next !== undefined) {
      for (const known of [password, parts.next]) {
        await compare(both, withLogin(username, known, "after a new password"));
      }
    }
    const following = users.pop();
    if (following === undefined) throw new Error(`more than ${changers.length} passwords were changed`);
    username = following;
  }
  await changeAndGoOn(both, username);
  return count;
}

type Issued = Record<"access" | "refresh", string>;

/** Changes a password in one of two sessions, and uses the tokens of both. */
async function changeAndGoOn(both: Both, username: string): Promise<void> {
  const sessions: { theirs: Issued; ours: Issued[] }[] = [];
  while (sessions.length < 2) {
    const { theirs, ours } = await compare(both, withLogin(username, password));
    const issued = [theirs, ...ours].map(({ text }) => JSON.parse(text) as Issued);
    sessions.push({ theirs: issued[0]!, ours: issued.slice(1) });
    await new Promise((resolve) => setTimeout(resolve, 1100)); // logins within one second are one session
  }
  const own = sessions[1]!;
  const plain = await caseOf(both, username, {});
  const bearing = ({ access }: Issued): Case => ({
    ...plain,
    headers: [["Authorization", `Bearer ${access}`], ...plain.headers.slice(1)],
  });
  const changed = await compare(both, bearing(own.theirs), (side) => bearing(own.ours[side]!));
  if (changed.theirs.status !== 204) throw new Error(`the password was not changed: ${changed.theirs.text}`);
  for (const { theirs, ours } of sessions) {
    const isEnded = theirs !== own.theirs || both.variant.ours.logoutOnPasswordChange === true;
    const marks = [isEnded ? "ended by a new password" : "after a new password"];
    for (const [endpoint, field] of [
      ["me", "access"],
      ["refresh", "refresh"],
    ] as const) {
      const request = withToken(both, endpoint, theirs[field], ...marks);
      await compare(both, request, (side) => withToken(both, endpoint, ours[side]![field]));
    }
  }
}
