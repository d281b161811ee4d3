/** `createJwtEndpoints`: the route table, the one call of an endpoint, and the one place where errors are caught. */
import { type Authenticated, authenticate } from "./endpoints/authenticate.ts";
import { blacklist } from "./endpoints/blacklist.ts";
import { create } from "./endpoints/create.ts";
import type { Context, Endpoint } from "./endpoints/endpoint.ts";
import { refresh } from "./endpoints/refresh.ts";
import { verify } from "./endpoints/verify.ts";
import { type JwtEndpointsError, fail, isFailure } from "./errors.ts";
import { mediaTypes, readData } from "./http/body.ts";
import { withCors } from "./http/cors.ts";
import { renderData, renderError } from "./http/render.ts";
import { createThrottle } from "./http/throttle.ts";
import { type PasswordQueueFull, createPasswords } from "./passwords/index.ts";
import { type JwtEndpointsSettings, type Settings, parseSettings } from "./settings.ts";
import { keysFrom } from "./tokens/keys.ts";

export interface JwtEndpoints {
  /** The handler: mount it anywhere a Fetch `Request` arrives. Never rejects. Bound, so it can be passed around. */
  readonly fetch: (request: Request) => Promise<Response>;
  /**
   * Whom a request's `Authorization` header speaks for: the verified claims of its access token and the user.
   * @throws a Boom 401 (`error.data.code` says why); {@link JwtEndpoints.errorResponse} turns it into the answer.
   */
  readonly authenticate: (request: Request) => Promise<Authenticated>;
  /**
   * The answer to an error: RFC 6750's 401 with `WWW-Authenticate` for one that `authenticate` threw, 503 when the store
   * is down, and for anything unknown a bare 500, with the cause in the log.
   */
  readonly errorResponse: (error: unknown) => Response;
  /** Resolves when the keys are imported and the store answers; rejects with what is wrong. Await it before listening. */
  readonly ready: () => Promise<void>;
  /** What the endpoints run with, defaults filled in, for whoever has to tell users of them; no keys among it. */
  readonly settings: Pick<Settings, "prefix" | "responses" | "usernameField" | "hashing">;
}

interface Route {
  /** For `Allow`. */
  methods: string;
  get?: () => Promise<Record<string, string>>;
  post?: Endpoint;
  /** Counted by the `throttle` setting. */
  isLogin?: boolean;
  /** For `OPTIONS`: what the endpoint is called, does, and reads. */
  about: { name: string; description: string; fields: string[] };
}

/** For how long a client should leave a store in peace that does not answer, in seconds. */
const storeRetryAfter = 5;

/**
 * Makes the endpoints. Instances share nothing: two with different settings live side by side.
 *
 * ```ts
 * const endpoints = createJwtEndpoints({ store: memoryStore(), signingKey: secret });
 * export default { fetch: endpoints.fetch };
 * ```
 * @throws {SettingError} naming the setting that is wrong. An asymmetric key is read later: `ready` rejects for it.
 */
