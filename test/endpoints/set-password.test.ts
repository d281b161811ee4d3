/** What `/users/set_password/` does under other settings and stores than the contract's. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditEvent, EndpointsStore, JwtEndpointsSettings, User } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { addContractUsers } from "../support/contract-client.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";

const it = suite("set_password");

const current = credentials.password;
const next = "a new Passw0rd, please";
const change = { current_password: current, new_password: next };

type Tokens = Record<"access" | "refresh", string>;

async function open(more: Partial<JwtEndpointsSettings> = {}) {
  const opened = await endpointsWith(more);
  const { post, send } = opened;
  const logIn = async (password = current): Promise<Tokens> =>
    JSON.parse((await post("/jwt/create/", { username: "ada", password })).text);
  const setPassword = (token: string, data: unknown, headers: Record<string, string> = {}) =>
    post("/users/set_password/", data, { authorization: `Bearer ${token}`, ...headers });
  const me = async (token: string): Promise<number> =>
    (await send("/users/me/", { headers: { authorization: `Bearer ${token}` } })).status;
  const isPassword = async (password: string): Promise<boolean> =>
    (await post("/jwt/create/", { username: "ada", password })).status === 200;
  return { ...opened, logIn, setPassword, me, isPassword };
}

it("asks for the new password twice with setPasswordRetype, and judges it before it compares the two", async () => {
  for (const responses of ["djoser", "simplejwt"] as const) {
    const { setPassword, logIn, send, isPassword } = await open({ responses, setPasswordRetype: true });
    const { access } = await logIn();
    const bodyOf = async (data: unknown) => JSON.parse((await setPassword(access, data)).text);
    assert.equal((await bodyOf(change)).re_new_password, ["This field is required."]);
    const { non_field_errors: _, ...fields } = await bodyOf({});
    assert.equal(Object.keys(fields), ["new_password", "re_new_password", "current_password"]);
    const mismatch = { non_field_errors: ["The two password fields didn't match."] };
    for (const again of ["another", `${next} `, next.toUpperCase(), next.normalize("NFD") + "\u0301"]) {
      assert.equal(await bodyOf({ ...change, re_new_password: again }), mismatch);
    }
    const short = await bodyOf({ ...change, new_password: "short", re_new_password: "another" });
    assert.match(short.new_password[0], /too short/);
    const metadata = JSON.parse((await send("/users/set_password/", { method: "OPTIONS" })).text);
    assert.equal(Object.keys(metadata.actions.POST), ["new_password", "re_new_password", "current_password"]);
    assert.not.ok(await isPassword(next));
    assert.is((await setPassword(access, { ...change, re_new_password: next })).status, 204);
    assert.ok(await isPassword(next));
  }
});

it("ends its own session with logoutOnPasswordChange or checkRevokeToken, and clears the cookies with its tokens", async () => {
  for (const carry of [[], ["refresh"], ["refresh", "access"]] as ("refresh" | "access")[][]) {
    for (const [endsOwn, more] of [
      [true, { logoutOnPasswordChange: true }],
      [true, { checkRevokeToken: true }],
      [false, {}],
    ] as const) {
      const { post, send, isPassword } = await open({ ...more, cookies: { carry } });
      const login = await post("/jwt/create/", credentials);
      const set = login.headers["set-cookie"] ?? "";
      const cookie = [...set.matchAll(/__Host-\w+=[^;]+/g)].join("; ");
      const { access } = JSON.parse(login.text);
      const bearer: Record<string, string> = access === undefined ? {} : { authorization: `Bearer ${access}` };
      const changed = await post("/users/set_password/", change, { cookie, ...bearer });
      assert.equal([changed.status, changed.text], [204, ""]);
      const after = changed.headers["set-cookie"] ?? "";
      const cleared = [...after.matchAll(/__Host-(\w+)=;[^,]*Max-Age=0/g)].map(([, name]) => name);
      assert.equal(cleared, endsOwn ? carry : [], after);
      const { status } = await send("/users/me/", { headers: { cookie, ...bearer } });
      assert.is(status, endsOwn ? 401 : 200);
      assert.ok(await isPassword(next));
    }
  }
});

it("refuses a change by a cookie that another site made the browser send", async () => {
  const { post, isPassword } = await open({ cookies: { carry: ["access"] } });
  const set = (await post("/jwt/create/", credentials)).headers["set-cookie"]!;
  const headers = { cookie: /__Host-access=[^;]+/.exec(set)![0], origin: "https://elsewhere.example" };
  assert.is((await post("/users/set_password/", change, headers)).status, 403);
  assert.not.ok(await isPassword(next));
});

it("asks the host's passwordRules, which may take a while, with the store's own user", async () => {
  const inner = memoryStore();
  await addContractUsers(inner);
  const findUserById = (id: string) => {
    const user = inner.findUserById(id) as User | undefined;
    return user && { ...user, team: "blue" };
  };
  const calls: unknown[] = [];
  const { setPassword, logIn, log, isPassword } = await open({
    store: { ...inner, findUserById },
    async passwordRules(password, user) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      calls.push([password, user.username, (user as User & { team: string }).team]);
      if (password === "fail") throw new Error("rules failed");
      return password.includes("ä") ? [] : ["Ein ä fehlt.", "Sonst nichts."];
    },
  });
  const { access } = await logIn();
  const refused = await setPassword(access, { ...change, new_password: "x" });
  assert.equal(JSON.parse(refused.text).new_password, ["Ein ä fehlt.", "Sonst nichts."]);
  assert.equal(calls, [["x", "ada", "blue"]]);
  assert.is((await setPassword(access, { ...change, current_password: "wrong", new_password: "x" })).status, 400);
  assert.is(calls.length, 1, "a wrong current password is not judged further");
  const failed = await setPassword(access, { ...change, new_password: "fail" });
  assert.equal([failed.status, failed.text], [500, '{"detail":"Internal server error."}']);
  assert.is(((log.at(-1) as { error: Error }).error as Error).message, "rules failed");
  assert.is((await setPassword(access, { ...change, new_password: "ä" })).status, 204, "nothing else is called");
  assert.ok(await isPassword("ä"));
});

it("of several changes in one instant by the same password one succeeds, and its session alone goes on", async () => {
  const now = Date.now();
  const { setPassword, logIn, me, isPassword } = await open({ rotateRefreshTokens: true, now: () => now });
  const sessions = [await logIn(), await logIn(), await logIn(), await logIn()];
  const passwords = sessions.map((_, index) => `${next} ${index}`);
  const changed = await Promise.all(
    sessions.map(({ access }, index) => setPassword(access, { ...change, new_password: passwords[index] })),
  );
  const statuses = changed.map(({ status }) => status);
  assert.equal(statuses.toSorted(), [204, 400, 400, 400]);
  for (const { status, text } of changed) {
    if (status === 400) assert.equal(JSON.parse(text).current_password, ["Invalid password."]);
  }
  const winner = statuses.indexOf(204);
  for (const [index, { access }] of sessions.entries()) {
    assert.is(await me(access), index === winner ? 200 : 401);
    assert.is(await isPassword(passwords[index]!), index === winner);
  }
  assert.not.ok(await isPassword(current));
});

it("is not served by a store that can't change users, and ends every session in one without facts", async () => {
  const inner = memoryStore();
  await addContractUsers(inner);
  const { updateUser, findUserById, findUserByUsername } = inner;
  const few: EndpointsStore = { findUserById, findUserByUsername };
  const without = await open({ store: few });
  assert.is((await without.setPassword((await without.logIn()).access, change)).status, 404);
  assert.is((await without.send("/users/set_password/", { method: "OPTIONS" })).status, 404);
  const { setPassword, logIn, me, isPassword, post } = await open({ store: { ...few, updateUser } });
  const { access, refresh } = await logIn();
  assert.is((await setPassword(access, change)).status, 204);
  assert.is(await me(access), 401);
  assert.is((await post("/jwt/refresh/", { refresh })).status, 400);
  assert.ok(await isPassword(next));
});

it("counts a wrong current password as a failed login of the account", async () => {
  let now = Date.now();
  const { setPassword, logIn, post } = await open({
    throttleFailures: "2/hour",
    clientAddress: (request) => request.headers.get("x-client") ?? undefined,
    now: () => now,
  });
  const { access } = await logIn();
  const guess = async (client: string, password: string) =>
    (await setPassword(access, { ...change, current_password: password }, { "x-client": client })).status;
  assert.equal([await guess("a", "wrong"), await guess("b", "wrong"), await guess("c", "wrong")], [400, 400, 429]);
  assert.is((await post("/jwt/create/", credentials, { "x-client": "d" })).status, 429);
  assert.is(await guess("c", current), 429, "nor is the right one tried then");
  now += 2000;
  assert.is(await guess("c", current), 204);
  now += 5000;
  const { access: later } = await logIn(next);
  for (const [field, value] of [
    ["new_password", "short"],
    ["new_password", ""],
  ]) {
    const data = { current_password: next, new_password: current, [field!]: value };
    for (let i = 0; i < 5; i++) assert.is((await setPassword(later, data, { "x-client": "c" })).status, 400);
  }
});

it("takes turns with other clients in the queue of password hashes", async () => {
  const { setPassword, logIn } = await open({
    hashing: { iterations: 100, concurrency: 1, queue: 2 },
    clientAddress: (request) => request.headers.get("x-client") ?? undefined,
    passwordRules: () => [],
  });
  const [{ access }, { access: other }] = [await logIn(), await logIn()];
  const wrong = { ...change, current_password: "wrong" };
  const flood = Array.from({ length: 10 }, () => setPassword(access, wrong, { "x-client": "192.0.2.1" }));
  const polite = await setPassword(other, wrong, { "x-client": "192.0.2.2" });
  assert.is(polite.status, 400, "it was checked");
  const statuses = (await Promise.all(flood)).map(({ status }) => status);
  assert.ok(statuses.includes(503) && statuses.includes(400), statuses.join());
});

it("responds 401 or 503, and changes nothing, when the user is gone or the store is down in the middle", async () => {
  const inner = memoryStore();
  await addContractUsers(inner);
  const { passwordHash } = (await inner.findUserById("1"))!;
  let updateUser: () => Promise<undefined> = async () => undefined;
  const store: EndpointsStore = { ...inner, updateUser: () => updateUser() };
  const { setPassword, logIn, me } = await open({ store });
  const { access } = await logIn();
  const gone = await setPassword(access, change);
  assert.is(gone.status, 400, "as any 401 of the profile djoser");
  updateUser = () => Promise.reject(Object.assign(new Error("full"), { code: "STORE_UNAVAILABLE" }));
  assert.is((await setPassword(access, change)).status, 503);
  assert.is((await inner.findUserById("1"))!.passwordHash, passwordHash);
  assert.is(await me(access), 200);
});

it("records password_changed with user, session and request, and the sessions that a user ends as logouts", async () => {
  const events: AuditEvent[] = [];
  const audit = (event: AuditEvent) => void events.push(event);
  const { setPassword, logIn, send } = await open({ audit, sessions: true });
  const [one, two, own] = [await logIn(), await logIn(), await logIn()];
  const sids = events.map(({ sessionId }) => sessionId);
  events.length = 0;
  await setPassword(own.access, { ...change, current_password: "wrong" });
  assert.equal(events, []);
  const bearer = { authorization: `Bearer ${own.access}` };
  await send(`/jwt/sessions/${sids[0]}/`, { method: "DELETE", headers: bearer });
  await send("/jwt/sessions/", { method: "DELETE", headers: bearer });
  const changed = await setPassword(own.access, change, { "x-request-id": "one-change" });
  const told = events.map(({ event, userId, sessionId }) => [event, userId, sessionId]);
  assert.equal(told, [
    ["logout", "1", sids[0]],
    ["logout", "1", sids[1]],
    ["password_changed", "1", sids[2]],
  ]);
  assert.is(events[2]!.requestId, "one-change");
  assert.is(changed.headers["x-request-id"], "one-change");
  const again = await setPassword(own.access, { current_password: next, new_password: current });
  assert.match(again.headers["x-request-id"]!, /^[0-9a-f-]{36}$/);
  assert.is(events.at(-1)!.requestId, again.headers["x-request-id"]);
  assert.not.match(JSON.stringify(events), /eyJ|correct horse|Passw0rd/);
  for (const { access } of [one, two])
    assert.is((await send("/users/me/", { headers: { authorization: `Bearer ${access}` } })).status, 401);
});

it.run();
