/** The part of the contract about the sessions that users see and end, which are recorded only with the setting `sessions`. */
import { decodeJwt } from "jose";
import type { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ContractClient, type TestResponse, both, makeToken, tokenError } from "./contract-client.ts";

type Tokens = Record<"access" | "refresh", string>;

const notFound = both(404, { detail: "Not found." });
const sidOf = (token: string): string => decodeJwt(token).sid as string;

export function addSessionCases(
  it: ReturnType<typeof suite>,
  { targetOf, post, expectResponse }: ContractClient,
): void {
  const send = (method: string, path: string, token?: string): Promise<TestResponse> =>
    targetOf().send(`${targetOf().prefix}/jwt/${path}`, {
      method,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    });
  const logIn = async (username = "ada"): Promise<Tokens> => {
    const headers = { "user-agent": `suite of ${username}` };
    return JSON.parse((await post("create", { username, password: "correct horse" }, headers)).text);
  };
  const idsOf = async (token: string): Promise<string[]> =>
    JSON.parse((await send("GET", "sessions/", token)).text).map(({ id }: { id: string }) => id);
  const end = async (path: string, token: string): Promise<void> => {
    const response = await send("DELETE", path, token);
    assert.equal([response.status, response.text], [204, ""]);
    assert.is(response.headers["content-type"], undefined);
    assert.is(response.headers["cache-control"], "no-store");
  };
  const expectEnded = async ({ access, refresh }: Tokens): Promise<void> => {
    expectResponse(await post("refresh", { refresh }), tokenError("Token is blacklisted"));
    for (const token of [access, refresh]) {
      expectResponse(await post("verify", { token }), both(400, { non_field_errors: ["Token is blacklisted"] }));
    }
    const messages = [{ token_class: "AccessToken", token_type: "access", message: "Token is blacklisted" }];
    const detail = "Given token not valid for any token type";
    const refused = both(401, { detail, code: "token_not_valid", messages });
    expectResponse(await send("GET", "sessions/", access), refused);
  };
  const expectGoingOn = async ({ access, refresh }: Tokens): Promise<void> => {
    expectResponse(await post("verify", { token: access }), both(200, {}));
    assert.is((await post("refresh", { refresh })).status, 200);
  };

  it("sessions lists the bearer's sessions, the newest first and the current one marked", async () => {
    const [first, second, other] = [await logIn("ada"), await logIn("ada"), await logIn("fiona")];
    for (const path of ["sessions/", "sessions", "sessions/?x"]) {
      const response = await send("GET", path, first.access);
      assert.is(response.status, 200);
      assert.is(response.headers.allow, "GET, HEAD, DELETE, OPTIONS");
      assert.is(response.headers["content-type"], "application/json");
      assert.is(response.headers["cache-control"], "no-store");
      const rows = JSON.parse(response.text) as Record<string, unknown>[];
      const keys = ["id", "current", "created_at", "last_used_at", "expires_at", "ip", "user_agent"];
      for (const row of rows) assert.equal(Object.keys(row), keys);
      const shown = rows.map(({ id, current, user_agent }) => [id, current, user_agent]);
      assert.equal(shown, [
        [sidOf(second.access), false, "suite of ada"],
        [sidOf(first.access), true, "suite of ada"],
      ]);
      for (const key of ["created_at", "last_used_at", "expires_at"]) {
        assert.match(rows[0]![key] as string, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      }
    }
    assert.equal(await idsOf(other.access), [sidOf(other.access)]);
    const head = await send("HEAD", "sessions/", first.access);
    assert.equal([head.status, head.text], [200, ""]);
    const refreshed = JSON.parse((await post("refresh", { refresh: first.refresh })).text) as Tokens;
    assert.is(sidOf(refreshed.access), sidOf(first.access), "a refreshed token stays in its session");
    await end("sessions/", first.access);
  });

  it("sessions/{id} ends one session with all its tokens, and can't be repeated", async () => {
    const [own, other] = [await logIn(), await logIn()];
    await end(`sessions/${sidOf(other.access)}/`, own.access);
    await expectEnded(other);
    expectResponse(await send("DELETE", `sessions/${sidOf(other.access)}/`, own.access), notFound);
    await expectGoingOn(own);
    await end(`sessions/${sidOf(own.access)}`, own.access);
    await expectEnded(own);
  });

  it("sessions ends all sessions but the current one, and can be repeated", async () => {
    const [first, own, last, other] = [await logIn(), await logIn(), await logIn(), await logIn("fiona")];
    await end("sessions/", own.access);
    await end("sessions", own.access);
    for (const ended of [first, last]) await expectEnded(ended);
    for (const tokens of [own, other]) await expectGoingOn(tokens);
    assert.equal(await idsOf(own.access), [sidOf(own.access)]);
  });

  it("sessions/{id} responds 404 to the id of another user's session as to an unknown one", async () => {
    const [own, other] = [await logIn(), await logIn("fiona")];
    const { jti } = decodeJwt(own.access);
    for (const id of [sidOf(other.access), sidOf(own.access).toUpperCase(), jti!, "unknown", "__proto__", "0", "%"]) {
      expectResponse(await send("DELETE", `sessions/${id}/`, own.access), notFound);
    }
    for (const id of ["%2e%2e", "%00", "%ff", "%F0%9F%98%80", "a%2Fb", "+", "x".repeat(4000)]) {
      expectResponse(await send("DELETE", `sessions/${id}`, own.access), notFound);
    }
    for (const path of [`sessions/${sidOf(own.access)}//`, "sessions//", `sessions/${sidOf(own.access)}/x`]) {
      expectResponse(await send("DELETE", path, own.access), notFound);
    }
    for (const tokens of [own, other]) await expectGoingOn(tokens);
  });

  it("sessions needs an access token, whosever session it is", async () => {
    const { access, refresh } = await logIn();
    const missing = both(401, { detail: "Authentication credentials were not provided." });
    const noUser = { detail: "User not found", code: "user_not_found" };
    const stranger = await makeToken({ token_type: "access", user_id: "no such id" });
    for (const [method, path] of [
      ["GET", "sessions/"],
      ["HEAD", "sessions/"],
      ["DELETE", "sessions/"],
      ["DELETE", `sessions/${sidOf(access)}/`],
      ["DELETE", "sessions/unknown/"],
    ] as const) {
      const refused = await send(method, path);
      if (method === "HEAD") assert.equal([refused.status, refused.text], [401, ""]);
      else expectResponse(refused, missing);
      assert.is((await send(method, path, refresh)).status, 401, "a refresh token is none");
      if (method !== "HEAD") expectResponse(await send(method, path, stranger), both(401, noUser));
    }
    await expectGoingOn({ access, refresh });
  });

  it("sessions responds 405 with Allow to other methods, with and without a token, and describes itself", async () => {
    const { access } = await logIn();
    for (const token of [undefined, access]) {
      for (const [path, methods, allow] of [
        ["sessions/", ["POST", "PUT", "PATCH"], "GET, HEAD, DELETE, OPTIONS"],
        ["sessions/x/", ["GET", "HEAD", "POST", "PUT", "PATCH"], "DELETE, OPTIONS"],
      ] as const) {
        for (const method of methods) {
          const response = await send(method, path, token);
          if (method !== "HEAD") expectResponse(response, both(405, { detail: `Method "${method}" not allowed.` }));
          assert.equal([response.status, response.headers.allow], [405, allow]);
        }
        const { status, headers, text } = await send("OPTIONS", path, token);
        assert.equal([status, headers.allow], [200, allow]);
        assert.equal(Object.keys(JSON.parse(text)), ["name", "description", "renders", "parses"]);
      }
    }
  });

  it("logout and set_password take what they end out of the list", async () => {
    const [out, own, other] = [await logIn("fiona"), await logIn("fiona"), await logIn("fiona")];
    assert.is((await post("logout", { refresh: out.refresh })).status, 200);
    const ids = await idsOf(own.access);
    assert.ok(!ids.includes(sidOf(out.access)) && ids.includes(sidOf(other.access)));
    const { status } = await targetOf().send(`${targetOf().prefix}/users/set_password/`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${own.access}` },
      body: JSON.stringify({ current_password: "correct horse", new_password: "another Passw0rd, please" }),
    });
    assert.is(status, 204);
    await expectEnded(other);
    assert.equal(await idsOf(own.access), [sidOf(own.access)]);
    await expectGoingOn(own);
  });
}
