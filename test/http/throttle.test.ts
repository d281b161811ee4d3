import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createThrottle } from "../../src/http/throttle.ts";
import { type CountEvent, createSharedCounts } from "../../src/shared-counts.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";
import { randomFrom, roundsHere, seedFrom } from "../support/random.ts";

const it = suite("throttle");

/** A throttle alone, whose clock stands still. */
function throttleOf(limit: number) {
  const now = () => 1e12;
  const share = createSharedCounts({ store: memoryStore(), prefix: "", now });
  return createThrottle({ limit, seconds: 60 }, { name: "throttle", now, log: () => {}, share });
}

it("responds 429 with the seconds to wait, for each client on its own", async () => {
  let time = 1_800_000_000_000;
  const { post } = await endpointsWith({
    throttle: "2/min",
    clientAddress: (request) => request.headers.get("x-client") ?? undefined,
    now: () => time,
  });
  const wrong = { username: "ada", password: "wrong" };
  assert.is((await post("/jwt/create/", wrong, { "x-client": "a" })).status, 400);
  time += 10_000;
  assert.is((await post("/jwt/create/", wrong, { "x-client": "a" })).status, 400);
  const refused = await post("/jwt/create/", credentials, { "x-client": "a" });
  assert.is(refused.status, 429);
  assert.is(refused.text, '{"detail":"Request was throttled. Expected available in 50 seconds."}');
  assert.is(refused.headers["retry-after"], "50");
  assert.is((await post("/jwt/create/", credentials, { "x-client": "b" })).status, 200);
  assert.is((await post("/jwt/verify/", {}, { "x-client": "a" })).status, 400, "only logins count");
  time += 50_000;
  assert.is((await post("/jwt/create/", credentials, { "x-client": "a" })).status, 200);
});

it("forgets its counts when the clock is set back", async () => {
  let time = 1_800_000_000_000;
  const { post } = await endpointsWith({ throttle: "1/min", clientAddress: () => "a", now: () => time });
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).status, 429);
  time -= 3_600_000;
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).headers["retry-after"], "60");
});

it("warns once when it can't tell clients apart", async () => {
  const { post, log } = await endpointsWith({ throttle: "1/min" });
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).status, 429);
  assert.equal(
    log.map((event) => (event as { code: string }).code),
    ["client_address_unknown", "throttled"],
  );
});

it("limits refreshes and verifications by settings of their own", async () => {
  const { post } = await endpointsWith({ throttleRefresh: "1/min", throttleVerify: "2/min", clientAddress: () => "a" });
  const statuses = async (path: string) => {
    const found: number[] = [];
    for (let i = 0; i < 3; i++) found.push((await post(path, {})).status);
    return found;
  };
  assert.equal(await statuses("/jwt/refresh/"), [400, 429, 429]);
  assert.equal(await statuses("/jwt/verify/"), [400, 400, 429]);
});

it("limits changes of a password by a setting of their own, apart from logins", async () => {
  const { post } = await endpointsWith({ throttle: "1/min", throttleSetPassword: "2/min", clientAddress: () => "a" });
  const { access } = JSON.parse((await post("/jwt/create/", credentials)).text) as { access: string };
  const headers = { authorization: `Bearer ${access}` };
  const found: number[] = [];
  for (let i = 0; i < 3; i++) found.push((await post("/users/set_password/", {}, headers)).status);
  assert.equal(found, [400, 400, 429]);
  assert.is((await post("/users/set_password/", {})).status, 401, "a stranger is refused before it counts");
  assert.is((await post("/jwt/create/", credentials)).status, 429, "logins count by themselves");
});

it("delays guesses at an account more and more, known or not, but no client that logged in before", async () => {
  let time = 1_800_000_000_000;
  const { post, log } = await endpointsWith({
    throttleFailures: "2/hour",
    clientAddress: (request) => request.headers.get("x-client") ?? undefined,
    now: () => time,
  });
  const tryAs = async (client: string, username: string, password: string) => {
    const { status, headers } = await post("/jwt/create/", { username, password }, { "x-client": client });
    return status === 429 ? `wait ${headers["retry-after"]}` : status;
  };
  assert.is(await tryAs("home", credentials.username, credentials.password), 200);
  for (const username of [credentials.username, "nobody"]) {
    const found: (string | number)[] = [];
    for (const [client, step] of [
      ["b", 0],
      ["c", 0],
      ["d", 0],
      ["d", 1000],
      ["e", 0],
      ["e", 2000],
      ["e", 0],
    ] as const) {
      time += step;
      found.push(await tryAs(client, username, "wrong"));
    }
    assert.equal(found, [400, 400, "wait 1", 400, "wait 2", 400, "wait 4"], username);
  }
  assert.is(await tryAs("new", credentials.username, credentials.password), "wait 1");
  assert.is(await tryAs("home", credentials.username, credentials.password), 200, "strangers don't lock her out");
  const own = [];
  for (let i = 0; i < 3; i++) own.push(await tryAs("home", credentials.username, "wrong"));
  assert.equal(own, [400, 400, "wait 1"], "her own failures count");
  time += 60_000;
  assert.is(await tryAs("new", credentials.username, credentials.password), 200);
  assert.ok(log.every((event) => (event as { code: string }).code === "throttled"));
});

