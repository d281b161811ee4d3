/**
 * Where a password or a token comes from: the keyboard, a password unseen and twice, or one line of standard input.
 * Never the command line, which every user of the machine can see.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { Mistake, parsePassword } from "./fields.ts";

export async function readPassword({ fromStdin }: { fromStdin: boolean }): Promise<string> {
  if (fromStdin) return parsePassword(await firstLine("password", 8192)); // longer than any
  if (!process.stdin.isTTY) {
    throw new Mistake("there is no terminal to ask for the password; pipe it in with --password-stdin");
  }
  return promptTwice();
}

const maxTokenBytes = 65_536; // what the server takes as a body

/** @throws {Mistake} when there is none, or far too much for one. */
export async function readToken(): Promise<string> {
  if (process.stdin.isTTY) process.stderr.write("Token: ");
  const token = (await firstLine("token", maxTokenBytes)).trim();
  if (token === "") throw new Mistake("there is no token on standard input");
  if (token.length > maxTokenBytes) throw new Mistake(`the token is longer than ${maxTokenBytes} bytes`);
  return token;
}

async function promptTwice(): Promise<string> {
  const unseen = new Writable({ write: (_chunk, _encoding, done) => done() });
  // One reader for both answers, so that a second line typed ahead isn't lost.
  const keyboard = createInterface({ input: process.stdin, output: unseen, terminal: true, historySize: 0 });
  const answers = keyboard[Symbol.asyncIterator]();
  const ask = async (prompt: string): Promise<string> => {
    process.stderr.write(prompt);
    const { value, done } = await answers.next();
    process.stderr.write("\n");
    if (done === true) throw new Mistake("no password was given; nothing was changed");
    return value;
  };
  try {
    const password = parsePassword(await ask("Password: "));
    const again = await ask("Password (again): ");
    if (again !== password) throw new Mistake("the two passwords differ; nothing was changed");
    return password;
  } finally {
    keyboard.close();
  }
}

/**
 * Up to the first newline, which is cut off; the rest is left alone, so a writer that stays open is not waited for.
 * @param limit bytes after which no more is read, though there was no newline.
 */
async function firstLine(what: string, limit: number): Promise<string> {
  const { stdin } = process;
  const chunks: Buffer[] = [];
  let size = 0;
  // By events, for Deno goes on reading after a loop over the stream was left, and so would not end.
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
    throw new Mistake(`the ${what} on standard input is not UTF-8`);
  }
}
