/** The part of the contract about the user of an access token. */
import type { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ContractClient, type TestResponse, both, makeToken } from "./contract-client.ts";

export function addUserCases(
  it: ReturnType<typeof suite>,
  { targetOf, logIn, expectResponse, expectUnknownPath }: ContractClient,
): void {
  const ask = (path: string, authorization?: string, method = "GET"): Promise<TestResponse> =>
    targetOf().send(`${targetOf().prefix}/users/${path}`, {
      method,
      headers: authorization === undefined ? {} : { authorization },
    });
  const access = (changes: Record<string, unknown> = {}): Promise<string> =>
    makeToken({ token_type: "access", ...changes });

  it("me returns email, id and username of the bearer, in this order, the id as a number", async () => {
    const tokens = await logIn();
    for (const path of ["me/", "me", "me/?format=json"]) {
      const response = await ask(path, `Bearer ${tokens.access}`);
      expectResponse(response, both(200, { email: "", id: 1, username: "ada" }));
      assert.is(response.headers.allow, "GET, HEAD, OPTIONS");
    }
    const head = await ask("me/", `Bearer ${tokens.access}`, "HEAD");
    assert.equal([head.status, head.text], [200, ""]);
  });

  it("me refuses a bearer as Simple JWT's JWTAuthentication does, in both profiles", async () => {
    const missing = { detail: "Authentication credentials were not provided." };
    for (const authorization of [undefined, "", "Basic YWRhOng=", "JWT x.y.z"]) {
      expectResponse(await ask("me/", authorization), both(401, missing));
    }
    const malformed = {
      detail: "Authorization header must contain two space-delimited values",
      code: "bad_authorization_header",
    };
    for (const authorization of ["Bearer", "Bearer a b"]) {
      expectResponse(await ask("me/", authorization), both(401, malformed));
    }
    const { refresh } = await logIn();
    const wrongType = {
      detail: "Given token not valid for any token type",
      code: "token_not_valid",
      messages: [{ token_class: "AccessToken", token_type: "access", message: "Token has wrong type" }],
    };
    expectResponse(await ask("me/", `Bearer ${refresh}`), both(401, wrongType));
    for (const [changes, detail, code] of [
      [{ user_id: undefined }, "Token contained no recognizable user identification", "token_not_valid"],
      [{ user_id: "no such id" }, "User not found", "user_not_found"],
      [{ user_id: "2" }, "User is inactive", "user_inactive"],
    ] as const) {
      expectResponse(await ask("me/", `Bearer ${await access(changes)}`), both(401, { detail, code }));
    }
  });

  it("me refuses an expired token, a changed and a malformed one", async () => {
    const tokens = await logIn();
    for (const token of [await access({ exp: 1 }), `${tokens.access}x`, "x"]) {
      const response = await ask("me/", `Bearer ${token}`);
      assert.is(response.status, 401);
      assert.is(response.headers["www-authenticate"], 'Bearer realm="api"');
      const { detail, code, messages } = JSON.parse(response.text);
      assert.equal([detail, code], ["Given token not valid for any token type", "token_not_valid"]);
      assert.is(messages.length, 1);
    }
  });

  it("me responds 405 with Allow to other methods, with and without a token, and describes itself", async () => {
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      for (const authorization of [undefined, `Bearer ${await access()}`]) {
        const response = await ask("me/", authorization, method);
        expectResponse(response, both(405, { detail: `Method "${method}" not allowed.` }));
        assert.is(response.headers.allow, "GET, HEAD, OPTIONS");
      }
    }
    const { status, headers, text } = await ask("me/", undefined, "OPTIONS");
    assert.equal([status, headers.allow], [200, "GET, HEAD, OPTIONS"]);
    assert.equal(Object.keys(JSON.parse(text)), ["name", "description", "renders", "parses"]);
  });

  it("paths end where they end: nothing follows the last slash", async () => {
    for (const path of ["me//", "me/x", "mex", "me.json", "", "1/"]) {
      expectUnknownPath(await ask(path, `Bearer ${await access()}`), path);
    }
  });
}
