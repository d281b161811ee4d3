/** The interface of the endpoints to their host. */
import type { AuthenticateOptions, Authenticated } from "./endpoints/authenticate.ts";
import type { Handle } from "./http/message.ts";
import type { Passwords } from "./passwords/index.ts";
import type { LoginRequest, Settings } from "./settings/types.ts";

/** The settings that an operator may be shown; none is secret. */
export const shownSettings = [
  "prefix",
  "responses",
  "usernameField",
  "hashing",
  "me",
  "sessions",
  "authTokenClasses",
  "cookies",
] as const;

/** What `createJwtEndpoints` returns: the handler in its two forms, and what a host guards its own routes with. */
export interface JwtEndpoints {
  /** Handles a Fetch `Request`. Never rejects; needs no `this`. */
  readonly fetch: (request: Request) => Promise<Response>;
  /**
   * The handler on plain objects, for servers that are faster without `Request` and `Response`. Never throws or rejects.
   * @returns at once when body, keys and store do.
   */
  readonly handle: Handle;
  /**
   * Returns whether a path is one of the endpoints', for a host that leaves all others to routes of its own.
   * @param url absolute, or starting with the path.
   */
  readonly hasRoute: (url: string) => boolean;
  /**
   * Verifies the access token of a request: from the `Authorization` header, or from the cookie if cookies carry it.
   * @param request a Fetch `Request`, or the same parts of another server's.
   * @returns the verified claims and the user.
   * @throws a Boom error, 401 or 403, whose `data.code` says why; {@link JwtEndpoints.errorResponse} renders it.
   */
  readonly authenticate: (request: LoginRequest, options?: AuthenticateOptions) => Promise<Authenticated>;
  /**
   * Makes a fetch function that calls a handler for authenticated requests and refuses all others (RFC 6750):
   * `endpoints.protect((request, { user }) => Response.json({ username: user.username }))`.
   */
  readonly protect: (
    handler: (request: Request, who: Authenticated) => Response | Promise<Response>,
    options?: AuthenticateOptions,
  ) => (request: Request) => Promise<Response>;
  /**
   * Revokes every token that a user has, access tokens included. Call it when a password changes or an account is closed.
   * @param id the user's `id` in the store.
   * @returns whether the user exists.
   * @throws {TypeError} when the store has no `updateUser`.
   */
  readonly revokeUser: (id: string) => Promise<boolean>;
  /**
   * Renders an error for a host's own resource: RFC 6750's 401 and 403 with `WWW-Authenticate`, 503 when the store is
   * unavailable, otherwise a bare 500 with the cause in the log.
   */
  readonly errorResponse: (error: unknown) => Response;
  /** Resolves when the keys are imported and the store is reachable; rejects otherwise. Await it before listening. */
  readonly ready: () => Promise<void>;
  /** Returns how busy the login queue is. */
  readonly loginQueue: Passwords["load"];
  /** Calls a function with the seconds that each login has waited in the queue, as its hash begins. One function at a time. */
  readonly observeLoginWaits: Passwords["observeWaits"];
  /** Settings that an operator may be shown, defaults filled in; none is secret. */
  readonly settings: Pick<Settings, (typeof shownSettings)[number]>;
}
