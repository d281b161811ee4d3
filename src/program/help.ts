/** Writes the help of the program and its commands, in one style. It is loaded for help alone, since servers start without. */
import process from "node:process";
import { styleText } from "node:util";
import type { Flag, Flags } from "./command-line.ts";
import { guards, listOptions } from "./options.ts";
import { fileFlags, serverFlags } from "./server-flags.ts";

export interface HelpSection {
  title: string;
  rows: (readonly [term: string, text: string])[];
}

/** What a program or a command says of itself. */
export interface Help {
  /** How it is called, a line each. */
  usage: string[];
  description: string;
  sections: HelpSection[];
  /** Behind the sections. */
  closing?: string;
}

/** The commands of the program. */
export const commandTexts = {
  serve: "Run the server; also without a command.",
  user: "Manage users: add, list, change passwords, end sessions, import.",
  token: "Inspect, verify and revoke tokens.",
  keys: "Generate, rotate and retire signing keys.",
  db: "Make the tables of a store in PostgreSQL.",
  completion: "Print the completion of bash, zsh or fish.",
} as const;

/** The flags of the program that are no settings. */
const ownFlags: HelpSection["rows"] = [
  ["--print-config", "Print every setting, its value and where it comes from; --print-config=json for programs."],
  ["--version", "Print the version."],
  ["--help", "Print this text."],
];

/** Defaults that other documents name and that say nothing of the server: it makes a key, and has no prefix. */
const otherDefaults = { signingKey: "", prefix: "" };

/** Titles of groups and the settings in them. The first group whose pattern fits has the setting. */
const groups: [title: string, pattern: RegExp][] = [
  ["Address", /^(host|port|workers|prefix|trustedProxies|forwardedHeader|config|console\w*|openapi|docs)$/],
  ["Store", /^store/],
  ["Keys", /^(algorithm|signingKey|verifyingKey|jwkUrl)/],
  ["Sessions", /[sS]ession|^(rotateRefreshTokens|blacklistAfterRotation|refreshGrace)$/],
  ["Limits", /throttle|^max|limit|timeout|hashing\.queue|queue/i],
  ["Passwords", /^(hashing\.|password|setPassword|logoutOnPassword|checkRevokeToken|revokeTokenClaim)/],
  ["Browsers", /^(cors|cookies\.)/],
  ["Logs", /^(requestLog|metrics|audit)/],
  ["Users", /^(user(?!IdClaim)|me$|checkUser|updateLastLogin)/],
  ["Responses", /^(responses|texts)$/],
  ["Tokens", /token|claim|^(leeway|issuer|audience|authHeader)/i],
];
const otherGroup = "More";

/** Returns the title of the group that a setting is listed in. */
export const groupOf = (name: string): string => groups.find(([, pattern]) => pattern.test(name))?.[0] ?? otherGroup;

/** Describes the server and the program around it. */
export function serverHelp(): Help {
  const options = listOptions();
  const flags = { ...serverFlags(options, { ...guards, ...otherDefaults }), ...fileFlags(options) };
  const nameOf = (flag: string): string =>
    options.find((option) => flag === option.flag || flag === `${option.flag}-file`)?.name ?? flag;
  const byName = new Map(options.map(({ name, flag }) => [name, flag]));
  /** Names other settings as flags, since that is how the reader gives them. */
  const withFlags = (text: string): string =>
    text.replace(/`([\w.]+)`/g, (whole, name: string) => (byName.has(name) ? `--${byName.get(name)}` : whole));
  const titles = [...groups.map(([title]) => title), otherGroup];
  const sections = titles.map((title) => ({
    title,
    rows: flagRows(Object.fromEntries(Object.entries(flags).filter(([flag]) => groupOf(nameOf(flag)) === title))).map(
      ([term, text]) => [term, withFlags(text)] as const,
    ),
  }));
  return {
    usage: ["jwt-endpoints [serve] [FLAG...]", "jwt-endpoints COMMAND --help"],
    description:
      "Serves Djoser's JWT endpoints: log in, refresh, verify, log out. Each setting is a flag, an environment variable (in " +
      "brackets) or an entry of the configuration file; a flag comes before a variable, and a variable before the file. " +
      "Without any, the server is at http://127.0.0.1:8000/ and keeps its users in the folder data.",
    sections: [
      { title: "Commands", rows: Object.entries(commandTexts) },
      ...sections.filter(({ rows }) => rows.length > 0),
      { title: "Program", rows: ownFlags },
    ],
    closing:
      "DURATION: 30s, 5m, 1h30m, 1d. RATE: 20/min, 10/hour. LIST: values with commas between them, a,b. --[no-]me stands for " +
      "--me, --no-me and --me=false. A flag without a default is off, or not set.",
  };
}

/** Returns the rows of flags. */
export const flagRows = (flags: Flags): HelpSection["rows"] =>
  Object.entries(flags)
    .filter(([, { type }]) => type !== "positional")
    .map(([name, flag]) => [termOf(name, flag), flag.description ?? ""]);

function termOf(name: string, flag: Flag): string {
  const dashed = flag.hasNegation ? `--[no-]${name}` : `--${name}`;
  if (flag.type === "boolean" || flag.isSwitch) return dashed;
  const hint = flag.type === "enum" ? (flag.options ?? []).join("|") : (flag.valueHint ?? "text").toUpperCase();
  return `${dashed} ${hint}`;
}

/** The widest column of terms, and the one where the width is less than that. A longer term has its text on the next line. */
const [widestTerm, narrowTerm, narrow] = [26, 14, 72];
const leastWidth = 40;

/**
 * Lays help out for a terminal, or for 80 columns where there is none. Titles are bold on a terminal.
 * @param width in columns.
 */
export function renderHelp(
  { usage, description, sections, closing }: Help,
  width: number = process.stdout.columns || 80,
): string {
  const columns = Math.max(leastWidth, width);
  const terms = sections.flatMap(({ rows }) => rows.map(([term]) => term.length));
  const column = Math.min(columns < narrow ? narrowTerm : widestTerm, Math.max(...terms, 0)) + 4;
  const lines = usage.map((line, index) => `${index === 0 ? "Usage: " : "       "}${line}`);
  lines.push("", ...wrap(plain(description), columns));
  for (const { title, rows } of sections) {
    lines.push("", bold(title));
    for (const [term, text] of rows) {
      const [first = "", ...rest] = wrap(plain(text), columns - column).map((line) => " ".repeat(column) + line);
      if (term.length + 4 > column) lines.push(`  ${term}`, first);
      else lines.push(`  ${term}`.padEnd(column) + first.trimStart());
      lines.push(...rest);
    }
  }
  if (closing !== undefined) lines.push("", ...wrap(closing, columns));
  return lines.map((line) => line.trimEnd()).join("\n");
}

const isColoured = (): boolean => process.stdout.isTTY && !process.env["NO_COLOR"];
const bold = (text: string): string => (isColoured() ? styleText("bold", text) : text);

/** Returns Markdown as text: links without their target, no backticks. */
const plain = (markdown: string): string => markdown.replace(/\[([^\]]+)\]\([^)]+\)/g, "$1").replaceAll("`", "");

/** Breaks text at spaces into lines of at most a width. A default is not broken; a longer word has a line of its own. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.match(/\(default: [^)]*\)|\S+/g) ?? []) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
