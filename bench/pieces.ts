/**
 * What each piece of a verify costs under load: the runtime's bare server, then one piece more at a time until all that the
 * core does is there, then the server program itself without and with its log. Each is a process of its own, in turns. The
 * last row is the bare server with nothing but a token's signature and claims, which no other server of ours can be ahead of
 * unless it also reads and responds faster than the bare one.
 *
 * The pieces stand on the same plain server as the bare one. On Node the server program reads bodies and writes
 * responses in a faster way, so it may take less than the sum of the pieces.
 */
import { Buffer } from "node:buffer";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import process from "node:process";
import { charField, parseFields } from "../src/endpoints/fields.ts";
import { readData } from "../src/http/body.ts";
import { FetchRequest, toResponse } from "../src/http/fetch.ts";
import { type HttpRequest, type HttpResponse, hasValidHost } from "../src/http/message.ts";
import { acceptsJson } from "../src/http/negotiate.ts";
import { renderData } from "../src/http/render.ts";
import { keysFrom } from "../src/keys/key-set.ts";
import type { KeySet } from "../src/tokens/key.ts";
import { type MaybePromise, after } from "../src/maybe-promise.ts";
import { createPasswords } from "../src/passwords/index.ts";
import { createRouter } from "../src/routes.ts";
import { verifyError } from "../src/sessions/rules.ts";
import { lookUp } from "../src/sessions/state.ts";
import { parseSettings } from "../src/settings/parse.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { verifyToken } from "../src/tokens/verify.ts";
import { projectRoot, runtime } from "../test/support/runtime.ts";
import { median } from "../test/support/statistics.ts";
import { parseJson, serveFetch, serveNode } from "./lib/contestants.ts";
import { type Measured, measureUnder, startUndici, startWrk, reportResponses } from "./lib/load.ts";
import { type Pinned, pinLoads, pinned, startOursIn, startPeer, stopAll } from "./lib/programs.ts";
import { type Column, digits, report } from "./lib/results.ts";
import { bare, progressOf, quick, rotated, roundsOr, secret, tidy } from "./lib/tools.ts";

/** The pieces in the order in which they are added. Each server has those before its own too. */
const pieces = ["body read and parsed", "headers", "route", "fields", "token", "look-ups", "response"] as const;
type Piece = (typeof pieces)[number];
const tokenAlone = "bare, and the token alone";

const small: HttpResponse = { status: 200, headers: { "content-type": "application/json" }, body: "{}" };
const limit = 65_536;

/** Makes the handler that has the pieces up to one. */
async function handlerUpTo(last: Piece): Promise<(request: HttpRequest) => MaybePromise<HttpResponse>> {
  const count = pieces.indexOf(last);
  const has = (piece: Piece): boolean => pieces.indexOf(piece) <= count;
  const store = memoryStore();
  const settings = parseSettings({ store, signingKey: secret, hashing: { iterations: 1 }, log: () => {} });
  const keys = keysFrom(settings);
  const keySet: KeySet = await keys();
  const passwords = createPasswords(settings.hashing);
  const context = { settings, store, keys, passwords, clientOf: () => undefined };
  const router = createRouter(context);
  const fields = { token: charField({ trim: true }) };
  const [hasHeaders, hasRoute, hasFields] = [has("headers"), has("route"), has("fields")];
  const [hasToken, hasLookUps, hasResponse] = [has("token"), has("look-ups"), has("response")];
  const parse = (text: string): unknown => JSON.parse(text);

  return (request) => {
    if (hasHeaders && !(hasValidHost(request) && acceptsJson(request.headers.get("accept"))))
      throw new Error("headers");
    const route = hasRoute ? router.find(request.url) : undefined;
    if (hasRoute && route === undefined) throw new Error("route");
    // `readData` looks at the type of the body.
    const body = hasHeaders ? readData(request, limit) : after(request.text(limit), parse);
    return after(body, (data) => {
      if (!hasFields) return small;
      const { token } = parseFields(fields, data);
      if (!hasToken) return small;
      return after(verifyToken(settings, keySet, token), (claims) => {
        if (!hasLookUps) return small;
        return after(lookUp(context, claims, "verify"), (state) => {
          if (verifyError(settings, claims, state) !== undefined) throw new Error("look-ups");
          return hasResponse ? renderData({}, 200, route!.allow) : small;
        });
      });
    });
  };
}

