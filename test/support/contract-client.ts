/** What the suites of the HTTP contract share: users, tokens, a client, and the expected response in both profiles. */
import { SignJWT } from "jose";
import * as assert from "uvu/assert";
import { createPasswords } from "../../src/index.ts";
import type { Store } from "../../src/stores/store.ts";

export interface TestResponse {
  status: number;
  headers: Record<string, string | undefined>;
  text: string;
}

export interface TestRequest {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
}

/** What the contract is sent to: the handler in process, or a server on a socket under any runtime. */
export interface Target {
  profile: "djoser" | "simplejwt";
  prefix: string;
  /** What stands before paths without the prefix, such as `/healthz`, where a host mounts everything below a path. */
  mount?: string;
  /** Returns whether the host refuses a path by itself, without a look at the endpoints. Default: false. */
  refusesPath?: (path: string) => boolean;
  /** Whether each response is checked against `/openapi.json`. Hosts that respond to some paths themselves have no such document. */
  isDocumented?: boolean;
  send(path: string, request: TestRequest): Promise<TestResponse>;
}

export const secret = "a secret of the contract suite, 32 bytes or more";
export const iterations = 100;

/** The users that the suite logs in with. */
export async function addContractUsers(store: Store): Promise<void> {
  const passwordHash = await createPasswords({ iterations }).hash("correct horse");
  await store.addUser({ id: "1", username: "ada", passwordHash });
  await store.addUser({ id: "2", username: "ian", passwordHash, isActive: false });
  await store.addUser({ id: "3", username: "spacey", passwordHash: await createPasswords({ iterations }).hash(" x ") });
  await store.addUser({ id: "4", username: "unusable", passwordHash: "!Q2hhbmdlIG1lIG9uY2UgYW5kIG5ldmVyIGFnYWluLg" });
  await store.addUser({ id: "5", username: "ﬁona".normalize("NFKC"), passwordHash });
}

export const now = (): number => Math.floor(Date.now() / 1000);

/** Makes a token signed with the suite's key, with changed claims; `undefined` removes a claim. */
export function makeToken(
  changes: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
): Promise<string> {
  const claims: Record<string, unknown> = {
    token_type: "refresh",
    exp: now() + 3600,
    iat: now(),
    jti: crypto.randomUUID().replaceAll("-", ""),
    user_id: "1",
    ...changes,
  };
  return new SignJWT(JSON.parse(JSON.stringify(claims)))
    .setProtectedHeader({ alg: "HS256", typ: "JWT", ...header })
    .sign(new TextEncoder().encode(secret));
}

/** Status and body in each profile. */
export type Expected = Record<"djoser" | "simplejwt", [status: number, body: unknown]>;

export const nonField = (text: string): [number, unknown] => [400, { non_field_errors: [text] }];
export const tokenError = (text: string) => ({
  djoser: nonField(text),
  simplejwt: [401, { detail: text, code: "token_not_valid" }] as [number, unknown],
});
export const both = (status: number, body: unknown) => ({
  djoser: [status, body] as [number, unknown],
  simplejwt: [status, body] as [number, unknown],
});
export const fieldErrors = (fields: Record<string, string[]>) => ({
  djoser: [
    400,
    {
      ...fields,
      non_field_errors: Object.entries(fields).flatMap(([key, texts]) => texts.map((text) => `${key}: ${text}`)),
    },
  ] as [number, unknown],
  simplejwt: [400, fields] as [number, unknown],
});
export const invalid = { ...tokenError("Token is invalid"), djoser: nonField("Token is invalid or expired") };
export const expired = { ...tokenError("Token is expired"), djoser: invalid.djoser };
export const loginRefused = {
  djoser: nonField("Unable to log in with provided credentials."),
  simplejwt: [401, { detail: "No active account found with the given credentials" }] as [number, unknown],
};
export const noAccount = {
  djoser: nonField("No active account found for the given token."),
  simplejwt: [401, { detail: "No active account found for the given token." }] as [number, unknown],
};

export type ContractClient = ReturnType<typeof createClient>;

/**
 * Sends the requests of the contract to a target, and compares its responses.
 * @param targetOf is called in tests, when the target is open.
 */
export function createClient(targetOf: () => Target) {
  const post = (endpoint: string, body: unknown, headers: Record<string, string> = {}): Promise<TestResponse> =>
    targetOf().send(`${targetOf().prefix}/jwt/${endpoint}/`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
    });

  const logIn = async (): Promise<{ access: string; refresh: string }> => {
    const { status, text } = await post("create", { username: "ada", password: "correct horse" });
    assert.is(status, 200, text);
    return JSON.parse(text);
  };

  /** Compares status and whole body, and expects `WWW-Authenticate` exactly where the status is 401. */
  function expectResponse(response: TestResponse, expected: Expected): void {
    const [status, body] = expected[targetOf().profile];
    assert.is(response.text, JSON.stringify(body));
    assert.is(response.status, status);
    assert.is(response.headers["www-authenticate"], status === 401 ? 'Bearer realm="api"' : undefined);
    assert.is(response.headers["content-type"], "application/json");
    assert.is(response.headers["cache-control"], "no-store");
    assert.is(response.headers["x-content-type-options"], "nosniff");
  }

  /** Expects the 404 of an unknown path, or the refusal of a host that keeps the path to itself. */
  function expectUnknownPath(response: TestResponse, path: string): void {
    if (targetOf().refusesPath?.(path)) assert.ok(response.status === 404 || response.status === 400, path);
    else expectResponse(response, both(404, { detail: "Not found." }));
  }

  return { targetOf, post, logIn, expectResponse, expectUnknownPath };
}
