/** `authenticate` and `errorResponse`: bearer tokens of a host's own requests (RFC 6750). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeToken } from "../support/contract-client.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";

const it = suite("authenticate");

const asking = (header?: string) =>
  new Request("http://localhost/me", header === undefined ? {} : { headers: { authorization: header } });

it("returns the claims and the user of a valid access token", async () => {
  const { endpoints, post } = await endpointsWith();
  const { access } = JSON.parse((await post("/jwt/create/", credentials)).text);
  for (const scheme of ["Bearer", "bearer"]) {
    const { claims, user } = await endpoints.authenticate(asking(`${scheme} ${access}`));
    assert.is(user.username, "ada");
    assert.is(claims.user_id, "1");
  }
});

it("throws a 401 whose code says why, in both profiles", async () => {
  for (const responses of ["djoser", "simplejwt"] as const) {
    const { endpoints, store, log } = await endpointsWith({ responses });
    const access = (changes: Record<string, unknown>) => makeToken({ token_type: "access", ...changes });
    const blacklisted = await access({ jti: "b1" });
    await store.putIfAbsent("blacklist", "b1", "1", Date.now() / 1000 + 60);
    const cases: [string | undefined, code: string, reason?: string][] = [
      [undefined, "not_authenticated"],
      ["Basic YTpi", "not_authenticated"],
      ["Bearer", "bad_authorization_header"],
      ["Bearer a b", "bad_authorization_header"],
      ["Bearer a", "access_token_invalid", "Token is invalid"],
      [`Bearer ${await access({ exp: 1 })}`, "access_token_invalid", "Token is expired"],
      [`Bearer ${await makeToken()}`, "access_token_invalid", "Token has wrong type"],
      [`Bearer ${blacklisted}`, "access_token_invalid", "Token is blacklisted"],
      [`Bearer ${await access({ user_id: undefined })}`, "no_user_claim"],
      [`Bearer ${await access({ user_id: "99" })}`, "user_not_found"],
      [`Bearer ${await access({ user_id: "2" })}`, "user_inactive"],
    ];
    for (const [header, code, reason] of cases) {
      const error = await endpoints.authenticate(asking(header)).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.is((error as { data: { code: string } }).data.code, code);
      const response = endpoints.errorResponse(error);
      assert.is(response.status, 401);
      const [realm, problem] = response.headers.get("www-authenticate")!.split(", ");
      assert.is(realm, 'Bearer realm="api"');
      const problems: Record<string, string> = { bad_authorization_header: 'error="invalid_request"' };
      assert.is(problem, code === "not_authenticated" ? undefined : (problems[code] ?? 'error="invalid_token"'));
      const body = (await response.json()) as { messages?: { message: string }[] };
      assert.is(body.messages?.[0]?.message, reason);
    }
    assert.equal(log, []);
  }
});

it.run();
