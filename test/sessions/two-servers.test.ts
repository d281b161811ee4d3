/** Sessions on two servers that share a folder, in processes of their own. */
import path from "node:path";
import process from "node:process";
import { decodeJwt } from "jose";
import { Agent, request } from "undici";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints } from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { finished, until } from "../support/processes.ts";
import { roundsHere } from "../support/random.ts";
import { runtime, start, temporaryFolder } from "../support/runtime.ts";
import {
  type OpenStore,
  type Pair,
  begin,
  expectRevoked,
  refreshing,
  secret,
  setUp,
  signed,
  rotating,
} from "../support/sessions.ts";
import { unlimited } from "../support/server.ts";

const two = suite(`two ${runtime} servers on one folder`);

/** Starts two servers on one folder, hands out `post`, and stops them afterwards. */
async function withServers(
  more: string[],
  use: (
    post: (server: number, endpoint: string, data: unknown) => Promise<{ status: number; body: Pair }>,
    credentials: unknown,
    folder: string,
  ) => Promise<void>,
): Promise<void> {
  const folder = path.join(temporaryFolder(), "data");
  const args = ["--port", "0", "--store", `file:${folder}`, "--hashing-iterations", "1", ...unlimited];
  const dispatcher = new Agent({ connections: 20 });
  const children = [];
  const origins: string[] = [];
  let told = "";
  for (let i = 0; i < 2; i++) {
    const child = start(`src/serve/${runtime}.ts`, [...args, ...more]);
    children.push(child);
    let mine = "";
    child.stdout!.on("data", (chunk: Uint8Array) => (mine += chunk.toString()));
    await until(() => mine.includes("runtime  ") && (i > 0 || mine.includes("curl")), "the server has started", 20_000);
    origins.push(/http:\/\/[^/\s]+/.exec(mine)![0]);
    told += mine;
  }
  try {
    await use(
      async (server, endpoint, data) => {
        const body = JSON.stringify(data);
        const headers = { "content-type": "application/json" };
        const url = `${origins[server]}/jwt/${endpoint}/`;
        const answer = await request(url, { method: "POST", headers, body, dispatcher });
        return { status: answer.statusCode, body: (await answer.body.json()) as Pair };
      },
      JSON.parse(/-d '(\{.*\})'/.exec(told)![1]!),
      folder,
    );
  } finally {
    await dispatcher.close?.(); // not in the undici that Bun brings
    for (const child of children) {
      process.kill(child.pid!, "SIGTERM");
      await new Promise((resolve) => child.once("close", resolve));
    }
  }
}

two("agree on the successor of a token, and on ended sessions", () =>
  withServers([...rotating, "--refresh-grace", "2s"], async (post, credentials) => {
    for (let round = 0; round < 10; round++) {
      const { refresh: token } = (await post(round % 2, "create", credentials)).body;
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, i) => post(i % 2, "refresh", { refresh: token })),
      );
      assert.equal(new Set(answers.map(({ status }) => status)), new Set([200]));
      const [successor, ...others] = new Set(answers.map(({ body }) => body.refresh));
      assert.equal(others, []);
      assert.is((await post(round % 2, "logout", { refresh: token })).status, 200);
      // The other one sees it within 50 ms, or before its own next write.
      assert.is((await post((round + 1) % 2, "refresh", { refresh: successor })).status, 400);
    }
  }),
);

for (const [grace, what, endpoint] of [
  ["1h", "whose session the other one has ended", "logout"],
  ["until-used", "whose successor the other one has used", "refresh"],
] as const) {
  two(`refuse a used token ${what}, from the moment that was acknowledged`, () =>
    withServers([...rotating, "--refresh-grace", grace], async (post, credentials) => {
      for (let round = 0; round < 20; round++) {
        const [here, there] = [round % 2, (round + 1) % 2];
        const { refresh: token } = (await post(here, "create", credentials)).body;
        const { refresh: successor } = (await post(here, "refresh", { refresh: token })).body;
        const again = await post(there, "refresh", { refresh: token });
        assert.equal([again.status, again.body.refresh], [200, successor], "known there, and within the grace period");
        assert.is((await post(here, endpoint, { refresh: successor })).status, 200);
        assert.is((await post(there, "refresh", { refresh: token })).status, 400, `round ${round}`);
      }
    }),
  );
}