it("counts concurrent guesses before any of them has failed", async () => {
  const { post } = await endpointsWith({ throttleFailures: "3/hour" });
  const wrong = { username: "ada", password: "wrong" };
  const statuses = (await Promise.all(Array.from({ length: 10 }, () => post("/jwt/create/", wrong)))).map(
    (r) => r.status,
  );
  assert.is(statuses.filter((status) => status === 400).length, 3);
  assert.is(statuses.filter((status) => status === 429).length, 7);
});

it("remembers a bounded number of clients, and still counts the latest", () => {
  const throttle = throttleOf(1);
  for (let i = 0; i < 300_000; i++) throttle(`client ${i}`);
  throttle("client 0"); // forgotten
  assert.throws(() => throttle("client 299999"));
});

it("counts what it still remembers of a client that comes back, so that the bound holds", () => {
  const throttle = throttleOf(10);
  const ask = (client: string) => {
    try {
      throttle(client);
    } catch {
      // at its limit
    }
  };
  for (let i = 0; i < 10; i++) throttle("early");
  for (let round = 0; round < 2; round++) {
    // 50,000 requests make a generation; in the second round they are all remembered and none is new.
    for (let i = 0; i < 5000; i++) for (let n = 0; n < 10; n++) ask(`client ${i}`);
  }
  for (let i = 0; i < 10; i++) throttle(`late ${i}`);
  throttle("early"); // forgotten with the first generation
  assert.throws(() => throttle("client 0"));
});

it("refuses as a plain list of times does, with late messages of others and clocks that are set back", () => {
  const random = randomFrom(seedFrom());
  for (let round = 0; round < roundsHere(600); round++) {
    const [limit, seconds] = [1 + random.below(random.chance(0.2) ? 100 : 5), 1 + random.below(3)];
    let time = 1e12;
    let receive: CountEvent = () => {};
    let counts: unknown;
    const share = () => ({
      countsOf: <T>(_: string, create: () => T) => (counts = create()) as T,
      share: (_: string, receiver: CountEvent) => void (receive = receiver),
    });
    const throttle = createThrottle({ limit, seconds }, { name: "throttle", now: () => time, log: () => {}, share });
    const span = seconds * 1000;
    let plain: number[] = [];
    for (let step = 0; step < 200; step++) {
      if (random.chance(0.01)) time -= random.below(2 * span);
      else time += random.below(random.chance(0.05) ? 2 * span : (2 * span) / limit);
      const told = `round ${round}, step ${step}: ${limit} in ${seconds} s`;
      if (random.chance(0.2)) {
        const at = time - random.below(random.chance(0.1) ? 2 * span : 100);
        receive("a", at);
        if (at > time - span) plain = [...plain, at].toSorted((a, b) => a - b).slice(-limit);
        continue;
      }
      plain = plain.filter((then) => then > time - span && then <= time);
      const wait = plain.length < limit ? 0 : plain[0]! + span - time;
      if (wait === 0) plain.push(time);
      let found = 0;
      try {
        throttle("a");
      } catch (error) {
        found = (error as { data: { retryAfter: number } }).data.retryAfter;
      }
      assert.is(found, Math.ceil(wait / 1000), told);
      const { times } = (counts as { younger: Map<string, { times: number[] }> }).younger.get("a")!;
      assert.ok(times.length <= 2 * limit + 2, `${told}, ${times.length} times are kept`);
    }
  }
});

it("lets nothing through beyond the limit while all clients together are within the bound", () => {
  // Always the same requests: with others, a client that is silent for long may be forgotten before its times are over.
  const random = randomFrom(5);
  const [limit, seconds, clientCount] = [10, 10, 3400];
  let time = 1e12;
  const share = createSharedCounts({ store: memoryStore(), prefix: "", now: () => time });
  const throttle = createThrottle({ limit, seconds }, { name: "throttle", now: () => time, log: () => {}, share });
  const allowed = Array.from({ length: clientCount }, () => [] as number[]);
  for (let i = 0; i < 250_000; i++) {
    time += (seconds * 1000) / (clientCount * (limit + 2)); // each client asks somewhat more often than it may
    const client = random.below(clientCount);
    const times = allowed[client]!;
    while (times.length > 0 && times[0]! <= time - seconds * 1000) times.shift();
    try {
      throttle(`client ${client}`);
      assert.ok(times.length < limit, `request ${i} of client ${client}`);
      times.push(time);
    } catch (error) {
      assert.is((error as { data?: { code: string } }).data?.code, "throttled", String(error));
    }
  }
});

it("says once that requests come through a proxy that is not declared", async () => {
  const { post, log } = await endpointsWith({ throttle: "9/min", clientAddress: () => "10.0.0.1" });
  for (let i = 0; i < 2; i++) await post("/jwt/create/", credentials, { "x-forwarded-for": "1.1.1.1" });
  assert.equal(
    log.map((event) => (event as { code: string }).code),
    ["proxy_undeclared"],
  );
});

it.run();
