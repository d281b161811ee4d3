/** Logins beside changes of other processes, and the host's rule and hooks. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Store, User } from "../../src/index.ts";
import { begin, expectRevoked, passwordHash, setUp, stores } from "../support/sessions.ts";

for (const [name, openStore] of stores) {
  const it = suite(`login, ${name} store`);

  it("issues no valid tokens for a login that another process's change forbids", async () => {
    const ended = begin + 0.995;
    const changes: [how: string, change: (store: Store) => unknown, isGood: boolean][] = [
      ["logout", (store) => store.updateUser("1", { tokensValidFrom: ended }), true],
      ["passwd", (store) => store.updateUser("1", { tokensValidFrom: ended, passwordHash: "!" }), false],
      ["disable", (store) => store.updateUser("1", { tokensValidFrom: ended, isActive: false }), false],
      ["remove", (store) => store.removeUser("1"), false],
      [
        "remove, add",
        async (store) => {
          await store.removeUser("1");
          await store.addUser({ username: "ada", passwordHash });
        },
        false,
      ],
    ];
    for (const [how, change, isGood] of changes) {
      for (const [at, isAfter] of [
        [begin + 0.99, false],
        [begin + 0.997, true],
        [begin + 1.005, true],
      ] as const) {
        let stale: User | undefined;
        const here = await setUp({ userIdField: "username" }, async (now) => {
          const store = await openStore(now);
          // As a process that hears of others' changes after its first look.
          const findUserByUsername: Store["findUserByUsername"] = (...asked) => {
            const known = stale ?? store.findUserByUsername(...asked);
            stale = undefined;
            return known;
          };
          return { ...store, findUserByUsername };
        });
        const told = `${how}, ${at - begin}`;
        const known = await here.store.findUserById("1");
        here.clock.seconds = ended;
        await change(here.store);
        here.clock.seconds = at;
        stale = known;
        const { status, body } = await here.post("create", { username: "ada", password: "correct horse" });
        here.clock.seconds = begin + 2;
        if (isGood && isAfter) {
          assert.equal([status, await here.verify(body.access), await here.guard(body.access)], [200, 200, 200], told);
        } else if (status === 200) await expectRevoked(here, body);
        else assert.ok(!isGood, told);
        await here.store.close();
      }
    }
  });

  it.run();
}

const it = suite("login by settings");

it("matches usernames by case as the setting says", async () => {
  const here = await setUp({ usernameMatching: "case-insensitive" });
  for (const name of ["ADA", "Ada", " aDa "]) await here.logIn(name);
  const exact = await setUp();
  assert.is((await exact.post("create", { username: "ADA", password: "correct horse" })).status, 400);
});

it("asks the host's rule and calls its hooks, never with a password", async () => {
  const told: unknown[] = [];
  const here = await setUp({
    userAuthenticationRule: async (user) => user.username !== "bea",
    onLoginSuccess: (user, { method, url }) => told.push(["in", user.username, method, new URL(url).pathname]),
    onLoginFailed: (credentials, { headers }) => told.push(["out", credentials, headers.get("content-type")]),
  });
  const { refresh: token } = await here.logIn();
  const refused = await here.post("create", { username: "bea", password: "correct horse" });
  assert.equal([refused.status, refused.text], [400, "Unable to log in with provided credentials."]);
  await here.post("create", { username: "nobody", password: "hunter2" });
  assert.equal(told, [
    ["in", "ada", "POST", "/jwt/create/"],
    ["out", { username: "bea" }, "application/json"],
    ["out", { username: "nobody" }, "application/json"],
  ]);
  assert.is((await here.refresh(token)).status, 200);
  const other = await setUp({ userAuthenticationRule: () => false });
  assert.is((await other.refresh(token)).text, "No active account found for the given token.");
});

it("responds with a bare 500 when a hook throws, and logs why", async () => {
  for (const hook of ["onLoginSuccess", "onLoginFailed", "userAuthenticationRule", "claims"] as const) {
    const here = await setUp({
      [hook]: () => {
        throw new Error("mail is down");
      },
    });
    const password = hook === "onLoginFailed" ? "wrong" : "correct horse";
    const { status, body } = await here.post("create", { username: "ada", password });
    assert.equal([status, body], [500, { detail: "Internal server error." }], hook);
    assert.is((here.log[0]!.error as Error).message, "mail is down");
  }
});

it.run();
