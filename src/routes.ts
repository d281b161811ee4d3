/** The route table: one row a route, with its path, its endpoint for each method, the session it is about and its text for `OPTIONS`. */
import type { UserEndpoint } from "./endpoints/authenticate.ts";
import { blacklist, blacklistSliding } from "./endpoints/blacklist.ts";
import { create, createSliding } from "./endpoints/create.ts";
import type { Context, Endpoint } from "./endpoints/endpoint.ts";
import { jwks } from "./endpoints/jwks.ts";
import { me } from "./endpoints/me.ts";
import { refresh, refreshSliding } from "./endpoints/refresh.ts";
import { passwordFields, setPassword } from "./endpoints/set-password.ts";
import { endOtherSessions, endSessionOf, listSessions } from "./endpoints/sessions.ts";
import { verify } from "./endpoints/verify.ts";
import { fail } from "./errors.ts";
import type { SessionStep } from "./http/cookies.ts";
import { pathOf } from "./http/message.ts";
import { type MaybePromise, after } from "./maybe-promise.ts";
import type { ApiRoute } from "./settings/types.ts";

/** Settings that limit how often a client may POST to a route. */
export const throttleNames = ["throttle", "throttleRefresh", "throttleVerify", "throttleSetPassword"] as const;
export type ThrottleName = (typeof throttleNames)[number];

/** A route. `OPTIONS` returns its `name`, `description` and `fields`. */
interface Row extends ApiRoute {
  /** `false` leaves the route out: the store or the keys can't do it. Default: true. */
  readonly isOn?: boolean;
  readonly POST?: Endpoint;
  /** Returns what a GET reads. `HEAD` comes with it. */
  readonly GET?: (context: Context) => MaybePromise<unknown>;
  /** Endpoints for authenticated users, by method, in place of `POST` and `GET`. */
  readonly user?: { readonly GET?: UserEndpoint; readonly POST?: UserEndpoint; readonly DELETE?: UserEndpoint };
  /** Headers of a GET, besides those that every response has. */
  readonly headers?: Record<string, string>;
  /** Set where tokens may travel in cookies. */
  readonly session?: SessionStep;
}

export interface Route extends Row {
  /** The methods, for `Allow`. */
  readonly allow: string;
  /** What stands in the request's path for `{id}`. */
  readonly id?: string;
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
      description: `Logs in: returns ${isSliding ? "a sliding token" : "a pair of tokens"}.`,
      isOn: canSign,
      POST: isSliding ? createSliding : create,
      fields: [usernameField, "password"],
      checksPassword: true,
      throttledBy: "throttle",
      session: { kind: "login", field: token },
    },
    {
      path: `${prefix}/jwt/refresh`,
      name: "Refresh",
      description: isSliding ? "Returns the token with a later expiry." : "Returns a new access token.",
      isOn: canSign,
      POST: isSliding ? refreshSliding : refresh,
      fields: [token],
      throttledBy: "throttleRefresh",
      session: { kind: "renewal", field: token },
    },
    {
      path: `${prefix}/jwt/verify`,
      name: "Verify",
      description: "Tells whether a token is valid.",
      POST: verify,
      fields: ["token"],
      throttledBy: "throttleVerify",
    },
    { path: `${prefix}/jwt/blacklist`, ...logout },
    { path: `${prefix}/jwt/logout`, ...logout },
    {
      path: `${prefix}/jwt/sessions`,
      name: "Sessions",
      description: "The user's sessions. DELETE ends all but the current one.",
      isOn: settings.sessions,
      user: { GET: listSessions, DELETE: endOtherSessions },
    },
    {
      path: `${prefix}/jwt/sessions/{id}`,
      name: "Session",
      description: "One of the user's sessions. DELETE ends it.",
      isOn: settings.sessions,
      user: { DELETE: endSessionOf },
    },
    {
      path: `${prefix}/users/me`,
      name: "Me",
      description: "The user of the access token.",
      isOn: settings.me,
      user: { GET: me },
    },
    {
      path: `${prefix}/users/set_password`,
      name: "Set password",
      description: "Changes the password and ends the user's other sessions.",
      isOn: store.updateUser !== undefined,
      user: { POST: setPassword },
      fields: passwordFields(settings.setPasswordRetype),
      checksPassword: true,
      throttledBy: "throttleSetPassword",
    },
    { path: "/healthz", name: "Health", description: "Returns 200 while the process is alive.", GET: () => ok },
    {
      path: "/readyz",
      name: "Readiness",
      description: "Returns 200 when store, keys and login queue are ready, else 503.",
      GET: ({ keys, passwords }) =>
        after(store.ping?.(), () =>
          after(keys(), () => {
            const { waiting, queue } = passwords.load();
            if (waiting > 0 && waiting >= queue) throw fail("login_queue_full", { retryAfter: 1 });
            return ok;
          }),
        ),
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
  /** All paths without `{id}`, with and without the last slash. */
  readonly paths: readonly string[];
  /** Returns the route for a request's URL. */
  find(url: string): Route | undefined;
}

/** The route of the OpenAPI document, which is made at the first request. */
function openapiRow({ settings }: Context, routes: readonly Row[]): Row {
  let document: MaybePromise<object> | undefined;
  return {
    path: "/openapi.json",
    name: "OpenAPI",
    description: "Describes these endpoints.",
    GET: () => (document ??= settings.openapi!({ settings, routes })),
  };
}

export function createRouter(context: Context): Router {
  const byPath = new Map<string, Route>();
  const byStart: [start: string, route: Route][] = [];
  const rows = rowsOf(context).filter(({ isOn = true }) => isOn);
  if (context.settings.openapi !== undefined) rows.push(openapiRow(context, [...rows]));
  for (const row of rows) {
    const route = { ...row, allow: methodsOf(row).join(", ") };
    if (row.path.endsWith("/{id}")) byStart.push([row.path.slice(0, -"{id}".length), route]);
    else byPath.set(row.path, route).set(`${row.path}/`, route);
  }

  function findByStart(path: string): Route | undefined {
    for (const [start, route] of byStart) {
      if (!path.startsWith(start)) continue;
      const id = path.endsWith("/") ? path.slice(start.length, -1) : path.slice(start.length);
      if (id !== "" && !id.includes("/")) return { ...route, id };
    }
    return undefined;
  }

  function findByPath(url: string): Route | undefined {
    const path = pathOf(url);
    return byPath.get(path) ?? findByStart(path);
  }

  // Most requests have the URL of the one before, and to compare texts takes less time than to hash one.
  let lastUrl: string | undefined;
  let lastRoute: Route | undefined;
  return {
    paths: [...byPath.keys()],
    find(url) {
      if (url !== lastUrl) {
        // Servers of ours pass the path alone, so this look-up finds most routes without parsing a URL.
        lastRoute = byPath.get(url) ?? findByPath(url);
        lastUrl = url;
      }
      return lastRoute;
    },
  };
}

function methodsOf({ POST, GET, user }: Row): string[] {
  const methods = [];
  if (POST ?? user?.POST) methods.push("POST");
  if (GET ?? user?.GET) methods.push("GET", "HEAD");
  if (user?.DELETE) methods.push("DELETE");
  return [...methods, "OPTIONS"];
}
