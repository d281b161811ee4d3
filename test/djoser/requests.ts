/** The requests that both sides get. */
import {
  type Case,
  type Dialect,
  type Endpoint,
  type Media,
  type Tokens,
  accepts,
  authorizations,
  bodyOf,
  contentTypes,
  endings,
  mediaTypes,
  methods,
  shapes,
  takesBearer,
  tokenKinds,
  tokenOf,
  tokenType,
  variantTokenKinds,
  wholes,
} from "../fixtures/djoser/cases.ts";
import type { Random } from "../support/random.ts";
import { type Login, logins } from "./users.ts";

export const pathOf = (endpoint: Endpoint): string => {
  if (endpoint === "whoami") return "/whoami/";
  return takesBearer(endpoint) ? `/auth/users/${endpoint}/` : `/auth/jwt/${endpoint}/`;
};

/** The field of a body that carries a token. */
export const fieldOf = ({ sliding }: Dialect, endpoint: Endpoint): string =>
  sliding || endpoint === "verify" ? "token" : "refresh";

export interface Parts {
  media?: Media;
  login?: Login;
  token?: string;
  /** Shapes of the fields, by name. */
  shape?: Record<string, string>;
  whole?: string;
  accept?: string | undefined;
  contentType?: string | undefined;
  method?: string;
  ending?: string;
  authorization?: string;
}

/** Makes a request; everything that is not given is right. */
export async function caseOf(tokens: Tokens, endpoint: Endpoint, parts: Parts = {}): Promise<Case> {
  const { media = "json", login = logins[0]!, token: kind = "valid", shape = {}, whole, ending } = parts;
  const marks = new Set<string>([media]);
  const headers: [string, string][] = [];
  let body: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  const note = (name: string, value: string | undefined) => value !== undefined && marks.add(`${name}: ${value}`);
  const method = parts.method ?? (takesBearer(endpoint) ? "GET" : "POST");
  note("token", endpoint === "create" ? undefined : kind);
  const token = endpoint === "create" ? "" : await tokenOf(tokens, kind, tokenType(tokens.dialect, endpoint));
  if (takesBearer(endpoint)) {
    note("authorization", parts.authorization);
    const value = authorizations[parts.authorization ?? "bearer"]!(token);
    // Not everything can be written into a header.
    if (value !== undefined && /^[\t\x20-\x7e]*$/.test(value)) headers.push(["Authorization", value.trim()]);
  } else if (method !== "GET" && method !== "HEAD") {
    const field = fieldOf(tokens.dialect, endpoint);
    const fields =
      endpoint === "create"
        ? ([
            ["username", login[1]],
            ["password", login[2]],
          ] as const)
        : ([[field, token]] as const);
    if (endpoint === "create") note("login", login[0]);
    for (const [name, value] of Object.entries(shape)) note(name, value);
    note("body", whole);
    const made = bodyOf(media, fields, shape, whole);
    body = made.body;
    const contentType = "contentType" in parts ? parts.contentType : made.contentType;
    if ("contentType" in parts) marks.add(`content-type: ${contentType}`);
    if (contentType !== undefined) headers.push(["Content-Type", contentType]);
  }
  if ("accept" in parts) marks.add(`accept: ${parts.accept}`);
  if (parts.accept !== undefined) headers.push(["Accept", parts.accept]);
  if (parts.method !== undefined) marks.add(`method: ${method}`);
  note("path", ending);
  const path = ending === undefined ? pathOf(endpoint) : pathOf(endpoint).replace(/\/$/, ending);
  return { endpoint, method, path, headers, body, marks };
}

