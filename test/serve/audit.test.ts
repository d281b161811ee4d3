/** What the server program and the commands write: audit events in the log or a file, and no secret anywhere. */
import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { LogEvent } from "../../src/index.ts";
import { auditEventNames } from "../../src/settings/schema.ts";
import { eventLine } from "../../src/program/events.ts";
import { hashFor, jsonFile, run, user, usersOf } from "../support/commands.ts";
import { secret } from "../support/contract-client.ts";
import { keysIn } from "../support/key-command.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import { runtime, start, temporaryFolder, environmentWith } from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";
import { entry, json, logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: audit`);

interface Line {
  event?: string;
  userId?: string;
  [name: string]: unknown;
}

const linesIn = (text: string): Line[] =>
  text
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Line);
const eventsIn = (text: string): Line[] => linesIn(text).filter(({ event }) => event !== undefined);

const marked = {
  password: "marked-password-1",
  next: "marked-next-password-4",
  wrong: "marked-wrong-2",
  key: "marked-key-".padEnd(40, "3"),
};

/** The members of an event beside `time`, `level` and `event`: of one that a request caused, and of a command's. */
const ofRequest = ["client", "requestId", "sessionId", "userId"];
const members: Record<string, string[]> = {
  login: ofRequest,
  refresh: ofRequest,
  refresh_reuse: ofRequest,
  logout: ofRequest,
  password_changed: ofRequest,
  throttled: ["client", "requestId"],
  user_added: ["userId"],
  user_disabled: ["userId"],
  user_enabled: ["userId"],
  user_removed: ["userId"],
  users_imported: ["count"],
  keys_rotated: ["keyId"],
  key_retired: ["keyId"],
};

for (const target of ["stderr", "file"]) {
  it(`writes all members of each event, but no password, token, key or hash, to ${target}`, async () => {
    const folder = temporaryFolder();
    const store = `file:${folder}/store`;
    const file = path.join(folder, "audit.log");
    const flags = ["--rotate-refresh-tokens", "true", "--refresh-grace", "0", "--throttle", "100/min"];
    const env = {
      JWT_AUDIT_LOG: target === "file" ? file : target,
      JWT_AUDIT_EVENTS: auditEventNames.join(","),
      JWT_STORE: store,
      JWT_HASHING_ITERATIONS: "1",
    };
    let written = "";
    const command = async (program: string, args: string[], input = "") => {
      const { code, stdout, stderr } = await run(program, args, { env, input });
      assert.is(code, 0, stderr);
      written += stdout + stderr;
    };
    await command("user", ["add", "ada", "--password-stdin"], `${marked.password}\n`);
    const server = await serve(flags, { ...env, JWT_SIGNING_KEY: marked.key });
    const tokens: string[] = [];
    const post = async (route: string, body: unknown, headers: Record<string, string> = json) => {
      const init = { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body) };
      const { text } = await server.send(route, init);
      tokens.push(...[...text.matchAll(/eyJ[\w.-]+/g)].map(([token]) => token));
      return text;
    };
    await server.send("/jwt/create/", logIn("ada", marked.wrong));
    await server.send("/jwt/create/", logIn(marked.password, marked.password)); // typed into the wrong field
    const pair = JSON.parse(await post("/jwt/create/", { username: "ada", password: marked.password })) as {
      refresh: string;
      access: string;
    };
    const bearer = { ...json, authorization: `Bearer ${pair.access}`, "x-request-id": pair.access };
    for (const route of ["refresh", "refresh", "verify", "logout", "create", "blacklist"]) {
      const fields = { refresh: pair.refresh, token: pair.access, username: "ada", password: marked.wrong };
      await post(`/jwt/${route}/?token=${pair.access}`, fields, bearer);
      await post(`/jwt/${route}/${pair.refresh}`, fields, bearer);
      await post(`/jwt/${route}/`, `{"password":"${marked.wrong}"`, { ...bearer, cookie: `refresh=${pair.refresh}` });
    }
    await server.send(`/users/me/?access=${pair.access}`, { headers: bearer });
    await server.send(`/${pair.refresh}`, { method: "DELETE", headers: bearer });
    const again = JSON.parse(await post("/jwt/create/", { username: "ada", password: marked.password })) as typeof pair;
    const change = { current_password: marked.password, new_password: marked.next };
    await post("/users/set_password/", { ...change, current_password: marked.wrong }, bearer);
    await post("/users/set_password/", change, { ...json, authorization: `Bearer ${again.access}` });
    const requestOnce = async () => (await server.send("/jwt/create/", { method: "POST" })).status;
    for (let i = 0; i < 100 && (await requestOnce()) !== 429; i++);
    assert.is(await server.stop(), 0);
    const hashes = (await usersOf(store)).map(({ passwordHash }) => passwordHash);
    await command("user", ["passwd", "ada", "--password-stdin"], `${marked.password}\n`);
    for (const verb of ["disable", "enable", "remove"]) await command("user", [verb, "ada"]);
    await command("user", ["import", jsonFile([{ username: "grace", password: hashFor(1) }])]);
    for (let i = 0; i < 2; i++) await command("keys", ["rotate"]);
    const { kid } = keysIn(`${folder}/store`).find(({ status }) => status === "retiring")!;
    await command("keys", ["retire", kid!]);
    const keys = fs.readFileSync(path.join(folder, "store/keys.json"), "utf8");
    const secrets = [...keys.matchAll(/"k":\s*"([\w-]+)"/g)].map(([, key]) => key!);
    assert.ok(secrets.length > 0 && hashes.length > 0);

    const log = target === "file" ? fs.readFileSync(file, "utf8") : "";
    written += server.output() + server.errors() + log;
    const events = eventsIn(written);
    assert.equal([...new Set(events.map(({ event }) => event!))].toSorted(), auditEventNames.toSorted());
    if (target === "file") assert.equal(eventsIn(log), events, "the file has them all, and it alone");
    for (const { time, level, event, ...details } of events) {
      assert.is(new Date(time as string).toISOString(), time);
      assert.is(level, "info");
      const names = Object.keys(details).toSorted();
      if (event === "login_failed") {
        const known = details["reason"] === "unknown_user" ? [] : ["userId"];
        assert.equal(names, ["client", "reason", "requestId", ...known]);
      } else if (event === "password_changed" && details["client"] === undefined) assert.equal(names, ["userId"]);
      else assert.equal(names, members[event!], event);
    }
    const parts = tokens.flatMap((token) => token.split("."));
    const header = parts[0];
    const all = [...Object.values(marked), ...secrets, ...hashes, "pbkdf2_sha256$", "eyJ"];
    for (const text of [...all, ...parts.filter((part) => part !== header)]) {
      assert.not.ok(written.includes(text), `the log holds ${text}`);
    }
  });
}

it("appends events of servers and commands to one file, closed to others, that may be moved away", async () => {
  const folder = temporaryFolder();
  const [store, file] = [`file:${folder}/store`, path.join(folder, "audit.log")];
  const env = { JWT_AUDIT_LOG: file, JWT_STORE: store, JWT_HASHING_ITERATIONS: "1" };
  const typed = { input: "hunter2 hunter2\n", env };
  await user(["add", "ada", "--password-stdin"], typed);
  const server = await serve([], env);
  await server.send("/jwt/create/", {
    ...logIn("ada", "hunter2 hunter2"),
    headers: { ...json, "x-request-id": "r-1" },
  });
  await until(() => fs.readFileSync(file, "utf8").includes('"login"'), "the login is there");
  fs.renameSync(file, `${file}.1`);
  await server.send("/jwt/create/", logIn("ada", "hunter3"));
  assert.is(await server.stop(), 0);
  for (const args of [
    ["passwd", "ada", "--password-stdin"],
    ["disable", "ada"],
    ["enable", "ada"],
    ["logout", "ada"],
  ]) {
    await user(args, typed);
  }
  await user(["remove", "ada"], { env: { ...env, JWT_AUDIT_EVENTS: "login" } });
  await run("keys", ["rotate"], { env });
  const before = eventsIn(fs.readFileSync(`${file}.1`, "utf8"));
  const later = eventsIn(fs.readFileSync(file, "utf8"));
  assert.equal(
    before.map(({ event }) => event),
    ["user_added", "login"],
  );
  const names = ["login_failed", "password_changed", "user_disabled", "user_enabled", "logout", "keys_rotated"];
  assert.equal(
    later.map(({ event }) => event),
    names,
  );
  assert.equal([before[1]!.requestId, before[1]!.client], ["r-1", "127.0.0.1"]);
  for (const { event, userId } of [...before, ...later]) {
    assert.is(userId, event === "keys_rotated" ? undefined : before[0]!.userId, event);
  }
  assert.not.match(server.errors(), '"event"');
  assert.is(fs.statSync(file).mode & 0o777, 0o600);
});

it("is switched off by off, and refuses a file that can't be written to", async () => {
  const server = await serve(["--store", "memory:", "--audit-log", "off"], { JWT_SIGNING_KEY: secret });
  await server.send("/jwt/create/", logIn("ada", "x"));
  assert.is(await server.stop(), 0);
  assert.not.match(server.errors(), '"event"');
  const args = ["--store", "memory:", "--audit-log", "/dev/null/audit.log"];
  const { code, stderr } = await finished(start(entry, args, { env: environmentWith({}) }));
  assert.equal(
    [code, stderr.trim()],
    [1, "jwt-endpoints: setting auditLog: /dev/null/audit.log can't be written to: ENOTDIR"],
  );
  const env = { JWT_AUDIT_LOG: "stderr", JWT_STORE: `file:${path.join(temporaryFolder(), "none")}` };
  assert.match((await user(["list"], { env })).stderr, "there is no store");
});

it("writes lines for a person on a terminal, in which no client's text can play tricks", () => {
  const time = "2026-11-26T12:00:00.000Z";
  const event = { time, event: "login", userId: "1", client: "\x1b[2J\u202e x", sessionId: undefined } as const;
  assert.is(eventLine(event, true), '12:00:00  info  login  userId=1  client="\\u001b[2J? x"');
  assert.equal(JSON.parse(eventLine(event, false)), {
    time,
    level: "info",
    event: "login",
    userId: "1",
    client: event.client,
  });
  const warning = { level: "warn", code: "weak_setting", message: "few iterations" } as const;
  assert.match(eventLine(warning, true), /^\d\d:\d\d:\d\d {2}warn {2}weak_setting {2}few iterations$/);
});

it("writes one line on a terminal and indents the stack, whatever text an error quotes", () => {
  const random = randomFrom(seedFrom());
  const parts = [
    "\n",
    "\r",
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\x9b1A",
    "\ud800",
    "\u202e",
    "\u2028",
    "\0",
    "\b",
    "a",
    "12:00:00  info  login",
  ];
  const text = () => Array.from({ length: random.below(12) }, () => random.pick(parts)).join("");
  for (let i = 0; i < 2000; i++) {
    const error = new Error(text());
    if (random.chance(0.1)) Object.defineProperty(error, "stack", { value: [text()] }); // as `prepareStackTrace` may
    const details = { userId: text(), error: random.chance(0.5) ? error : undefined };
    const event = { level: "error", code: "internal_error", message: text(), ...details } as unknown as LogEvent;
    const [first, ...stack] = eventLine(event, true).split("\n");
    assert.match(first!, /^\d\d:\d\d:\d\d {2}error {2}internal_error {2}/);
    for (const line of [first!, ...stack]) assert.not.match(line, /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u);
    for (const line of stack) assert.match(line, /^ {2}/);
    const line = eventLine(event, false);
    assert.not.match(line, /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u);
    assert.equal(
      [JSON.parse(line).userId, JSON.parse(line).message],
      [details.userId, (event as { message: string }).message],
    );
  }
});

it.run();