/** A request of `node:http`, read as the bare server reads it. */
function fromNode(message: IncomingMessage): HttpRequest {
  const bytes = (): Promise<Buffer<ArrayBuffer>> =>
    new Promise((resolve) => {
      const chunks: Uint8Array[] = [];
      message.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      message.on("end", () => resolve(Buffer.concat(chunks)));
    });
  return {
    method: message.method!,
    url: message.url!,
    headers: { get: (name) => (message.headers[name] as string | undefined) ?? null },
    bytes,
    text: async () => (await bytes()).toString(),
  };
}

/** Serves with the pieces up to one. */
async function serveUpTo(last: Piece): Promise<void> {
  const handle = await handlerUpTo(last);
  if (runtime !== "node") {
    return serveFetch((request) => Promise.resolve(after(handle(new FetchRequest(request)), toResponse)));
  }
  const respond = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, headers, body } = await handle(fromNode(message));
    response.writeHead(status, { ...headers, "content-length": body.length }).end(body);
  };
  serveNode(createServer((message, response) => void respond(message, response)));
}

/** The bare server with the check of a token. */
async function serveTokenAlone(): Promise<void> {
  const settings = parseSettings({ store: memoryStore(), signingKey: secret, log: () => {} });
  const keySet = await keysFrom(settings)();
  await parseJson(({ token }) => void verifyToken(settings, keySet, token));
}

const columns: Column[] = [
  { key: "piece", title: "with" },
  { key: "us", title: "µs", text: digits(1) },
  { key: "adds", title: "adds", text: digits(1) },
  { key: "to_bare", title: "to bare", text: digits(2) },
];

async function measure(): Promise<void> {
  const rounds = roundsOr(quick ? 1 : 9);
  const servers = new Map<string, Pinned>();
  const load = (await startWrk()) ?? startUndici();
  try {
    servers.set(bare, pinned(await startPeer(bare, "bench/lib/contestants.ts", bare)));
    for (const piece of pieces) {
      servers.set(piece, pinned(await startPeer(piece, "bench/pieces.ts", "--serve", piece)));
    }
    const flags = ["--store", "memory:", "--hashing-iterations", "1"];
    const withoutLog = [...flags, "--request-log", "false"];
    servers.set("the server program, no log", pinned(await startOursIn(projectRoot, withoutLog)));
    servers.set("its log", pinned(await startOursIn(projectRoot, flags)));
    servers.set(tokenAlone, pinned(await startPeer(tokenAlone, "bench/pieces.ts", "--serve", tokenAlone)));
    pinLoads();
    const found = new Map([...servers.keys()].map((title) => [title, [] as Measured[]]));
    const step = progressOf("pieces", rounds, servers.size);
    for (let round = -1; round < rounds; round++) {
      for (const [title, { url, pids }] of rotated([...servers], Math.max(0, round))) {
        const work = { url, path: "/jwt/verify/", answer: "{}", ms: round < 0 && !quick ? 3000 : 1000 };
        const measured = await measureUnder(load, work, pids);
        if (round >= 0) found.get(title)!.push(measured);
        step();
      }
    }
    const times = (title: string) =>
      found.get(title)!.map(({ cpuMicroseconds, perSecond }) => cpuMicroseconds ?? 1e6 / perSecond);
    const least = times(bare);
    let before = least;
    const rows = [...servers.keys()].map((piece) => {
      const mine = times(piece);
      const adds = median(mine.map((time, round) => time - (piece === tokenAlone ? least : before)[round]!));
      before = mine;
      const toBare = median(mine.map((time, round) => least[round]! / time));
      return { piece, us: tidy(median(mine)), adds: tidy(adds), to_bare: tidy(toBare) };
    });
    const title = `a verify piece by piece, load by ${load.name}, every token new, median of ${rounds} rounds`;
    report("pieces", [{ title, columns, rows }]);
    reportResponses();
  } finally {
    load.stop();
    await stopAll(servers.values());
  }
}

const served = process.argv[process.argv.indexOf("--serve") + 1];
if (process.argv.includes("--serve")) {
  process.once("SIGTERM", () => process.exit(0));
  await (served === tokenAlone ? serveTokenAlone() : serveUpTo(served as Piece));
} else await measure();
