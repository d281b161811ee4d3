/** Rotation of refresh tokens, its grace period and reuse detection. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type Store, StoreError } from "../../src/index.ts";
import { codesOf, expectRevoked, jtiOf, setUp, stores } from "../support/sessions.ts";

for (const [name, openStore] of stores) {
  const it = suite(`rotation, ${name} store`);
  const setUpHere = (more?: Partial<JwtEndpointsSettings>) => setUp(more, openStore);

  it("returns one successor to fifty refreshes of a token at once", async () => {
    for (const more of [{}, { blacklistAfterRotation: true }, { refreshGrace: "until-used" }]) {
      const { logIn, refresh, log, store } = await setUpHere(more);
      const { refresh: token } = await logIn();
      const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(token)));
      assert.equal(new Set(answers.map(({ status }) => status)), new Set([200]));
      assert.is(new Set(answers.map(({ body }) => body.refresh)).size, 1);
      assert.is(new Set(answers.map(({ body }) => body.access)).size, 50);
      assert.is.not(answers[0]!.body.refresh, token);
      assert.equal(log, []);
      await store.close();
    }
  });

  it("returns the same successor within the grace period, and ends the session on reuse after it", async () => {
    const here = await setUpHere({ refreshGrace: "10s" });
    const first = await here.logIn();
    const second = (await here.refresh(first.refresh)).body;
    here.clock.seconds += 9;
    const again = (await here.refresh(first.refresh)).body;
    assert.is(again.refresh, second.refresh);
    const third = (await here.refresh(second.refresh)).body;
    assert.is(await here.verify(third.access), 200);
    here.clock.seconds += 2;
    assert.is(await here.verify(first.refresh), 400, "to ask of it is not to use it again");
    assert.is((await here.refresh(third.refresh)).status, 200);
    const reused = await here.refresh(first.refresh);
    assert.equal([reused.status, reused.text], [400, "Token is blacklisted"]);
    await expectRevoked(here, first, second, third, again);
    assert.equal(codesOf(here.log), ["refresh_reuse"]);
    assert.is(here.log[0]!.userId, "1");
    assert.not.match(JSON.stringify(here.log), first.refresh.slice(40, 80));
    assert.is((await here.refresh((await here.logIn()).refresh)).status, 200, "a new login is a new session");
  });

  it("does not prolong the grace period when the clock is set back, and bears clocks that differ by seconds", async () => {
    for (const [refreshGrace, back, status] of [
      ["10s", 4, 200],
      ["1s", 4, 200],
      ["10s", 3600, 400],
      ["1s", 60, 400],
    ] as const) {
      const here = await setUpHere({ refreshGrace });
      const first = await here.logIn();
      here.clock.seconds += 7200;
      const second = (await here.refresh(first.refresh)).body;
      here.clock.seconds -= back;
      const told = `${refreshGrace}, ${back} s back`;
      assert.is(await here.verify(first.refresh), status, told);
      const again = await here.refresh(first.refresh);
      assert.is(again.status, status, told);
      if (status === 200) assert.is(again.body.refresh, second.refresh);
      here.clock.seconds += back;
      if (status === 400) await expectRevoked(here, second);
      await here.store.close();
    }
  });

  it("lets one of several racing refreshes win without a grace period, and ends the session", async () => {
    const here = await setUpHere({ refreshGrace: 0 });
    const { refresh: token } = await here.logIn();
    const answers = await Promise.all(Array.from({ length: 10 }, () => here.refresh(token)));
    const won = answers.filter(({ status }) => status === 200);
    assert.is(won.length, 1);
    await expectRevoked(here, ...won.map(({ body }) => body));
    assert.ok(codesOf(here.log).includes("refresh_reuse"));
  });

  it("detects reuse without a grace period even if the second request to arrive began first", async () => {
    let isFirst = true;
    const here = await setUp({ refreshGrace: 0 }, async (now) => {
      const store = await openStore(now);
      const findUserById = async (id: string) => {
        const user = await store.findUserById(id);
        if (isFirst) {
          isFirst = false;
          here.clock.seconds += 0.001;
          assert.is((await here.refresh(token)).status, 200); // asked later, and yet the first to use it
        }
        return user;
      };
      return { ...store, findUserById };
    });
    const { refresh: token } = await here.logIn();
    assert.is((await here.refresh(token)).status, 400);
    assert.equal(codesOf(here.log), ["refresh_reuse"]);
  });

  it("returns the same successor until the successor is used with refreshGrace until-used", async () => {
    const here = await setUpHere({ refreshGrace: "until-used" });
    const first = await here.logIn();
    const second = (await here.refresh(first.refresh)).body;
    here.clock.seconds += 10_000;
    assert.is((await here.refresh(first.refresh)).body.refresh, second.refresh);
    const third = (await here.refresh(second.refresh)).body;
    assert.is((await here.refresh(first.refresh)).status, 400);
    await expectRevoked(here, third);
  });

  it("revokes the newest descendant too when it is refreshed at the moment of reuse", async () => {
    for (let round = 0; round < 20; round++) {
      const here = await setUpHere({ refreshGrace: 1 });
      const first = await here.logIn();
      const second = (await here.refresh(first.refresh)).body;
      here.clock.seconds += 2;
      const tries = [() => here.refresh(second.refresh), () => here.refresh(first.refresh)];
      if (round % 2 === 1) tries.reverse();
      const answers = await Promise.all(tries.map((ask) => ask()));
      await expectRevoked(here, second, ...answers.filter(({ status }) => status === 200).map(({ body }) => body));
      await here.store.close();
    }
  });

  it("keeps used tokens valid without blacklistAfterRotation, as Simple JWT does", async () => {
    const here = await setUpHere({ blacklistAfterRotation: false });
    const first = await here.logIn();
    const answers = [await here.refresh(first.refresh), await here.refresh(first.refresh)];
    here.clock.seconds += 3600;
    answers.push(await here.refresh(first.refresh));
    assert.is(new Set(answers.map(({ body }) => jtiOf(body.refresh))).size, 3);
    assert.is((await here.post("blacklist", { refresh: answers[1]!.body.refresh })).status, 200);
    await expectRevoked(here, first, ...answers.map(({ body }) => ({ refresh: body.refresh })));
  });

  it("returns the same successor after an outage swallowed the first response", async () => {
    let isDown = false;
    const here = await setUp({}, async (now) => {
      const store = await openStore(now);
      const putIfAbsent: Store["putIfAbsent"] = async (...fact) => {
        const standing = await store.putIfAbsent(...fact);
        if (isDown) throw new StoreError("STORE_UNAVAILABLE", "the connection was lost");
        return standing;
      };
      return { ...store, putIfAbsent };
    });
    const { refresh: token } = await here.logIn();
    isDown = true;
    assert.is((await here.refresh(token)).status, 503);
    isDown = false;
    const answers = [await here.refresh(token), await here.refresh(token)];
    assert.is(answers[0]!.status, 200);
    assert.is(answers[0]!.body.refresh, answers[1]!.body.refresh);
    assert.equal(codesOf(here.log), ["store_unavailable"]);
  });

  it.run();
}

const settings = suite("rotation by settings");

settings(
  "needs no store that can revoke without blacklistAfterRotation, and returns {access} alone when it is off",
  async () => {
    const { store } = await setUp();
    const { findUserById, findUserByUsername } = store;
    const poor = { findUserById, findUserByUsername };
    const rotating = await setUp({ store: poor, blacklistAfterRotation: false }, () => store);
    const first = await rotating.logIn();
    const next = (await rotating.refresh(first.refresh)).body;
    for (const token of [first.refresh, next.refresh]) assert.is((await rotating.refresh(token)).status, 200);
    assert.is(await rotating.guard(next.access), 200);
    const still = await setUp({ rotateRefreshTokens: false });
    const pair = await still.logIn();
    for (let i = 0; i < 3; i++) {
      const { body } = await still.refresh(pair.refresh);
      assert.equal([Object.keys(body), decodeJwt(body.access).sid], [["access"], undefined]);
      still.clock.seconds += 3600;
    }
    assert.is(decodeJwt(pair.refresh).sid, undefined);
    assert.is((await still.post("logout", { refresh: pair.refresh })).status, 200);
    await expectRevoked(still, { refresh: pair.refresh });
  },
);

settings("reports a reused token in both profiles", async () => {
  const here = await setUp({ responses: "simplejwt", refreshGrace: 0 });
  const { refresh: token } = await here.logIn();
  const next = (await here.refresh(token)).body;
  for (const used of [token, token, next.refresh]) {
    const { status, body } = await here.refresh(used);
    assert.equal([status, body], [401, { detail: "Token is blacklisted", code: "token_not_valid" }]);
    const asked = await here.post("verify", { token: used });
    assert.equal([asked.status, asked.body], [400, { non_field_errors: ["Token is blacklisted"] }]);
  }
  assert.equal(codesOf(here.log), ["refresh_reuse"], "said once");
});

settings.run();