/** Each thing once, where it belongs. */
export function* thorough({ sliding }: Dialect): Generator<[Endpoint, Parts]> {
  const posts: Endpoint[] = ["create", "refresh", "verify", "blacklist"];
  for (const login of logins) yield ["create", { login }];
  for (const media of ["form", "multipart"] as const)
    for (const login of logins.slice(0, 13)) yield ["create", { media, login }];
  const digits = logins.find(([mark]) => mark === "digits")!;
  for (const shape of ["as a number", "as a whole fraction", "an exponent", "a fraction", "a large number"]) {
    yield ["create", { login: digits, shape: { username: shape } }];
    yield ["create", { login: digits, shape: { password: shape } }];
  }
  for (const kind of tokenKinds) {
    for (const endpoint of ["refresh", "verify", "blacklist", "whoami", "me"] as const) {
      // gunicorn takes no header over 8 KiB
      if (!(takesBearer(endpoint) && kind === "long")) yield [endpoint, { token: kind }];
    }
  }
  for (const media of ["json", "form", "multipart"] as const) {
    for (const shape of shapes[media]) {
      yield ["create", { media, shape: { username: shape } }];
      yield ["create", { media, shape: { password: shape } }];
      yield ["create", { media, shape: { username: shape, password: shape } }];
      yield ["refresh", { media, shape: { [sliding ? "token" : "refresh"]: shape } }];
      yield ["verify", { media, shape: { token: shape } }];
    }
    for (const whole of wholes[media]) {
      yield ["create", { media, whole }];
      yield ["refresh", { media, whole }];
      yield ["verify", { media, whole }];
    }
  }
  for (const contentType of contentTypes) {
    yield ["verify", { contentType }];
    yield ["create", { contentType }];
    yield ["verify", { contentType, whole: "empty body" }];
  }
  for (const accept of accepts) {
    yield ["verify", { accept }];
    yield ["verify", { accept, token: "expired" }];
    yield ["me", { accept }];
  }
  for (const method of methods) yield ["me", { method }];
  for (const method of methods) yield ["me", { method, authorization: "none" }];
  for (const ending of [...endings, ".json"]) yield ["me", { ending }];
  for (const method of methods) for (const endpoint of posts) yield [endpoint, { method }];
  for (const method of methods) yield ["verify", { method, accept: "text/html" }];
  for (const ending of endings) for (const endpoint of posts) yield [endpoint, { ending }];
  for (const authorization of Object.keys(authorizations))
    yield* [
      ["whoami", { authorization }],
      ["me", { authorization }],
    ] as [Endpoint, Parts][];
}

/** What settings may change: each kind of token, at each endpoint where the claims are others, at any elsewhere. */
export function* particular({ sliding, userIdClaim }: Dialect, random: Random): Generator<[Endpoint, Parts]> {
  const endpoints = ["refresh", "verify", "blacklist", "whoami"] as const;
  for (const kind of variantTokenKinds) {
    const isAbout = userIdClaim !== "user_id" || (sliding && kind.includes("refresh_exp"));
    for (const endpoint of isAbout ? endpoints : [random.pick(endpoints)]) yield [endpoint, { token: kind }];
  }
  yield ["create", {}];
}

/** Refusing a hash of another format takes as long as the costliest: once is enough. */
const quickLogins = logins.filter(([mark]) => !(mark.startsWith("hash") && mark.endsWith("wrong password")));

/** Any things together. */
export function arbitrary(random: Random, { sliding }: Dialect): [Endpoint, Parts] {
  const { pick, chance } = random;
  const endpoint = pick(["create", "create", "refresh", "refresh", "verify", "blacklist", "whoami", "me"] as const);
  const parts: Parts = { token: chance(0.5) ? "valid" : pick(variantTokenKinds) };
  if (takesBearer(endpoint)) return [endpoint, { ...parts, authorization: pick(Object.keys(authorizations)) }];
  if (chance(0.2)) parts.accept = pick(accepts);
  parts.media = pick(Object.keys(mediaTypes) as Media[]);
  parts.login = pick(quickLogins);
  if (chance(0.3)) {
    const fields = endpoint === "create" ? ["username", "password"] : [sliding ? "token" : "refresh", "token"];
    parts.shape = Object.fromEntries(fields.map((name) => [name, pick(shapes[parts.media!])]));
  } else if (chance(0.2)) parts.whole = pick(wholes[parts.media]);
  if (parts.media === "json" && chance(0.1)) parts.contentType = pick(contentTypes);
  if (chance(0.1)) parts.method = pick(methods);
  if (chance(0.1)) parts.ending = pick(endings);
  return [endpoint, parts];
}
