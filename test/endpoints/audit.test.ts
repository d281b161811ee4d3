/** Audit events: their names and fields, and that neither they nor their hook affect a response. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditEvent, JwtEndpointsSettings } from "../../src/index.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";

const it = suite("audit events");

async function audited(more: Partial<JwtEndpointsSettings> = {}) {
  const events: AuditEvent[] = [];
  const audit = (event: AuditEvent) => void events.push(event);
  const clientAddress = () => "192.0.2.7";
  return { ...(await endpointsWith({ audit, clientAddress, ...more })), events };
}

const wrong = { ...credentials, password: "marked-wrong" };
const named = (events: AuditEvent[]) => events.map(({ event }) => event);
const every = ["login", "login_failed", "refresh", "refresh_reuse", "logout", "throttled"] as const;

it("report login, refresh, reuse and logout of one session, with user, client and request", async () => {
  const { post, events } = await audited({ rotateRefreshTokens: true, refreshGrace: 0, auditEvents: [...every] });
  const headers = { "x-request-id": "req-1.a:b" };
  const login = await post("/jwt/create/", credentials, headers);
  const { refresh } = JSON.parse(login.text) as { refresh: string };
  const next = JSON.parse((await post("/jwt/refresh/", { refresh })).text) as { refresh: string };
  await post("/jwt/refresh/", { refresh });
  await post("/jwt/logout/", next);
  assert.equal(named(events), ["login", "refresh", "refresh_reuse", "logout"]);
  const [{ userId, sessionId, requestId, client, time }] = events as [AuditEvent];
  assert.equal([requestId, client], ["req-1.a:b", "192.0.2.7"]);
  assert.is(new Date(time).toISOString(), time);
  assert.ok(userId !== undefined && sessionId !== undefined);
  for (const event of events) assert.equal([event.userId, event.sessionId], [userId, sessionId], event.event);
  assert.not.match(JSON.stringify(events), /eyJ|correct horse/);
});

it("omit refresh by default, and events that auditEvents does not list", async () => {
  const { post, events } = await audited();
  const { refresh } = JSON.parse((await post("/jwt/create/", credentials)).text) as { refresh: string };
  await post("/jwt/refresh/", { refresh });
  assert.equal(named(events), ["login"]);
  const failures = await audited({ auditEvents: ["login_failed"] });
  await failures.post("/jwt/create/", credentials);
  await failures.post("/jwt/create/", wrong);
  assert.equal(named(failures.events), ["login_failed"]);
});

it("say why a login failed, while the client learns nothing, and name no unknown user", async () => {
  const { post, events, store } = await audited();
  const ada = (await store.findUserByUsername(credentials.username))!;
  const responses = [await post("/jwt/create/", wrong)];
  responses.push(await post("/jwt/create/", { username: "marked-name", password: "marked-wrong" }));
  await store.updateUser(ada.id, { isActive: false });
  responses.push(await post("/jwt/create/", credentials));
  await store.updateUser(ada.id, { passwordHash: "md9$unknown" });
  responses.push(await post("/jwt/create/", credentials));
  const reasons = events.map(({ reason, userId }) => [reason, userId]);
  assert.equal(reasons, [
    ["wrong_password", ada.id],
    ["unknown_user", undefined],
    ["not_allowed", ada.id],
    ["unusable_hash", ada.id],
  ]);
  assert.is(new Set(responses.map(({ status, text }) => `${status} ${text}`)).size, 1);
  assert.not.match(JSON.stringify(events), /marked|correct horse|md9/);
});

it("tell of a throttled request and of the host's revokeUser", async () => {
  const { post, events, endpoints, store } = await audited({ throttle: "1/min" });
  await post("/jwt/create/", wrong);
  await post("/jwt/create/", wrong);
  const { id } = (await store.findUserByUsername(credentials.username))!;
  await endpoints.revokeUser(id);
  await endpoints.revokeUser("nobody");
  assert.equal(named(events), ["login_failed", "throttled", "logout"]);
  assert.equal([events[1]!.client, events[2]!.userId, events[2]!.client], ["192.0.2.7", id, undefined]);
});

it("name the user and the session whose limit a request reached, where they are known", async () => {
  const limits = { throttleFailures: "1/hour", throttleRotations: "1/hour", rotateRefreshTokens: true } as const;
  const { post, events } = await audited({ ...limits, auditEvents: ["login", "throttled"] });
  const pair = JSON.parse((await post("/jwt/create/", credentials)).text) as { access: string; refresh: string };
  const successor = JSON.parse((await post("/jwt/refresh/", pair)).text) as { refresh: string };
  await post("/jwt/refresh/", successor);
  const bearer = { authorization: `Bearer ${pair.access}` };
  const change = { current_password: "marked-wrong", new_password: "marked-new-password" };
  for (let i = 0; i < 2; i++) await post("/users/set_password/", change, bearer);
  await post("/jwt/create/", credentials);
  for (let i = 0; i < 2; i++) await post("/jwt/create/", { ...wrong, username: "marked-name" });
  const [login, ...throttled] = events;
  assert.equal(
    throttled.map(({ userId, sessionId, client, requestId }) => [userId, sessionId, client, requestId?.length]),
    [
      [login!.userId, login!.sessionId, "192.0.2.7", 36],
      [login!.userId, undefined, "192.0.2.7", 36],
      [undefined, undefined, "192.0.2.7", 36],
      [undefined, undefined, "192.0.2.7", 36],
    ],
    "a rotation, a changed password, and logins, whose user is not looked up",
  );
  assert.not.match(JSON.stringify(events), /marked|eyJ/);
});

it("send a request's id back, and make one for an event of a request without a sane one", async () => {
  const { post, send, events } = await audited();
  const id = (response: { headers: Record<string, string> }) => response.headers["x-request-id"];
  assert.is(id(await post("/jwt/verify/", { token: "x" }, { "x-request-id": "abc" })), "abc");
  assert.is(id(await send("/nowhere", { headers: { "x-request-id": "abc" } })), "abc");
  assert.is(id(await post("/jwt/verify/", { token: "x" })), undefined);
  const token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoiMSJ9.AAAAAAAAAAA";
  for (const insane of ["", "two words", "a,b", "é", token, "x".repeat(65)]) {
    const made = id(await post("/jwt/create/", wrong, { "x-request-id": insane }));
    assert.match(made!, /^[0-9a-f-]{36}$/, insane);
    assert.is(events.at(-1)!.requestId, made);
  }
  const off = await endpointsWith();
  assert.is(id(await off.post("/jwt/create/", credentials, { "x-request-id": "abc" })), undefined);
});

it("never fail a request when the hook or clientAddress fails", async () => {
  const boom = () => {
    throw new Error("boom");
  };
  for (const more of [{ audit: boom }, { audit: async () => boom() }, { audit: () => {}, clientAddress: boom }]) {
    const { post, log } = await endpointsWith(more);
    assert.is((await post("/jwt/create/", credentials)).status, 200);
    assert.equal(log.map(({ code, message }) => [code, message])[0], [
      "log_failed",
      "the audit hook failed for the event login",
    ]);
  }
});

it.run();
