/** The route table: one row a route, with its path, its endpoint for each method, the session it is about and its text for `OPTIONS`. */
import { blacklist, blacklistSliding } from "./endpoints/blacklist.ts";
import { create, createSliding } from "./endpoints/create.ts";
import type { Context, Endpoint } from "./endpoints/endpoint.ts";
import { jwks } from "./endpoints/jwks.ts";
import { refresh, refreshSliding } from "./endpoints/refresh.ts";
import { verify } from "./endpoints/verify.ts";
import type { SessionStep } from "./http/cookies.ts";
import { pathOf } from "./http/message.ts";
import { mediaTypes } from "./http/negotiate.ts";
import { type MaybePromise, after } from "./maybe-promise.ts";

interface Row {
  /** The whole path, without its last slash, which is optional. */
  readonly path: string;
  /** What `OPTIONS` returns as `name` and `description`. */
  readonly name: string;
  readonly description: string;
  /** `false` leaves the route out: the store or the keys can't do it. Default: true. */
  readonly isOn?: boolean;
  readonly POST?: Endpoint;
  /** The fields of the body of a POST, for `OPTIONS`. */
  readonly fields?: readonly string[];
  /** Returns what a GET reads. `HEAD` comes with it. */
  readonly GET?: (context: Context) => MaybePromise<unknown>;
  /** Headers of a GET, besides those that every response has. */
  readonly headers?: Record<string, string>;
  /** Set where tokens may travel in cookies. The throttle counts logins. */
  readonly session?: SessionStep;
}

export interface Route extends Row {
  /** The methods, for `Allow`. */
  readonly allow: string;
  /** The response body for `OPTIONS`, which is DRF's SimpleMetadata of the view. */
  readonly metadata: unknown;
}

function rowsOf({ settings, store }: Context): Row[] {
  const { prefix, usernameField, authTokenClasses } = settings;
  const isSliding = authTokenClasses[0] === "SlidingToken";
  const token = isSliding ? "token" : "refresh";
  const canSign = settings.signingKey !== undefined || settings.keys !== undefined;
  const canRevoke = store.putIfAbsent !== undefined && store.get !== undefined;
  const ok = { status: "ok" };
  const logout = {
    name: "Blacklist",
    description: "Ends the session of a token.",
    isOn: canRevoke,
    POST: isSliding ? blacklistSliding : blacklist,
    fields: [token],
    session: { kind: "logout", field: token },
  } as const;
  return [
    {
      path: `${prefix}/jwt/create`,
      name: "Create",
      description: `Logs in: answers ${isSliding ? "a sliding token" : "a pair of tokens"}.`,
      isOn: canSign,
      POST: isSliding ? createSliding : create,
      fields: [usernameField, "password"],
      session: { kind: "login", field: token },
    },
    {
      path: `${prefix}/jwt/refresh`,
      name: "Refresh",
      description: isSliding ? "Answers the token with a later expiry." : "Answers a new access token.",
      isOn: canSign,
      POST: isSliding ? refreshSliding : refresh,
      fields: [token],
      session: { kind: "renewal", field: token },
    },
    {
      path: `${prefix}/jwt/verify`,
      name: "Verify",
      description: "Tells whether a token is valid.",
      POST: verify,
      fields: ["token"],
    },
    { path: `${prefix}/jwt/blacklist`, ...logout },
    { path: `${prefix}/jwt/logout`, ...logout },
    { path: "/healthz", name: "Health", description: "Answers while the process is alive.", GET: () => ok },
    {
      path: "/readyz",
      name: "Readiness",
      description: "Answers when the store does.",
      GET: () => after(store.ping?.(), () => ok),
    },
    {
      path: "/.well-known/jwks.json",
      name: "JWKS",
      description: "The public keys of the tokens.",
      GET: jwks,
      headers: { "content-type": "application/jwk-set+json", "cache-control": "public, max-age=300" },
    },
  ];
}

export interface Router {
  /** All paths, with and without the last slash. */
  readonly paths: readonly string[];
  /** Returns the route for a request's URL. */
  find(url: string): Route | undefined;
}

export function createRouter(context: Context): Router {
  const byPath = new Map<string, Route>();
  for (const row of rowsOf(context)) {
    if (row.isOn === false) continue;
    const methods = [row.POST && "POST", row.GET && "GET, HEAD", "OPTIONS"];
    const route = { ...row, allow: methods.filter(Boolean).join(", "), metadata: metadataOf(row) };
    byPath.set(row.path, route).set(`${row.path}/`, route);
  }
  return {
    paths: [...byPath.keys()],
    // Servers of ours pass the path alone, so the first look-up finds most routes without parsing a URL.
    find: (url) => byPath.get(url) ?? byPath.get(pathOf(url)),
  };
}

function metadataOf({ name, description, POST, fields = [] }: Row): unknown {
  const common = { name, description, renders: ["application/json"], parses: POST === undefined ? [] : mediaTypes };
  if (POST === undefined) return common;
  const field = (label: string) => ({ type: "string", required: true, read_only: false, label });
  const described = fields.map((key) => [key, field(key[0]!.toUpperCase() + key.slice(1).replaceAll("_", " "))]);
  return { ...common, actions: { POST: Object.fromEntries(described) } };
}
