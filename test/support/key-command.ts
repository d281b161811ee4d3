/** The `keys` command and servers on the folder of a file store, as processes of their own. */
import fs from "node:fs";
import path from "node:path";
import type { JWK } from "jose";
import * as assert from "uvu/assert";
import { environmentWith, runtime, start } from "./runtime.ts";
import { finished, until } from "./processes.ts";
import { unlimited } from "./server.ts";

export const program = "keys";

export interface Key {
  kid?: string;
  alg: string;
  status: string;
  retireAt?: string;
  jwk: JWK;
}
export const keysIn = (folder: string): Key[] =>
  JSON.parse(fs.readFileSync(path.join(folder, "keys.json"), "utf8")).keys;
export const environment = environmentWith({});

export async function run(folder: string, ...args: string[]) {
  const result = await finished(start(program, [...args, "--store", `file:${folder}`], { env: environment }));
  if (fs.existsSync(path.join(folder, "keys.json"))) {
    for (const { jwk } of keysIn(folder)) {
      for (const part of [jwk.k, jwk.d, jwk.p]) {
        if (part !== undefined) assert.not.ok((result.stdout + result.stderr).includes(part), "prints a secret");
      }
    }
  }
  return result;
}

export async function ran(folder: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(folder, ...args);
  assert.is(code, 0, stderr);
  assert.is(stderr, "");
  return stdout;
}

export const serve = (folder: string, ...args: string[]) => serveBy(`src/serve/${runtime}.ts`, folder, args);
/** A server that belongs to another user than root. */
export const serveAs = (uid: number, folder: string) =>
  serveBy("test/fixtures/server-of-user.ts", folder, [], [String(uid)]);

async function serveBy(file: string, folder: string, args: string[], before: string[] = []) {
  const all = [
    ...before,
    ...unlimited,
    "--audit-log",
    "off",
    "--port",
    "0",
    "--hashing-iterations",
    "1", // the suites log in every few milliseconds while they wait for a key
    "--request-log",
    "false",
    "--store",
    `file:${folder}`,
    ...args,
  ];
  const child = start(file, all, { env: environment });
  let output = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
  let errors = "";
  child.stderr!.on("data", (chunk: Uint8Array) => (errors += chunk.toString()));
  await until(() => /runtime /.test(output) || child.exitCode !== null, "the server is up", 30_000);
  assert.is(child.exitCode, null, errors);
  const url = /address +(\S+)/.exec(output)![1]!;
  const post = async (name: string, data: unknown) => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) };
    const response = await fetch(`${url}${name}/`, init);
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };
  const isValid = async (token: string): Promise<boolean> => (await post("verify", { token })).status === 200;
  // Without the warning about the few iterations of tests.
  const told = () => errors.replace(/^\{[^\n]+"code":"weak_setting"[^\n]+\}\n/m, "");
  return { child, post, isValid, output: () => output, errors: told };
}

/** Starts a server that must refuse to start, and returns how it ended. */
export function refusedStart(folder: string) {
  const child = start(`src/serve/${runtime}.ts`, ["--port", "0", "--store", `file:${folder}`, ...unlimited], {
    env: environment,
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  return finished(child).finally(() => clearTimeout(timer));
}
