/** The users that both sides know, and the logins that are tried. */
import type { WantedUser } from "../fixtures/djoser/site.ts";

export const formats = ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "bcrypt", "scrypt"] as const;
const weakFormats = ["sha1", "md5", "unsalted_sha1", "unsalted_md5"];
export const password = "correct horse ä";
export const wantedUsers: WantedUser[] = [
  { username: "ada", email: "ada@Example.org", password },
  { username: "gone", password, deleted: true },
  { username: "idle", password, inactive: true },
  { username: "elsewhere", password: null },
  { username: "spaced", password: "  spaced  " },
  { username: "42", password: "1000" },
  { username: "fiona", password },
  { username: "ömer😀", password },
  ...[...formats, ...weakFormats].map((format) => ({ username: `of-${format}`, password, format })),
];

/** Users whose password is changed, at most once each. */
export const changers: WantedUser[] = Array.from({ length: 150 }, (_, index) => ({
  username: `marjolein-${index}`,
  email: `van.der.veen@tulips-${index}.example`,
  password,
}));
wantedUsers.push(...changers);

export type Login = readonly [mark: string, username: string, password: string];
export const logins: Login[] = [
  ["right", "ada", password],
  ["wrong password", "ada", "wrong"],
  ["password in capitals", "ada", password.toUpperCase()],
  ["unknown user", "nobody", password],
  ["user in capitals", "ADA", password],
  ["deleted user", "gone", password],
  ["inactive user", "idle", password],
  ["inactive user, wrong password", "idle", "wrong"],
  ["unusable password", "elsewhere", "!"],
  ["password with spaces around", "spaced", "  spaced  "],
  ["password without its spaces", "spaced", "spaced"],
  ["digits", "42", "1000"],
  ["unicode", "ömer😀", password],
  ["ligature in the user's name", "\ufb01ona", password],
  ["password decomposed", "ada", password.normalize("NFD")],
  ...formats.map((format): Login => [`hash ${format}`, `of-${format}`, password]),
  ...formats.map((format): Login => [`hash ${format}, wrong password`, `of-${format}`, "wrong"]),
  ...weakFormats.map((format): Login => [`weak hash`, `of-${format}`, password]),
];