for (const [what, more] of refreshing) {
  two(
    `refuse a user's tokens for good, even if one of them had not read the revocation at refresh, ${what}`,
    async () => {
      const folder = temporaryFolder();
      const clock = { seconds: begin };
      const openStore: OpenStore = (now) => openFileStore(folder, { now });
      const here = await setUp(more, openStore, clock);
      const there = await setUp(more, openStore, clock);
      const field = more.authTokenClasses === undefined ? "refresh" : "token";
      let unheard = 0;
      for (let round = 1; round <= 40 && unheard < 6; round++) {
        clock.seconds = begin + round * 10 + 0.995;
        const own = (await here.logIn())[field];
        const foreign = await signed({ ...decodeJwt(own), auth_time: undefined, sid: undefined, jti: `${round}` });
        await until(async () => (await there.verify(own)) === 200, "the other store answers");
        const { tokensValidFrom: before } = (await there.store.findUserById("1"))!;
        await here.endpoints.revokeUser("1");
        clock.seconds += 0.01; // a second of its own, in which whole seconds tell later from earlier
        if ((await there.store.findUserById("1"))!.tokensValidFrom === before) unheard++;
        const answers = await Promise.all([own, foreign].map((token) => there.post("refresh", { [field]: token })));
        const marked = (await here.store.findUserById("1"))!.tokensValidFrom;
        const hasHeard = async () => (await there.store.findUserById("1"))!.tokensValidFrom === marked;
        await until(hasHeard, "the other one has heard of it");
        for (const { body } of answers.filter(({ status }) => status === 200)) {
          for (const token of Object.values<string>(body as Pair)) {
            assert.equal([await there.verify(token), await there.guard(token)], [400, 401], `round ${round}`);
            assert.is((await there.post("refresh", { [field]: token })).status, 400, `round ${round}`);
          }
        }
        const fresh = await there.logIn();
        for (const token of Object.values(fresh)) assert.is(await here.verify(token), 200, "a later login is valid");
      }
      assert.ok(unheard > 0);
      await here.store.close();
      await there.store.close();
    },
  );
}

two("let no token refreshed across the boundary of a second survive a user's revocation", async () => {
  // Side by side, because most of the time goes into waiting for the boundary.
  await Promise.all(refreshing.map(([what, , flags]) => refreshAcrossSecond(what, flags)));
});

const refreshAcrossSecond = (what: string, flags: string[]) =>
  withServers(flags, async (post, credentials, folder) => {
    const store = await openFileStore(folder);
    const { id } = (await store.findUserByUsername("admin"))!;
    const endpoints = createJwtEndpoints({ store, signingKey: secret });
    const revoked: string[] = [];
    const expectRefused = async (tokens: string[]) => {
      for (const token of tokens) {
        for (const server of [0, 1])
          assert.is((await post(server, "verify", { token })).status, 400, `${what}: ${token}`);
      }
    };
    for (let round = 0; round < roundsHere(6); round++) {
      const login = (await post(round % 2, "create", credentials)).body;
      const issued = Object.values<string>(login);
      const field = login.token === undefined ? "refresh" : "token";
      await new Promise((resolve) => setTimeout(resolve, 980 - (Date.now() % 1000) + (round % 2) * 8));
      await endpoints.revokeUser(id);
      // Tokens of the next second are later than the mark by their own times.
      for (let next = Math.ceil(Date.now() / 1000) * 1000; Date.now() < next + 20;) {
        for (const server of [0, 1]) {
          const { status, body } = await post(server, "refresh", { [field]: login[field] });
          if (status === 200) issued.push(...Object.values(body));
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 150));
      await expectRefused(issued);
      revoked.push(...issued);
      const fresh = (await post(round % 2, "create", credentials)).body;
      for (const token of Object.values(fresh)) {
        assert.is((await post(round % 2, "verify", { token })).status, 200, `${what}: a later login is valid`);
      }
    }
    await expectRefused(revoked); // still, though there were logins since
    await store.close();
  });

for (const userIdField of ["id", "username"]) {
  two(`refuse a removed user's tokens, also once another user has the name, by ${userIdField}`, () =>
    withServers([...rotating, "--user-id-field", userIdField], async (post, credentials, folder) => {
      const command = async (args: string[], input: string) => {
        const all = [...args, "--store", `file:${folder}`];
        const child = start("user", all, { stdio: ["pipe", "pipe", "pipe"] });
        child.stdin!.end(input);
        assert.is((await finished(child)).code, 0);
      };
      const { password } = credentials as { password: string };
      const old = [(await post(0, "create", credentials)).body, (await post(1, "create", credentials)).body];
      const expectRefused = async () => {
        for (const server of [0, 1]) {
          for (const { access, refresh } of old) {
            for (const token of [access, refresh]) assert.is((await post(server, "verify", { token })).status, 400);
            assert.is((await post(server, "refresh", { refresh })).status, 400);
          }
        }
      };
      await command(["remove", "admin"], "");
      await new Promise((resolve) => setTimeout(resolve, 500)); // ten times what the other server needs when it is idle
      await expectRefused();
      await command(["add", "admin", "--password-stdin"], password);
      for (const server of [0, 1]) {
        const fresh = (await post(server, "create", credentials)).body;
        await expectRefused();
        for (const token of Object.values(fresh)) {
          for (const each of [0, 1]) assert.is((await post(each, "verify", { token })).status, 200);
        }
      }
    }),
  );
}

two("return the same successor after a restart, and refuse ended sessions", async () => {
  const folder = temporaryFolder();
  const openStore: OpenStore = (now) => openFileStore(folder, { now });
  const before = await setUp({}, openStore);
  const [one, other] = [await before.logIn(), await before.logIn()];
  const successor = (await before.refresh(one.refresh)).body.refresh;
  await before.post("logout", { refresh: other.refresh });
  await before.store.close();
  const after = await setUp({}, openStore);
  assert.is((await after.refresh(one.refresh)).body.refresh, successor);
  await expectRevoked(after, other);
  after.clock.seconds += 11;
  assert.is((await after.refresh(one.refresh)).status, 400);
  await expectRevoked(after, { refresh: successor });
  await after.store.close();
});

two.run();
