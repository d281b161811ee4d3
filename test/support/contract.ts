/**
 * The HTTP contract, row by row, as a suite over anything that answers requests: the handler in process, or a server on a
 * socket under any runtime. Both response profiles are written out as they must arrive.
 */
import { SignJWT, decodeJwt, decodeProtectedHeader } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createPasswords } from "../../src/index.ts";
import type { Store } from "../../src/stores/store.ts";

export interface Answer {
  status: number;
  headers: Record<string, string | undefined>;
  text: string;
}

export interface Asked {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
}

export interface Target {
  profile: "djoser" | "simplejwt";
  prefix: string;
  send(path: string, asked: Asked): Promise<Answer>;
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

const now = (): number => Math.floor(Date.now() / 1000);

/** A token signed with the suite's key, with any claims changed; `undefined` takes one away. */
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

export function httpContract(
  name: string,
  open: () => Promise<Target>,
  close: () => Promise<void> = async () => {},
): void {
  const it = suite(`${name}: contract`);
  let target: Target;

  const post = (endpoint: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    target.send(`${target.prefix}/jwt/${endpoint}/`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
    });

  const logIn = async (): Promise<{ access: string; refresh: string }> => {
    const { status, text } = await post("create", { username: "ada", password: "correct horse" });
    assert.is(status, 200, text);
    return JSON.parse(text);
  };

  /** Status, whole body, and `WWW-Authenticate` exactly where the status is 401. */
  function expectAnswer(
    answer: Answer,
    expected: Record<"djoser" | "simplejwt", [status: number, body: unknown]>,
  ): void {
    const [status, body] = expected[target.profile];
    assert.is(answer.text, JSON.stringify(body));
    assert.is(answer.status, status);
    assert.is(answer.headers["www-authenticate"], status === 401 ? 'Bearer realm="api"' : undefined);
    assert.is(answer.headers["content-type"], "application/json");
    assert.is(answer.headers["cache-control"], "no-store");
    assert.is(answer.headers["x-content-type-options"], "nosniff");
  }

  const nonField = (text: string): [number, unknown] => [400, { non_field_errors: [text] }];
  const tokenError = (text: string) => ({
    djoser: nonField(text),
    simplejwt: [401, { detail: text, code: "token_not_valid" }] as [number, unknown],
  });
  const both = (status: number, body: unknown) => ({
    djoser: [status, body] as [number, unknown],
    simplejwt: [status, body] as [number, unknown],
  });
  const fieldErrors = (fields: Record<string, string[]>) => ({
    djoser: [
      400,
      {
        ...fields,
        non_field_errors: Object.entries(fields).flatMap(([key, texts]) => texts.map((text) => `${key}: ${text}`)),
      },
    ] as [number, unknown],
    simplejwt: [400, fields] as [number, unknown],
  });
  const invalid = tokenError("Token is invalid or expired");
  const loginRefused = {
    djoser: nonField("Unable to log in with provided credentials."),
    simplejwt: [401, { detail: "No active account found with the given credentials" }] as [number, unknown],
  };
  const noAccount = {
    djoser: nonField("No active account found for the given token."),
    simplejwt: [401, { detail: "No active account found for the given token." }] as [number, unknown],
  };

  it.before(async () => {
    target = await open();
  });
  it.after(close);

  it("create answers refresh and access, in this order, with Simple JWT's claims", async () => {
    const answer = await post("create", { username: "ada", password: "correct horse" });
    assert.is(answer.status, 200);
    assert.is(answer.headers["content-type"], "application/json");
    assert.is(answer.headers["cache-control"], "no-store");
    assert.is(answer.headers["x-content-type-options"], "nosniff");
    assert.is(answer.headers.allow, "POST, OPTIONS");
    const tokens = JSON.parse(answer.text) as Record<string, string>;
    assert.equal(Object.keys(tokens), ["refresh", "access"]);
    for (const [type, lifetime] of [
      ["refresh", 86_400],
      ["access", 300],
    ] as const) {
      assert.equal(decodeProtectedHeader(tokens[type]!), { alg: "HS256", typ: "JWT" });
      const claims = decodeJwt(tokens[type]!);
      assert.equal(Object.keys(claims), ["token_type", "exp", "iat", "jti", "user_id", "auth_time"]);
      assert.is(claims.auth_time, claims.iat);
      assert.is(claims.token_type, type);
      assert.is(claims.user_id, "1");
      assert.is(claims.exp! - claims.iat!, lifetime);
      assert.match(claims.jti as string, /^[0-9a-f]{32}$/);
    }
  });

  it("create takes JSON, with or without charset, form and multipart bodies", async () => {
    const multipart =
      '--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nada\r\n' +
      '--x\r\nContent-Disposition: form-data; name="password"\r\n\r\ncorrect horse\r\n--x--\r\n';
    const bodies: [string, string][] = [
      ["application/json; charset=utf-8", '{"username":"ada","password":"correct horse"}'],
      ["APPLICATION/JSON", '{"username":"ada","password":"correct horse"}'],
      ["application/x-www-form-urlencoded", "username=ada&password=correct+horse"],
      ["application/x-www-form-urlencoded; charset=UTF-8", "username=no&username=%61da&password=correct%20horse"],
      ["multipart/form-data; boundary=x", multipart],
    ];
    for (const [type, body] of bodies) {
      const answer = await post("create", body, { "content-type": type });
      assert.is(answer.status, 200, `${type}: ${answer.text}`);
    }
  });

  it("trims and NFKC-normalizes the user name, and never trims the password", async () => {
    assert.is((await post("create", { username: " ada\n", password: "correct horse" })).status, 200);
    assert.is((await post("create", { username: "ﬁona", password: "correct horse" })).status, 200);
    assert.is((await post("create", { username: "spacey", password: " x " })).status, 200);
    expectAnswer(await post("create", { username: "ada", password: "correct horse " }), loginRefused);
    expectAnswer(await post("create", { username: "spacey", password: "x" }), loginRefused);
  });

  it("refuses wrong passwords, unknown, inactive and unusable users all alike", async () => {
    for (const [username, password] of [
      ["ada", "wrong"],
      ["nobody", "correct horse"],
      ["ian", "correct horse"],
      ["unusable", "correct horse"],
      ["Ada", "correct horse"],
      ["__proto__", "correct horse"],
      ["ada", "x".repeat(5000)],
    ]) {
      expectAnswer(await post("create", { username, password }), loginRefused);
    }
  });

  it("names every field that is wrong, in DRF's words", async () => {
    const cases: [body: unknown, fields: Record<string, string[]>][] = [
      [{}, { username: ["This field is required."], password: ["This field is required."] }],
      [{ username: "ada" }, { password: ["This field is required."] }],
      [
        { username: null, password: null },
        { username: ["This field may not be null."], password: ["This field may not be null."] },
      ],
      [
        { username: " \t", password: "" },
        { username: ["This field may not be blank."], password: ["This field may not be blank."] },
      ],
      [
        { username: true, password: ["x"] },
        { username: ["Not a valid string."], password: ["Not a valid string."] },
      ],
      [{ username: { a: 1 }, password: "x" }, { username: ["Not a valid string."] }],
      [{ username: "a\0b", password: "x" }, { username: ["Null characters are not allowed."] }],
      ['{"username":"ada","password":"\\ud800"}', { password: ["Surrogate characters are not allowed: U+D800."] }],
    ];
    for (const [body, fields] of cases) expectAnswer(await post("create", body), fieldErrors(fields));
    for (const [endpoint, field] of [
      ["refresh", "refresh"],
      ["verify", "token"],
      ["blacklist", "refresh"],
    ] as const) {
      expectAnswer(await post(endpoint, {}), fieldErrors({ [field]: ["This field is required."] }));
      expectAnswer(await post(endpoint, { [field]: null }), fieldErrors({ [field]: ["This field may not be null."] }));
      expectAnswer(await post(endpoint, { [field]: " " }), fieldErrors({ [field]: ["This field may not be blank."] }));
    }
  });

  it("takes any character of UTF-8 in a value, the replacement character too", async () => {
    for (const password of ["pässwörd", "🦊", "\ufffd", "\ufeffx"]) {
      expectAnswer(await post("create", { username: "ada", password }), loginRefused);
    }
  });

  it("takes a number for a string, as DRF does", async () => {
    expectAnswer(await post("create", { username: 12, password: 3.5 }), loginRefused);
    expectAnswer(await post("verify", { token: 12 }), invalid);
  });

  it("treats an empty body as an empty object, whatever its type", async () => {
    const wanted = fieldErrors({ token: ["This field is required."] });
    expectAnswer(await post("verify", ""), wanted);
    expectAnswer(await post("verify", "", { "content-type": "text/plain" }), wanted);
    expectAnswer(await post("verify", "", { "content-type": "application/x-www-form-urlencoded" }), wanted);
  });

  it("refuses a body that is no object, naming its Python type", async () => {
    for (const [body, type] of [
      ["[]", "list"],
      ['"a"', "str"],
      ["1", "int"],
      ["1.0", "float"],
      ["1e3", "float"],
      ["true", "bool"],
    ]) {
      const text = `Invalid data. Expected a dictionary, but got ${type}.`;
      expectAnswer(await post("create", body), both(400, { non_field_errors: [text] }));
    }
    expectAnswer(await post("create", "null"), both(400, { non_field_errors: ["No data provided"] }));
  });

  it("refuses a body that can't be parsed and says where, as Python's json module does", async () => {
    const cases: [string | Uint8Array, string][] = [
      ["{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"],
      ["x", "Expecting value: line 1 column 1 (char 0)"],
      ['{"a":1}}', "Extra data: line 1 column 8 (char 7)"],
      ['{"a" 1}', "Expecting ':' delimiter: line 1 column 6 (char 5)"],
      ['{"a":1\n"b":2}', "Expecting ',' delimiter: line 2 column 1 (char 7)"],
      ['{"a":"b', "Unterminated string starting at: line 1 column 6 (char 5)"],
      ['{"a":"\\x"}', "Invalid \\escape: line 1 column 7 (char 6)"],
      [new Uint8Array([0x7b, 0xff, 0x7d]), "the body is not UTF-8"],
      [new Uint8Array([0x22, 0xc3, 0x28, 0x22]), "the body is not UTF-8"],
      [
        new Uint8Array([0xef, 0xbb, 0xbf, 0x7b, 0x7d]),
        "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
      ],
    ];
    for (const [body, text] of cases) {
      expectAnswer(await post("create", body), {
        djoser: nonField(`JSON parse error - ${text}`),
        simplejwt: [400, { detail: `JSON parse error - ${text}` }],
      });
    }
    const answer = await post("create", "garbage", { "content-type": "multipart/form-data" });
    assert.is(answer.status, 400);
    assert.match(answer.text, "Multipart form parse error");
  });

  it("refresh answers a new access token alone, and the refresh token stays good", async () => {
    const { refresh, access } = await logIn();
    for (let i = 0; i < 2; i++) {
      const answer = await post("refresh", { refresh });
      assert.is(answer.status, 200);
      const body = JSON.parse(answer.text) as { access: string };
      assert.equal(Object.keys(body), ["access"]);
      assert.is.not(body.access, access);
      assert.is(decodeJwt(body.access).user_id, "1");
    }
  });

  it("verify answers an empty object for a good token of either type, and for one without a type", async () => {
    const { refresh, access } = await logIn();
    for (const token of [refresh, access, ` ${access}\n`, await makeToken({ token_type: undefined })]) {
      expectAnswer(await post("verify", { token }), both(200, {}));
    }
  });

  it("refuses tokens that are malformed, expired, not yet valid or signed by somebody else", async () => {
    const { refresh } = await logIn();
    const [header, payload, signature] = refresh.split(".") as [string, string, string];
    const bad = [
      "a",
      "a.b.c",
      "..",
      `${header}.${payload}.`,
      `${header}.${payload}`,
      `${refresh}.`,
      `${refresh}=`,
      `${header}.${payload}.${"A".repeat(signature.length)}`,
      `${header}.${payload} .${signature}`,
      await makeToken({ exp: now() - 1 }),
      await makeToken({ nbf: now() + 60 }),
      await makeToken({ iat: now() + 60 }),
      await makeToken({ exp: "never" }),
      await makeToken({}, { crit: ["x"], x: 1 }).catch(() => "x.y.z"),
    ];
    for (const token of bad) {
      expectAnswer(await post("verify", { token }), invalid);
      expectAnswer(await post("refresh", { refresh: token }), invalid);
      expectAnswer(await post("blacklist", { refresh: token }), invalid);
    }
  });

  it("reads a token that is mostly white space, inside and around", async () => {
    expectAnswer(await post("verify", { token: `a${" ".repeat(60_000)}a` }), invalid);
    const { access } = await logIn();
    expectAnswer(
      await post("verify", { token: `${"\n".repeat(10_000)}${access}${" ".repeat(10_000)}` }),
      both(200, {}),
    );
  });

  it("says what a token lacks: its type, its id, its expiry", async () => {
    const { access } = await logIn();
    expectAnswer(await post("refresh", { refresh: access }), tokenError("Token has wrong type"));
    expectAnswer(await post("blacklist", { refresh: access }), tokenError("Token has wrong type"));
    const noType = await makeToken({ token_type: undefined });
    expectAnswer(await post("refresh", { refresh: noType }), tokenError("Token has no type"));
    for (const [claim, text] of [
      ["jti", "Token has no id"],
      ["exp", "Token has no 'exp' claim"],
    ] as const) {
      const token = await makeToken({ [claim]: undefined });
      expectAnswer(await post("refresh", { refresh: token }), tokenError(text));
      expectAnswer(await post("verify", { token }), tokenError(text));
    }
  });

  it("refuses a refresh token whose user is gone, inactive or not named", async () => {
    for (const user_id of ["no such id", "2", undefined, { a: 1 }]) {
      expectAnswer(await post("refresh", { refresh: await makeToken({ user_id }) }), noAccount);
    }
    assert.is(
      (await post("refresh", { refresh: await makeToken({ user_id: 1 }) })).status,
      200,
      "a number is read too",
    );
  });

  it("blacklist, also as logout, makes a refresh token void everywhere, and no other, however often", async () => {
    const { refresh } = await logIn();
    const other = await logIn();
    expectAnswer(await post("blacklist", { refresh }), both(200, {}));
    expectAnswer(await post("refresh", { refresh }), tokenError("Token is blacklisted"));
    expectAnswer(await post("logout", { refresh }), both(200, {}));
    expectAnswer(await post("verify", { token: refresh }), both(400, { non_field_errors: ["Token is blacklisted"] }));
    assert.is((await post("refresh", { refresh: other.refresh })).status, 200);
  });

  it("lets neither an Authorization header nor a cookie change an answer", async () => {
    const headers = {
      authorization: `Bearer ${await makeToken({ exp: 1 })}`,
      cookie: "sessionid=stale; access=expired",
    };
    const answer = await post("create", { username: "ada", password: "correct horse" }, headers);
    assert.is(answer.status, 200);
    expectAnswer(await post("verify", { token: "x" }, headers), invalid);
  });

  it("takes paths with and without the last slash, with a query, and percent-encoded", async () => {
    for (const path of ["/jwt/verify", "/jwt/verify/", "/jwt/verify/?next=/", "/jwt/%76erify/"]) {
      const answer = await target.send(target.prefix + path, { method: "POST" });
      assert.is(answer.status, 400, path);
    }
  });

  it("answers 404 for unknown paths", async () => {
    for (const path of ["/", "/jwt/", "/jwt/create//", "/jwt/nothing/", "/JWT/create/", "/jwt/create/x", "/jwt/%zz"]) {
      const answer = await target.send(path, { method: "POST" });
      expectAnswer(answer, both(404, { detail: "Not found." }));
    }
    if (target.prefix !== "") assert.is((await target.send("/jwt/create/", { method: "POST" })).status, 404);
  });

  it("answers 405 with Allow for other methods, HEAD without a body", async () => {
    for (const method of ["GET", "PUT", "PATCH", "DELETE"]) {
      const answer = await target.send(`${target.prefix}/jwt/create/`, { method });
      expectAnswer(answer, both(405, { detail: `Method "${method}" not allowed.` }));
      assert.is(answer.headers.allow, "POST, OPTIONS");
    }
    const head = await target.send(`${target.prefix}/jwt/create/`, { method: "HEAD" });
    assert.is(head.status, 405);
    assert.is(head.text, "");
  });

  it("answers 406 when JSON is not accepted", async () => {
    for (const accept of ["text/html", "application/xml, text/*", "application/json;q=0"]) {
      const answer = await post("verify", {}, { accept });
      expectAnswer(answer, both(406, { detail: "Could not satisfy the request Accept header." }));
    }
    for (const accept of ["*/*", "application/*", "text/html, application/json;q=0.9"]) {
      assert.is((await post("verify", {}, { accept })).status, 400, accept);
    }
  });

  it("answers 413 beyond the body limit, also when the length is not declared", async () => {
    const answer = await post("verify", JSON.stringify({ token: "x".repeat(70_000) }));
    expectAnswer(answer, both(413, { detail: "Request body is larger than 65536 bytes." }));
    assert.is(
      (await post("verify", JSON.stringify({ token: "x".repeat(60_000) }))).status,
      target.profile === "djoser" ? 400 : 401,
    );
  });

  it("answers 415 for other media types, naming them", async () => {
    for (const type of ["text/plain", "application/xml; a=b", "application/jsonx"]) {
      const answer = await post("verify", "{}", { "content-type": type });
      expectAnswer(answer, both(415, { detail: `Unsupported media type "${type}" in request.` }));
    }
  });

  it("describes each endpoint on OPTIONS", async () => {
    const answer = await target.send(`${target.prefix}/jwt/create/`, { method: "OPTIONS" });
    assert.is(answer.status, 200);
    assert.is(answer.headers.allow, "POST, OPTIONS");
    const body = JSON.parse(answer.text);
    assert.equal(Object.keys(body), ["name", "description", "renders", "parses", "actions"]);
    assert.equal(Object.keys(body.actions.POST), ["username", "password"]);
    assert.equal(body.parses, ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]);
  });

  it("tells that it is alive and ready", async () => {
    for (const path of ["/healthz", "/readyz"]) {
      const answer = await target.send(path, { method: "GET" });
      assert.is(answer.status, 200);
      assert.is(answer.text, '{"status":"ok"}');
      const head = await target.send(path, { method: "HEAD" });
      assert.is(head.status, 200);
      assert.is(head.text, "");
      assert.is((await target.send(path, { method: "POST" })).status, 405);
    }
  });

  it("serves many at once", async () => {
    const { access } = await logIn();
    const answers = await Promise.all(Array.from({ length: 100 }, () => post("verify", { token: access })));
    assert.ok(answers.every(({ status, text }) => status === 200 && text === "{}"));
  });

  it.run();
}
