/** The part of the contract about changing the password. */
import type { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ContractClient, type TestResponse, both, fieldErrors, makeToken } from "./contract-client.ts";

const required = ["This field is required."];

export function addPasswordCases(
  it: ReturnType<typeof suite>,
  { targetOf, post, expectResponse }: ContractClient,
): void {
  const change = (token: string | undefined, body: unknown, method = "POST"): Promise<TestResponse> =>
    targetOf().send(`${targetOf().prefix}/users/set_password/`, {
      method,
      headers: { "content-type": "application/json", ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify(body),
    });
  const logIn = async (password: string): Promise<{ access: string; refresh: string }> =>
    JSON.parse((await post("create", { username: "fiona", password })).text);
  const me = async (token: string): Promise<number> =>
    (await targetOf().send(`${targetOf().prefix}/users/me/`, { headers: { authorization: `Bearer ${token}` } })).status;

  it("set_password refuses a missing and a wrong password under the field's name, as Djoser does", async () => {
    const { access } = await logIn("correct horse");
    const wrong = ["Invalid password."];
    const accepted = "a new Passw0rd, please";
    for (const [body, fields] of [
      [{}, { new_password: required, current_password: required }],
      [{ new_password: accepted }, { current_password: required }],
      [{ current_password: "wrong" }, { new_password: required, current_password: wrong }],
      [{ current_password: "correct horse" }, { new_password: required }],
      [{ new_password: accepted, current_password: "wrong" }, { current_password: wrong }],
      [{ new_password: "short", current_password: "wrong" }, { current_password: wrong }],
      [
        { new_password: "", current_password: null },
        { new_password: ["This field may not be blank."], current_password: ["This field may not be null."] },
      ],
      [{ new_password: ["x"], current_password: "correct horse" }, { new_password: ["Not a valid string."] }],
    ] as [unknown, Record<string, string[]>][]) {
      expectResponse(await change(access, body), fieldErrors(fields));
    }
    const list = { non_field_errors: ["Invalid data. Expected a dictionary, but got list."] };
    expectResponse(await change(access, []), both(400, list));
  });

  it("set_password reads an empty body and a long one as any", async () => {
    const { access } = await logIn("correct horse");
    const wrong = fieldErrors({ current_password: ["Invalid password."] });
    const missing = fieldErrors({ new_password: required, current_password: required });
    const body = JSON.stringify({ new_password: "a new Passw0rd, please", current_password: "wrong" });
    for (const [text, expected] of [
      [undefined, missing],
      [body + " ".repeat(40_000), wrong],
      [`${" ".repeat(60_000)}${body}`, wrong],
    ] as const) {
      const headers = { "content-type": "application/json", authorization: `Bearer ${access}` };
      const request = { method: "POST", headers, ...(text !== undefined && { body: text }) };
      expectResponse(await targetOf().send(`${targetOf().prefix}/users/set_password/`, request), expected);
    }
    const large = await change(access, { new_password: "x".repeat(70_000) });
    assert.is(large.status, 413);
  });

  it("set_password refuses a weak password with the texts of Django's validators", async () => {
    const { access } = await logIn("correct horse");
    const short = "This password is too short. It must contain at least 8 characters.";
    const common = "This password is too common.";
    const numeric = "This password is entirely numeric.";
    for (const [password, texts] of [
      ["Zx9_#q", [short]],
      ["12345", [short, common, numeric]],
      ["83645019278", [numeric]],
      ["PassWord1", [common]],
      [" iloveyou ", [common]],
      ["fiona", ["The password is too similar to the username.", short, common]],
      ["fiona123", ["The password is too similar to the username."]],
      ["x".repeat(5000), ["This password is too long. It must contain at most 4096 bytes."]],
      [83645019278, [numeric]], // a number is read as its text
      [-1.5, [short]],
    ] as [unknown, string[]][]) {
      const response = await change(access, { new_password: password, current_password: "correct horse" });
      expectResponse(response, fieldErrors({ new_password: texts }));
    }
  });

  it("set_password needs the user's access token, and takes a POST alone", async () => {
    const body = { new_password: "a new Passw0rd, please", current_password: "correct horse" };
    const missing = { detail: "Authentication credentials were not provided." };
    expectResponse(await change(undefined, body), both(401, missing));
    assert.is((await change((await logIn("correct horse")).refresh, body)).status, 401);
    const inactive = { detail: "User is inactive", code: "user_inactive" };
    expectResponse(await change(await makeToken({ token_type: "access", user_id: "2" }), body), both(401, inactive));
    for (const method of ["PUT", "PATCH", "DELETE"]) {
      const response = await change(undefined, {}, method);
      expectResponse(response, both(405, { detail: `Method "${method}" not allowed.` }));
      assert.is(response.headers.allow, "POST, OPTIONS");
    }
    const path = `${targetOf().prefix}/users/set_password`;
    const { text } = await targetOf().send(path, { method: "OPTIONS" });
    assert.equal(Object.keys(JSON.parse(text).actions.POST), ["new_password", "current_password"]);
  });

  it("set_password returns an empty 204; this session goes on, and all others end", async () => {
    let [old, next] = ["correct horse", "a new Passw0rd, please"];
    for (let round = 0; round < 2; round++) {
      const other = await logIn(old);
      await new Promise((resolve) => setTimeout(resolve, 1100)); // logins within one second are one session
      const own = await logIn(old);
      const response = await change(own.access, { new_password: next, current_password: old, unknown: 1 });
      assert.equal([response.status, response.text], [204, ""]);
      assert.is(response.headers["content-type"], undefined);
      assert.is(response.headers.allow, "POST, OPTIONS");
      assert.equal([await me(own.access), await me(other.access)], [200, 401]);
      assert.is(
        (await post("refresh", { refresh: other.refresh })).status,
        targetOf().profile === "djoser" ? 400 : 401,
      );
      const refreshed = await post("refresh", { refresh: own.refresh });
      assert.is(refreshed.status, 200, "the own session can be refreshed");
      assert.is(await me(JSON.parse(refreshed.text).access), 200);
      assert.is((await post("create", { username: "fiona", password: old })).text.includes("access"), false);
      [old, next] = [next, old];
      if (round === 0) next = "another Passw0rd, please";
    }
    const { access } = await logIn(old);
    const back = { new_password: "correct horse", current_password: old };
    assert.is((await change(access, back)).status, 204, "as it was, for other cases");
  });
}
