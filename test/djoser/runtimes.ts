/** Our side of the comparison: the endpoints in this process, and on other runtimes in programs beside it. */
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { Agent, request } from "undici";
import { type OurSettings, checkHashes, makeHashes, openEndpoints } from "../fixtures/djoser/endpoints.ts";
import type { SiteRequest, SiteResponse } from "../fixtures/djoser/site.ts";
import { type Runtime, jsonLines, projectRoot, runtime, startProgram } from "../support/runtime.ts";

export type Send = (request: SiteRequest) => Promise<SiteResponse>;

export interface Ours {
  name: Runtime;
  open(of: OurSettings): Promise<Send>;
  makeHashes: typeof makeHashes;
  checkHashes: typeof checkHashes;
  stop(): void;
}

const here: Ours = {
  name: runtime,
  makeHashes,
  checkHashes,
  stop() {},
  async open(of) {
    const fetch = await openEndpoints(of);
    return async ({ method, path, headers, body }) => {
      const length: [string, string][] = body.length > 0 ? [["Content-Length", String(body.length)]] : [];
      const response = await fetch(
        new Request(`http://127.0.0.1${path}`, {
          method,
          headers: [...headers.map(([name, value]): [string, string] => [name, value]), ...length],
          ...(body.length > 0 && { body }),
        }),
      );
      return { status: response.status, headers: response.headers, text: await response.text() };
    };
  },
};

/** Returns the endpoints of `program.ts` on another runtime, which starts when it is needed. */
function startOurs(name: Runtime, program: string, args: string[]): Ours {
  let child: ChildProcess | undefined;
  let send: ReturnType<typeof jsonLines>;
  const ask = <T>(line: object): Promise<T> => {
    if (child === undefined) {
      const file = path.join(projectRoot, "test/fixtures/djoser/program.ts");
      child = startProgram(program, [...args, file], { stdio: "pipe" });
      send = jsonLines(child, `the program on ${name}`);
    }
    return send(line);
  };
  const dispatcher = new Agent();
  return {
    name,
    makeHashes: (pairs) => ask({ hash: pairs }),
    checkHashes: (pairs) => ask({ check: pairs }),
    stop: () => child?.stdin!.end(),
    async open(of) {
      const origin = await ask<string>({ serve: of });
      return async ({ method, path, headers, body }) => {
        const response = await request(origin + path, {
          method: method as "GET",
          headers: headers.flat(),
          body: body.length > 0 ? body : null,
          dispatcher,
        });
        const get = (header: string) => response.headers[header]?.toString() ?? null;
        return { status: response.statusCode, headers: { get }, text: await response.body.text() };
      };
    },
  };
}

const bin = (name: Runtime): string => path.join(projectRoot, "node_modules/.bin", name);
const others: [name: Runtime, ...args: string[]][] = [
  ["deno", "run", "-A"],
  ["bun", "run"],
];
/** On Node, the other runtimes of the run (`test/run.ts`), or all, so that Django gets a request once for all of them. */
const driven = others.filter(
  ([name]) => runtime === "node" && (process.env.TEST_RUNTIMES?.split(",").includes(name) ?? true),
);
const isInstalled = ([name]: (typeof others)[number]): boolean => existsSync(bin(name));

export const notInstalled = driven.filter((each) => !isInstalled(each)).map(([name]) => name);
export const allOurs: readonly Ours[] = [
  here,
  ...driven.filter(isInstalled).map(([name, ...args]) => startOurs(name, bin(name), args)),
];
