/**
 * Reads a password or a token: from the keyboard, a password twice and without echo, or as one line of standard input.
 * Never from the command line, which every user of the machine can see.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { UsageError } from "../program/problem.ts";
import { parsePassword } from "./fields.ts";

/**
 * Reads a new password and checks it.
 * @throws {UsageError} when there is none, or it can't be a password.
 */
export async function readPassword({ fromStdin }: { fromStdin: boolean }): Promise<string> {
  if (fromStdin) return parsePassword(await firstLine("password", maxPasswordLine));
  if (!process.stdin.isTTY) {
    throw new UsageError("there is no terminal to ask for the password; pipe it in with --password-stdin");
  }
  return promptTwice();
}

/** Bytes; longer than any password. */
const maxPasswordLine = 8192;
/** As large as a request body may be by default. */
const maxTokenBytes = 65_536;

/**
 * Reads a token.
 * @throws {UsageError} when there is none, or it is too long for one.
 */
export async function readToken(): Promise<string> {
  if (process.stdin.isTTY) process.stderr.write("Token: ");
  const token = (await firstLine("token", maxTokenBytes)).trim();
  if (token === "") throw new UsageError("there is no token on standard input");
  if (token.length > maxTokenBytes) throw new UsageError(`the token is longer than ${maxTokenBytes} bytes`);
  return token;
}

async function promptTwice(): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  // One reader for both lines, so that a second line typed ahead isn't lost.
  const keyboard = createInterface({ input: process.stdin, output: silent, terminal: true, historySize: 0 });
  const lines = keyboard[Symbol.asyncIterator]();
  const ask = async (prompt: string): Promise<string> => {
    process.stderr.write(prompt);
    const { value, done } = await lines.next();
    process.stderr.write("\n");
    if (done === true) throw new UsageError("no password was given; nothing was changed");
    return value;
  };
  try {
    const password = parsePassword(await ask("Password: "));
    const again = await ask("Password (again): ");
    if (again !== password) throw new UsageError("the two passwords differ; nothing was changed");
    return password;
  } finally {
    keyboard.close();
  }
}

/**
 * Reads standard input up to the first newline, and returns it without. It does not wait for the end of the input.
 * @param what the noun for messages.
 * @param limit bytes after which reading stops even without a newline.
 */
async function firstLine(what: string, limit: number): Promise<string> {
  const { stdin } = process;
  const chunks: Buffer[] = [];
  let size = 0;
  // By events: on Deno a loop over the stream goes on reading after it was left, and the process would not end.
  await new Promise<void>((resolve, reject) => {
    stdin.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (chunk.includes(0x0a) || size > limit) resolve();
    });
    stdin.once("end", resolve);
    stdin.once("error", reject);
  });
  stdin.pause();
  stdin.destroy();
  const bytes = Buffer.concat(chunks);
  const end = bytes.indexOf(0x0a);
  try {
    const line = new TextDecoder("utf-8", { fatal: true }).decode(end === -1 ? bytes : bytes.subarray(0, end));
    return line.replace(/\r$/, "");
  } catch {
    throw new UsageError(`the ${what} on standard input is not UTF-8`);
  }
}
