/** Runs the commands as people do: spawned, on a file store that the test may have open at the same time. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import * as assert from "uvu/assert";
import { createPasswords } from "../../src/index.ts";
import { openStore } from "../../src/stores/open.ts";
import type { Store, User } from "../../src/stores/store.ts";
import { environmentWith, start, temporaryFolder } from "./runtime.ts";
import { finished } from "./processes.ts";

const passwords = createPasswords();
/** Matches a password or hash in any output: every password of these tests contains "hunter". */
export const secret = /hunter|pbkdf2_sha256\$|[A-Za-z0-9+/]{43}=/;

/** Returns a hash of the right form that no password matches. */
export const hashFor = (n: number): string => `pbkdf2_sha256$600000$salt${n}$${String(n).padStart(43, "A")}=`;

export interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

export const userProgram = "user";

export interface Given {
  input?: string;
  env?: Record<string, string>;
}

/** Runs the `user` command. */
export const user = (args: string[], given?: Given): Promise<Result> => run(userProgram, args, given);

/** The fewest iterations without a warning: a default hash takes as long as the rest of a command. */
const fewIterations = { JWT_HASHING_ITERATIONS: "100000" };

/** Runs a command to its end, and checks that its output holds no secret. */
export async function run(program: string, args: string[], { input = "", env = {} }: Given = {}): Promise<Result> {
  const child = start(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: environmentWith({ ...fewIterations, ...env }),
  });
  child.stdin!.on("error", () => {}); // a command that reads nothing may have ended already
  child.stdin!.end(input);
  const result: Result = await finished(child);
  assert.not.match(result.stdout + result.stderr, secret, "the output holds a password or a hash");
  return result;
}

/** Checks that a command ended with one line on standard error and exit code 1. */
export function refused({ code, stdout, stderr }: Result, reason: RegExp): void {
  assert.match(stderr, reason);
  assert.is(stderr.trimEnd().split("\n").length, 1, `not one line: ${stderr}`);
  assert.is(stdout, "");
  assert.is(code, 1);
}

/** Checks that a command ended with one line on standard output and exit code 0. */
export function done({ code, stdout, stderr }: Result, line: RegExp): void {
  assert.is(stderr, "");
  assert.match(stdout, line);
  assert.is(stdout.trimEnd().split("\n").length, 1, `not one line: ${stdout}`);
  assert.is(code, 0);
}

/** Returns the URL of a store that does not exist yet. */
export const noStoreYet = (): string => `file:${temporaryFolder()}/store`;
export const folderOf = (url: string): string => url.slice("file:".length);

/** Makes an empty store and returns its URL. */
export async function newStore(): Promise<string> {
  const url = noStoreYet();
  await (await openStore(url)).close();
  return url;
}

/** Opens a store, uses it and closes it. */
export async function withStore<T>(url: string, use: (store: Store) => T | Promise<T>): Promise<T> {
  const store = await openStore(url);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

export const usersOf = (url: string): Promise<User[]> =>
  withStore(url, async (store) => {
    const users: User[] = [];
    for await (const found of store.listUsers()) users.push(found);
    return users;
  });

export const isPasswordOf = async (found: User | undefined, password: string): Promise<boolean> =>
  (await passwords.check(password, found?.passwordHash)).ok;

/** Writes a file in a folder of its own and returns its path. */
export function fileOf(name: string, text: string | Uint8Array): string {
  const file = path.join(temporaryFolder(), name);
  writeFileSync(file, text);
  return file;
}

export const jsonFile = (rows: unknown[]): string =>
  fileOf("users.jsonl", rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

const progressLine = /^\d+ (of \d+ users|(records|lines) checked, \d+ bad)\n/gm;

/** Removes the lines that an import writes every five seconds on a slow machine. */
export const withoutProgress = ({ stderr, ...result }: Result): Result => ({
  ...result,
  stderr: stderr.replaceAll(progressLine, ""),
});
