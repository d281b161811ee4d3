/** The part of the contract about the input, output and errors of each endpoint. */
import { decodeJwt, decodeProtectedHeader } from "jose";
import type { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type ContractClient,
  both,
  expired,
  fieldErrors,
  invalid,
  loginRefused,
  makeToken,
  noAccount,
  now,
  tokenError,
} from "./contract-client.ts";

export function addEndpointCases(it: ReturnType<typeof suite>, { post, logIn, expectResponse }: ContractClient): void {
  it("create returns refresh and access, in this order, with Simple JWT's claims", async () => {
    const response = await post("create", { username: "ada", password: "correct horse" });
    assert.is(response.status, 200);
    assert.is(response.headers["content-type"], "application/json");
    assert.is(response.headers["cache-control"], "no-store");
    assert.is(response.headers["x-content-type-options"], "nosniff");
    assert.is(response.headers.allow, "POST, OPTIONS");
    const tokens = JSON.parse(response.text) as Record<string, string>;
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

  it("trims and NFKC-normalizes the user name, and never trims the password", async () => {
    assert.is((await post("create", { username: " ada\n", password: "correct horse" })).status, 200);
    assert.is((await post("create", { username: "ﬁona", password: "correct horse" })).status, 200);
    assert.is((await post("create", { username: "spacey", password: " x " })).status, 200);
    expectResponse(await post("create", { username: "ada", password: "correct horse " }), loginRefused);
    expectResponse(await post("create", { username: "spacey", password: "x" }), loginRefused);
  });

  it("refuses wrong passwords and unknown, inactive and unusable users alike", async () => {
    for (const [username, password] of [
      ["ada", "wrong"],
      ["nobody", "correct horse"],
      ["ian", "correct horse"],
      ["unusable", "correct horse"],
      ["Ada", "correct horse"],
      ["__proto__", "correct horse"],
      ["ada", "x".repeat(5000)],
    ]) {
      expectResponse(await post("create", { username, password }), loginRefused);
    }
  });

  it("names every wrong field, in DRF's words", async () => {
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
      ['{"username":"a\\udc00b","password":"x"}', { username: ["Surrogate characters are not allowed: U+DC00."] }],
      [
        { username: "\x1c\x85\u3000", password: "a\0b" },
        { username: ["This field may not be blank."], password: ["Null characters are not allowed."] },
      ],
    ];
    for (const [body, fields] of cases) expectResponse(await post("create", body), fieldErrors(fields));
    for (const [endpoint, field] of [
      ["refresh", "refresh"],
      ["verify", "token"],
      ["blacklist", "refresh"],
    ] as const) {
      expectResponse(await post(endpoint, {}), fieldErrors({ [field]: ["This field is required."] }));
      expectResponse(
        await post(endpoint, { [field]: null }),
        fieldErrors({ [field]: ["This field may not be null."] }),
      );
      expectResponse(
        await post(endpoint, { [field]: " " }),
        fieldErrors({ [field]: ["This field may not be blank."] }),
      );
    }
  });

  it("accepts a number as a string, as DRF does", async () => {
    expectResponse(await post("create", { username: 12, password: 3.5 }), loginRefused);
    expectResponse(await post("verify", { token: 12 }), invalid);
  });

  it("refuses a body that is no object and names its Python type", async () => {
    for (const [body, type] of [
      ["[]", "list"],
      ['"a"', "str"],
      ["1", "int"],
      ["1.0", "float"],
      ["1e3", "float"],
      ["true", "bool"],
    ]) {
      const text = `Invalid data. Expected a dictionary, but got ${type}.`;
      expectResponse(await post("create", body), both(400, { non_field_errors: [text] }));
    }
    expectResponse(await post("create", "null"), both(400, { non_field_errors: ["No data provided"] }));
  });

  it("refresh returns a new access token alone, and the refresh token stays valid", async () => {
    const { refresh, access } = await logIn();
    for (let i = 0; i < 2; i++) {
      const response = await post("refresh", { refresh });
      assert.is(response.status, 200);
      const body = JSON.parse(response.text) as { access: string };
      assert.equal(Object.keys(body), ["access"]);
      assert.is.not(body.access, access);
      assert.is(decodeJwt(body.access).user_id, "1");
    }
  });

  it("verify returns an empty object for a valid token of either type, and for one without a type", async () => {
    const { refresh, access } = await logIn();
    for (const token of [refresh, access, ` ${access}\n`, await makeToken({ token_type: undefined })]) {
      expectResponse(await post("verify", { token }), both(200, {}));
    }
  });

  it("refuses tokens that are malformed, expired, not yet valid or signed with another key", async () => {
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
      await makeToken({ exp: now() - 1, nbf: now() + 60 }),
      await makeToken({ nbf: now() + 60 }),
      await makeToken({ iat: now() + 60 }),
      await makeToken({ exp: "never" }),
      await makeToken({}, { crit: ["x"], x: 1 }).catch(() => "x.y.z"),
    ];
    for (const token of bad) {
      expectResponse(await post("verify", { token }), invalid);
      expectResponse(await post("refresh", { refresh: token }), invalid);
      expectResponse(await post("blacklist", { refresh: token }), invalid);
    }
    for (const token of [await makeToken({ exp: now() - 1 }), await makeToken({ exp: 1, jti: undefined })]) {
      expectResponse(await post("verify", { token }), expired);
      expectResponse(await post("refresh", { refresh: token }), expired);
      expectResponse(await post("blacklist", { refresh: token }), expired);
    }
  });

  it("reads a token with much white space inside or around it", async () => {
    expectResponse(await post("verify", { token: `a${" ".repeat(60_000)}a` }), invalid);
    const { access } = await logIn();
    expectResponse(
      await post("verify", { token: `${"\n".repeat(10_000)}${access}${" ".repeat(10_000)}` }),
      both(200, {}),
    );
  });

  it("names the claim that a token lacks: its type, its id, its expiry", async () => {
    const { access } = await logIn();
    expectResponse(await post("refresh", { refresh: access }), tokenError("Token has wrong type"));
    expectResponse(await post("blacklist", { refresh: access }), tokenError("Token has wrong type"));
    const noType = await makeToken({ token_type: undefined });
    expectResponse(await post("refresh", { refresh: noType }), tokenError("Token has no type"));
    for (const [claim, text] of [
      ["jti", "Token has no id"],
      ["exp", "Token has no 'exp' claim"],
    ] as const) {
      const token = await makeToken({ [claim]: undefined });
      expectResponse(await post("refresh", { refresh: token }), tokenError(text));
      expectResponse(await post("verify", { token }), tokenError(text));
    }
  });

  it("refuses a refresh token whose user is gone, inactive or not named", async () => {
    for (const user_id of ["no such id", "2", undefined, { a: 1 }]) {
      expectResponse(await post("refresh", { refresh: await makeToken({ user_id }) }), noAccount);
    }
    assert.is(
      (await post("refresh", { refresh: await makeToken({ user_id: 1 }) })).status,
      200,
      "a number is read too",
    );
  });

  it("blacklist and logout revoke one refresh token everywhere, no other, and can be repeated", async () => {
    const { refresh } = await logIn();
    const other = await logIn();
    expectResponse(await post("blacklist", { refresh }), both(200, {}));
    expectResponse(await post("refresh", { refresh }), tokenError("Token is blacklisted"));
    expectResponse(await post("logout", { refresh }), both(200, {}));
    expectResponse(await post("verify", { token: refresh }), both(400, { non_field_errors: ["Token is blacklisted"] }));
    assert.is((await post("refresh", { refresh: other.refresh })).status, 200);
  });
}
