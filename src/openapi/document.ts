/**
 * Makes the OpenAPI document from the tables of the code: routes, fields, errors and their texts. The errors are rendered as
 * the endpoints do, so the document has the statuses and bodies of the response profile in use.
 */
import { type ErrorCode, type ErrorData, fail, throttled } from "../errors.ts";
import { mediaTypes } from "../http/negotiate.ts";
import { renderError } from "../http/render.ts";
import { recordsRotations } from "../settings/check.ts";
import type { ApiDescription, ApiRoute, Settings } from "../settings/types.ts";
import { type Operation, type Schema, cookieNames, isSliding, objectOf, operations } from "./operations.ts";

/** The version of the HTTP contract, which is not that of the package. */
const contractVersion = "1.0.0";

/**
 * Returns the OpenAPI 3.1 document of the endpoints, as the settings make them. To be passed as the setting `openapi`.
 * @see https://spec.openapis.org/oas/v3.1.1
 */
export function openapiDocument({ settings, routes }: ApiDescription): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const { prefix } = settings;
    const rows = operations[route.path] ?? operations[route.path.slice(prefix.length)];
    if (rows === undefined) continue;
    // Djoser's clients write the last slash, probes do not; both are accepted everywhere.
    const path = rows[0]!.tag === "Server" ? route.path : `${route.path}/`;
    paths[path] = Object.fromEntries(rows.map((row) => [row.method, operationOf(settings, route, row)]));
  }
  return {
    openapi: "3.1.1",
    info: {
      title: "JWT endpoints",
      version: contractVersion,
      description:
        "Log in, refresh, verify and revoke JSON Web Tokens, as Djoser and Simple JWT do. The last slash of a path is optional.",
    },
    servers: [{ url: "/" }],
    tags: ["Tokens", "Users", "Sessions", "Server"]
      .filter((tag) => Object.values(paths).some((path) => Object.values(path).some((row) => hasTag(row, tag))))
      .map((name) => ({ name })),
    paths,
    components: {
      schemas: { Detail: detail, Problems: problems, FieldProblems: fieldProblems },
      securitySchemes: securityOf(settings),
    },
  };
}

const hasTag = (operation: unknown, tag: string): boolean => (operation as { tags: string[] }).tags.includes(tag);

const texts: Schema = { type: "array", items: { type: "string" }, minItems: 1 };
const fieldProblems: Schema = {
  type: "object",
  description: "What is wrong, by the name of the field.",
  minProperties: 1,
  additionalProperties: texts,
};
const problems: Schema = {
  type: "object",
  description: "All that is wrong in `non_field_errors`, and by the names of the fields.",
  required: ["non_field_errors"],
  properties: { non_field_errors: texts },
  additionalProperties: texts,
};
const detail: Schema = {
  ...objectOf({ detail: { type: "string" } }),
  properties: {
    detail: { type: "string" },
    code: { type: "string", description: "Simple JWT's code." },
    messages: {
      type: "array",
      description: "Why the token was refused as each of the accepted types.",
      items: objectOf({ token_class: { type: "string" }, token_type: { type: "string" }, message: { type: "string" } }),
    },
  },
  additionalProperties: false,
};

/** How a request shows an access token. */
function securityOf(settings: Settings): Record<string, Schema> {
  const { authHeaderName, authHeaderTypes } = settings;
  const scheme = authHeaderTypes[0]!;
  const isStandard = authHeaderName.toLowerCase() === "authorization" && scheme.toLowerCase() === "bearer";
  const description = `${scheme}, a space, and the access token.`;
  const bearer: Schema = isStandard
    ? { type: "http", scheme: "bearer", bearerFormat: "JWT" }
    : { type: "apiKey", in: "header", name: authHeaderName, description };
  const cookie = accessCookie(settings);
  return { bearer, ...(cookie !== undefined && { cookie: { type: "apiKey", in: "cookie", name: cookie } }) };
}

function accessCookie(settings: Settings): string | undefined {
  const names = cookieNames(settings);
  return names.get("access") ?? names.get("token");
}

function operationOf(settings: Settings, route: ApiRoute, row: Operation): Schema {
  const { method, id, summary, tag, isForUser = false } = row;
  const hasCookie = accessCookie(settings) !== undefined;
  return {
    operationId: id,
    summary,
    description: route.description,
    tags: [tag],
    security: isForUser ? [{ bearer: [] }, ...(hasCookie ? [{ cookie: [] }] : [])] : [],
    ...(route.path.endsWith("{id}") && {
      parameters: [{ name: "id", in: "path", required: true, schema: { type: "string" } }],
    }),
    ...(method === "post" && { requestBody: requestBodyOf(settings, route, row) }),
    responses: { ...successOf(settings, row), ...failuresOf(settings, route, row) },
  };
}

function requestBodyOf(settings: Settings, { fields = [] }: ApiRoute, row: Operation): Schema {
  const carried = row.readsCookie ? cookieNames(settings) : new Map<string, string>();
  const properties = fields.map((name): [string, Schema] => [
    name,
    {
      type: "string",
      minLength: 1,
      ...(name.endsWith("password") && { format: "password" }),
      ...(carried.has(name) && { description: `Unless the cookie ${carried.get(name)} carries it.` }),
    },
  ]);
  const required = fields.filter((name) => !carried.has(name));
  const schema = {
    type: "object",
    ...(required.length > 0 && { required }),
    properties: Object.fromEntries(properties),
  };
  return { required: required.length > 0, content: Object.fromEntries(mediaTypes.map((type) => [type, { schema }])) };
}