export function createJwtEndpoints(input: JwtEndpointsSettings): JwtEndpoints {
  const settings = parseSettings(input);
  const { store } = settings;
  const context: Context = { settings, store, passwords: createPasswords(settings.hashing), keys: keysFrom(settings) };
  const throttle = settings.throttle && createThrottle(settings.throttle, settings.now);
  const routes = routeTable(context);

  /** The coded error for anything thrown on the way; what nobody foresaw is logged and becomes a fixed 500. */
  function toFailure(error: unknown): JwtEndpointsError {
    if (isFailure(error)) return error;
    const code = (error as { code?: unknown } | null | undefined)?.code;
    if (code === "PASSWORD_QUEUE_FULL") {
      return fail("login_queue_full", { retryAfter: (error as PasswordQueueFull).retryAfter });
    }
    const failure =
      code === "STORE_UNAVAILABLE"
        ? fail("store_unavailable", { retryAfter: storeRetryAfter })
        : fail("internal_error");
    settings.log({ level: "error", code: failure.data!.code, message: "a request failed", error });
    return failure;
  }

  let isAddressKnown = true;
  function clientOf(request: Request): string {
    const address = settings.clientAddress(request);
    if (address === undefined && isAddressKnown) {
      isAddressKnown = false; // said once
      const message = "throttle counts all clients as one, since this host gives requests no ip; set clientAddress";
      settings.log({ level: "warn", code: "client_address_unknown", message });
    }
    return address ?? "";
  }

  /** In DRF's order: content negotiation, throttle, method, body. */
  async function dispatch(request: Request, route: Route | undefined): Promise<Response> {
    const { method, headers } = request;
    if (route === undefined) throw fail("not_found");
    if (!acceptsJson(headers.get("accept"))) throw fail("not_acceptable");
    if (method === "OPTIONS") return renderData(describe(route), 200, route.methods);
    if (method === "POST" && route.post !== undefined) {
      if (throttle && route.isLogin) throttle(clientOf(request));
      const data = await readData(request, settings.maxBodySize);
      return renderData(await route.post(context, data), 200, route.methods);
    }
    if ((method === "GET" || method === "HEAD") && route.get !== undefined) {
      return renderData(await route.get(), 200, route.methods);
    }
    throw fail("method_not_allowed", { text: `Method "${method}" not allowed.` });
  }

  async function answer(request: Request): Promise<Response> {
    const route = routes.get(pathOf(request.url));
    let response: Response;
    try {
      response = await dispatch(request, route);
    } catch (error) {
      response = renderError(toFailure(error), settings, route?.methods);
    }
    return request.method === "HEAD" ? new Response(null, response) : response;
  }

  const { prefix, responses, usernameField, hashing } = settings;
  return {
    settings: { prefix, responses, usernameField, hashing },
    fetch: settings.cors === false ? answer : withCors(answer, settings.cors),
    authenticate: async (request) => authenticate(context, request.headers.get("authorization")),
    errorResponse: (error) => renderError(toFailure(error), settings, undefined, false),
    async ready() {
      await Promise.all([context.keys(), store.ping()]);
    },
  };
}

/** Path, without its last slash -> route. */
function routeTable({ settings: { prefix, usernameField }, store }: Context): Map<string, Route> {
  const post = (name: string, description: string, endpoint: Endpoint, ...fields: string[]): Route => ({
    methods: "POST, OPTIONS",
    post: endpoint,
    isLogin: endpoint === create,
    about: { name, description, fields },
  });
  const get = (name: string, description: string, answer?: () => unknown): Route => ({
    methods: "GET, HEAD, OPTIONS",
    get: async () => {
      await answer?.();
      return { status: "ok" };
    },
    about: { name, description, fields: [] },
  });
  return new Map([
    [`${prefix}/jwt/create`, post("Create", "Logs in: answers a pair of tokens.", create, usernameField, "password")],
    [`${prefix}/jwt/refresh`, post("Refresh", "Answers a new access token.", refresh, "refresh")],
    [`${prefix}/jwt/verify`, post("Verify", "Tells whether a token is valid.", verify, "token")],
    [`${prefix}/jwt/blacklist`, post("Blacklist", "Makes a refresh token void.", blacklist, "refresh")],
    ["/healthz", get("Health", "Answers while the process is alive.")],
    ["/readyz", get("Readiness", "Answers when the store does.", () => store.ping())],
  ]);
}

/** What DRF's SimpleMetadata says of a view. */
function describe({ about: { name, description, fields }, post }: Route): unknown {
  const common = { name, description, renders: ["application/json"], parses: post === undefined ? [] : mediaTypes };
  if (post === undefined) return common;
  const field = (label: string) => ({ type: "string", required: true, read_only: false, label });
  const described = fields.map((key) => [key, field(key[0]!.toUpperCase() + key.slice(1).replaceAll("_", " "))]);
  return { ...common, actions: { POST: Object.fromEntries(described) } };
}

/** The path of an absolute URL, decoded, without one trailing slash. Cheaper than `new URL` on the way of every request. */
function pathOf(url: string): string {
  const scheme = url.indexOf("://"); // Bun makes none for a request without Host
  const start = url.indexOf("/", scheme === -1 ? 0 : scheme + 3);
  if (start === -1) return "";
  const end = url.slice(start).search(/[?#]/);
  const path = end === -1 ? url.slice(start) : url.slice(start, start + end);
  const bare = path.endsWith("/") ? path.slice(0, -1) : path;
  if (!bare.includes("%")) return bare;
  try {
    return decodeURIComponent(bare);
  } catch {
    return bare; // not UTF-8, so no route of ours
  }
}

/** Whether an `Accept` header takes JSON (RFC 9110 §12.5.1); none takes everything. */
function acceptsJson(accept: string | null): boolean {
  if (accept === null || accept.trim() === "") return true;
  return accept.split(",").some((range) => {
    const [type, ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    if (type !== "*/*" && type !== "application/*" && type !== "application/json") return false;
    return !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
  });
}