function successOf(settings: Settings, row: Operation): Record<string, Schema> {
  if (row.result === undefined) return { 204: { description: "Done." } };
  const names = row.setsCookies ? [...cookieNames(settings).values()] : [];
  const headers = {
    "Set-Cookie": { description: `The cookies ${names.join(", ")}.`, schema: { type: "string" } },
  };
  const content = { [row.mediaType ?? "application/json"]: { schema: row.result(settings) } };
  return { 200: { description: "Done.", ...(names.length > 0 && { headers }), content } };
}

/** Whether a refresh may be refused for the rotations before it. */
const limitsRotations = (settings: Settings): boolean =>
  settings.throttleRotations !== false && recordsRotations(settings) && !isSliding(settings);

/** Returns why a request may fail, and whether that is rendered as Simple JWT does in both profiles. */
function codesOf(settings: Settings, route: ApiRoute, row: Operation): [code: ErrorCode, isBearer: boolean][] {
  const isPost = row.method === "post";
  const usesCookies = settings.cookies.carry.length > 0 && (row.isForUser || row.setsCookies);
  const isThrottled =
    (route.throttledBy !== undefined && settings[route.throttledBy] !== false) ||
    (route.checksPassword === true && settings.throttleFailures !== false) ||
    (row.id === "refreshToken" && limitsRotations(settings));
  const bearerCodes: ErrorCode[] = [
    "not_authenticated",
    "bad_authorization_header",
    "access_token_invalid",
    "no_user_claim",
    "user_not_found",
    "user_inactive",
    "password_changed",
  ];
  const bodyCodes: ErrorCode[] = ["field_errors", "invalid_data", "parse_error", "body_too_large"];
  // Readers see them in this order: what is special to the route comes first.
  const codes: ErrorCode[] = [
    ...row.errors,
    ...(isPost ? [...bodyCodes, "unsupported_media_type" as const] : []),
    "bad_host",
    ...(isThrottled ? ["throttled" as const] : []),
    ...(usesCookies && (isPost || row.method === "delete") ? ["cross_site" as const] : []),
    "not_acceptable",
    ...(isPost || row.isForUser ? (["store_unavailable", "keys_unavailable"] as const) : []),
    ...(route.checksPassword ? ["login_queue_full" as const] : []),
    "internal_error",
  ];
  return [
    ...(row.isForUser ? bearerCodes.map((code): [ErrorCode, boolean] => [code, true]) : []),
    ...[...new Set(codes)].map((code): [ErrorCode, boolean] => [code, false]),
  ];
}

/** Returns what an error may carry, as an example. */
function detailsOf(code: ErrorCode, { fields = [] }: ApiRoute): Omit<ErrorData, "code"> {
  if (code === "field_errors") return { fields: { [fields[0]!]: ["This field is required."] } };
  if (code === "access_token_invalid") return { reasons: [["access", "token_expired"]] };
  return /unavailable$|_full$/.test(code) ? { retryAfter: 5 } : {};
}

interface Failure {
  headers: Record<string, Schema>;
  schemas: Set<string>;
  examples: Record<string, { value: unknown }>;
}

/** Renders each error and groups them by status. */
function failuresOf(settings: Settings, route: ApiRoute, row: Operation): Record<string, Schema> {
  const byStatus = new Map<number, Failure>();
  for (const [code, isBearer] of codesOf(settings, route, row)) {
    const error = code === "throttled" ? throttled(30_000) : fail(code, detailsOf(code, route));
    const { status, headers, body } = renderError(error, isBearer ? { ...settings, responses: "simplejwt" } : settings);
    const value = JSON.parse(body) as Record<string, unknown>;
    const failure = byStatus.get(status) ?? { headers: {}, schemas: new Set(), examples: {} };
    byStatus.set(status, failure);
    failure.schemas.add(schemaNameOf(value));
    failure.examples[code] = { value };
    for (const [name, shown] of shownHeaders) {
      if (headers[name] !== undefined)
        failure.headers[shown] = { schema: { type: "string", examples: [headers[name]] } };
    }
  }
  return Object.fromEntries(
    [...byStatus].map(([status, { headers, schemas, examples }]) => {
      const refs = [...schemas].map((name) => ({ $ref: `#/components/schemas/${name}` }));
      const schema = refs.length === 1 ? refs[0] : { anyOf: refs };
      const content = { "application/json": { schema, examples } };
      const withHeaders = Object.keys(headers).length > 0 && { headers };
      return [status, { description: statusTexts[status], ...withHeaders, content }];
    }),
  );
}

const shownHeaders = [
  ["www-authenticate", "WWW-Authenticate"],
  ["retry-after", "Retry-After"],
] as const;

function schemaNameOf(body: Record<string, unknown>): "Detail" | "Problems" | "FieldProblems" {
  if ("detail" in body) return "Detail";
  return "non_field_errors" in body ? "Problems" : "FieldProblems";
}

const statusTexts: Readonly<Record<number, string>> = {
  400: "The request is refused.",
  401: "The token or the credentials are refused.",
  403: "The request comes from another site.",
  404: "There is no such thing.",
  406: "The client does not accept JSON.",
  413: "The body is too large.",
  415: "The body is of another media type.",
  429: "Too many requests; try again later.",
  500: "The server failed.",
  503: "The server can't do that for now; try again later.",
};
