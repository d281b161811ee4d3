/**
 * Measures the stores: opening many users, look-ups, facts and refreshes with rotation and their syncs, a million
 * revocations, and the longest time that the event loop is blocked.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import process from "node:process";
import { type JwtEndpoints, createJwtEndpoints, createPasswords } from "../src/index.ts";
import { type FileStore, openFileStore } from "../src/stores/file/index.ts";
import { memoryStore } from "../src/stores/memory.ts";
import type { Store } from "../src/stores/store.ts";
import { start, temporaryFolder } from "../test/support/runtime.ts";
import { median } from "../test/support/statistics.ts";
import { type Row, type Table, report } from "./lib/results.ts";
import { newUsers, perSecond, quick, rounded, roundsOr, secret, tidy } from "./lib/tools.ts";

const userCounts = quick ? [100_000] : [100_000, 1_000_000];
const users = userCounts[0]!;
const facts = quick ? 100_000 : 1_000_000;
const rounds = roundsOr(quick ? 3 : 9);
const roundMs = quick ? 300 : 1500;
const width = 64;

/** Runs in a process of its own, so that its memory is the store's. */
async function openOnly(folder: string): Promise<void> {
  const before = process.memoryUsage().rss;
  const begin = performance.now();
  const store = await openFileStore(folder);
  const ms = performance.now() - begin;
  const bytes = process.memoryUsage().rss - before;
  const name = `user${users - 1}`;
  if ((await store.findUserByUsername(name))?.username !== name) throw new Error("a user is missing");
  console.log(JSON.stringify({ ms, bytes }));
  await store.close();
}

/** Runs this file with arguments and returns what it prints. */
async function measured<T>(...args: string[]): Promise<T> {
  const flags = quick ? ["--quick"] : [];
  const child = start("bench/stores.ts", [...flags, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (text += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${args.join(" ")} failed`);
  return JSON.parse(text) as T;
}

/** Measures the longest time that the event loop was blocked during an action. */
async function longestDelay(work: () => unknown): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const look = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  const timer = setInterval(look, 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  longest = 0;
  await work();
  await new Promise((resolve) => setTimeout(resolve, 20));
  look();
  clearInterval(timer);
  return longest;
}

interface FactFigures {
  bytes: number;
  perSecond: number;
  claimDelay: number;
  flushDelay: number;
  flushMs: number;
}

/** Fills a store with facts, which expire and are flushed; in a process of its own. */
async function measureFacts(name: string): Promise<FactFigures> {
  let now = Date.now();
  const clock = { now: () => now };
  const options = { ...clock, compactAfter: Infinity };
  const store: Store = name === "memory" ? memoryStore(clock) : await openFileStore(temporaryFolder(), options);
  const expiresAt = Math.floor(now / 1000) + 3600;
  const before = process.memoryUsage().rss;
  const begin = performance.now();
  let done = 0;
  const claimDelay = await longestDelay(async () => {
    const writer = async () => {
      while (done < facts) {
        const i = done++;
        const claimed = store.putIfAbsent("jti", randomUUID().replaceAll("-", ""), "1", expiresAt + (i % 3600));
        if (i % 64 === 0 || claimed instanceof Promise) await claimed;
        if (i % 4096 === 0) await new Promise((resolve) => setTimeout(resolve));
      }
    };
    await Promise.all(Array.from({ length: name === "memory" ? 1 : 1000 }, writer));
  });
  const perSecond = facts / ((performance.now() - begin) / 1000);
  const bytes = (process.memoryUsage().rss - before) / facts;
  // A clock so far ahead is believed after a day.
  now += 90_000_000;
  await store.flushExpired();
  now += 90_000_000;
  let flushMs = 0;
  const flushDelay = await longestDelay(async () => {
    const flushBegin = performance.now();
    const count = await store.flushExpired();
    flushMs = performance.now() - flushBegin;
    // The memory store drops some by itself.
    if (count > facts || (name === "file" && count !== facts)) throw new Error(`${count} facts were flushed`);
  });
  await store.close();
  return { bytes, perSecond, claimDelay, flushDelay, flushMs };
}

let claimed = 0;
async function claim(store: FileStore): Promise<void> {
  const id = `id-${claimed++}`;
  if ((await store.putIfAbsent("bench", id, "1", Date.now() / 1000 + 3600)) !== "1")
    throw new Error("a new id had a value");
}

/** How long a single writer waits usually, and how long while the journal is compacted. */
const changesAtOnce = 250;

async function compaction(folder: string, count: number): Promise<{ usual: number; pause: number; delay: number }> {
  const compactAfter = 1000;
  const store = await openFileStore(folder, { compactAfter });
  await store.addUsers(newUsers(count));
  const { generation } = store.stats();
  // Writes history until the store compacts, which happens before there are three records for each kept entry.
  const times: number[] = [];
  const delay = await longestDelay(async () => {
    for (let n = 0; store.stats().generation === generation && n < 3 * count; n += changesAtOnce) {
      const begin = performance.now();
      const ids = Array.from({ length: changesAtOnce }, (_, i) => String((n + i) % count));
      await Promise.all(ids.map((id) => store.updateUser(id, { lastLogin: n })));
      times.push(performance.now() - begin);
    }
  });
  const isCompacted = store.stats().generation > generation;
  await store.close();
  if (!isCompacted) throw new Error("the journal was not compacted");
  return { usual: median(times), pause: Math.max(...times), delay };
}

/** A figure and its unit: a row of the table. */
const row = (what: string, value: number, unit: string): Row => ({ what, value: tidy(value), unit });

async function openings(count: number): Promise<Row[]> {
  const folder = temporaryFolder();
  const begin = performance.now();
  const store = await openFileStore(folder);
  await store.addUsers(newUsers(count));
  await store.close();
  const fillMs = performance.now() - begin;
  const journalBytes = readdirSync(folder).reduce((sum, name) => sum + statSync(`${folder}/${name}`).size, 0);
  const found = [];
  for (let round = 0; round < (count > users ? 3 : rounds); round++) {
    found.push(await measured<{ ms: number; bytes: number }>("--open", folder));
  }
  return [
    row(`add ${rounded(count)} users`, fillMs, "ms"),
    row("journal for each", journalBytes / count, "bytes"),
    row(`open with ${rounded(count)} users`, median(found.map(({ ms }) => ms)), "ms"),
    row("memory for each", median(found.map(({ bytes }) => bytes)) / count, "bytes"),
  ];
}

/** The look-ups of each request. A store may return at once, so many run between two turns of the event loop. */
async function lookups(store: Store): Promise<Row[]> {
  const claimedIds = Array.from({ length: 10_000 }, (_, i) => `looked-up-${i}`);
  await Promise.all(claimedIds.map((id) => store.putIfAbsent("jti", id, "1", Date.now() / 1000 + 3600)));
  let next = 0;
  const index = (count: number): number => (next = (next + 7919) % count); // a prime, so that neighbours are not taken in turn
  const cases: [what: string, look: () => unknown, isThere?: boolean][] = [
    ["findUserById", () => store.findUserById(`${index(users)}`)],
    ["findUserById, of a missing user", () => store.findUserById(`missing-${index(users)}`), false],
    ["findUserByUsername", () => store.findUserByUsername(`user${index(users)}`)],
    ["peek, claimed", () => store.get("jti", claimedIds[index(claimedIds.length)]!)],
  ];
  const inOneTurn = 1000;
  const rows: Row[] = [];
  for (const [what, look, isThere = true] of cases) {
    const many = async () => {
      for (let i = 0; i < inOneTurn; i++) {
        const found = look();
        const isFound = (found instanceof Promise ? await found : found) !== undefined;
        if (isFound !== isThere) throw new Error(`${what} found ${isFound ? "one" : "nothing"}`);
      }
    };
    await perSecond(many, roundMs / 4, 1);
    const rates: number[] = [];
    for (let round = 0; round < rounds; round++) rates.push((await perSecond(many, roundMs / 4, 1)) * inOneTurn);
    rows.push(row(what, median(rates), "per second"));
  }
  return rows;
}

async function fileLookups(): Promise<Row[]> {
  const store = await openFileStore(temporaryFolder());
  await store.addUsers(newUsers(users));
  const rows = await lookups(store);
  await store.close();
  return rows;
}

async function claims(): Promise<Row[]> {
  const store = await openFileStore(temporaryFolder());
  await perSecond(() => claim(store), roundMs / 4, width);
  const rates: number[] = [];
  const [claimsBefore, syncsBefore] = [claimed, store.stats().syncs];
  for (let round = 0; round < rounds; round++) rates.push(await perSecond(() => claim(store), roundMs, width));
  const syncs = ((store.stats().syncs - syncsBefore) / (claimed - claimsBefore)) * width;
  const alone: number[] = [];
  for (let round = 0; round < rounds; round++) alone.push(await perSecond(() => claim(store), roundMs, 1));
  await store.close();
  return [
    row(`claims, ${width} at a time`, median(rates), "per second"),
    row(`syncs for ${width} claims`, syncs, ""),
    row("claims, one at a time", median(alone), "per second"),
  ];
}

async function post(endpoints: JwtEndpoints, route: string, body: unknown): Promise<{ refresh: string }> {
  const headers = { "content-type": "application/json" };
  const url = `http://localhost/jwt/${route}/`;
  const response = await endpoints.fetch(new Request(url, { method: "POST", headers, body: JSON.stringify(body) }));
  if (response.status !== 200) throw new Error(`${route} returned ${response.status}`);
  return (await response.json()) as { refresh: string };
}

/** Many sessions refresh again and again with rotation, on a disk that is synced. */
async function refreshes(): Promise<Row[]> {
  const store = await openFileStore(temporaryFolder());
  const hashing = { iterations: 1 };
  const passwordHash = await createPasswords(hashing).hash("correct horse");
  await store.addUser({ id: "1", username: "ada", passwordHash });
  const endpoints = createJwtEndpoints({ store, signingKey: secret, hashing, rotateRefreshTokens: true });
  const tokens: string[] = [];
  for (let i = 0; i < width; i++) {
    tokens.push((await post(endpoints, "create", { username: "ada", password: "correct horse" })).refresh);
  }
  let done = 0;
  const exchange = async () => {
    const old = tokens.pop()!; // as many as there are calls at a time
    const { refresh } = await post(endpoints, "refresh", { refresh: old });
    if (refresh === undefined || refresh === old) throw new Error("a refresh gave no other token");
    tokens.push(refresh);
    done++;
  };
  await perSecond(exchange, roundMs / 4, width);
  const [doneBefore, syncsBefore] = [done, store.stats().syncs];
  const rates: number[] = [];
  for (let round = 0; round < rounds; round++) rates.push(await perSecond(exchange, roundMs, width));
  const syncs = ((store.stats().syncs - syncsBefore) / (done - doneBefore)) * width;
  await store.close();
  return [
    row(`refreshes with rotation, ${width} at a time`, median(rates), "per second"),
    row(`syncs for ${width} refreshes`, syncs, ""),
  ];
}

async function compactions(): Promise<Row[]> {
  const count = quick ? 20_000 : users;
  const { usual, pause, delay } = await compaction(temporaryFolder(), count);
  return [
    row(`${changesAtOnce} changes at once`, usual, "ms"),
    row(`the same, waiting for the compaction of ${rounded(count)} users`, pause, "ms"),
    row("longest delay of others meanwhile", delay, "ms"),
  ];
}

async function factRows(name: string): Promise<Row[]> {
  const found: FactFigures[] = [];
  for (let round = 0; round < 3; round++) found.push(await measured<FactFigures>("--facts", name));
  const of = (field: keyof FactFigures): number => median(found.map((figures) => figures[field]));
  return [
    row(`claim ${rounded(facts)} facts`, of("perSecond"), "per second"),
    row("memory for each", of("bytes"), "bytes"),
    row("longest delay of others meanwhile", of("claimDelay"), "ms"),
    row("flush them", of("flushMs"), "ms"),
    row("longest delay of others meanwhile", of("flushDelay"), "ms"),
  ];
}

async function measure(): Promise<void> {
  const file: Row[] = [];
  for (const count of userCounts) file.push(...(await openings(count)));
  for (const part of [fileLookups, claims, refreshes, compactions]) file.push(...(await part()));
  file.push(...(await factRows("file")));
  const memory = memoryStore();
  await memory.addUsers(newUsers(users));
  const tables: [title: string, rows: Row[]][] = [
    ["file store", file],
    ["memory store", [...(await lookups(memory)), ...(await factRows("memory"))]],
  ];
  const text = (value: number) => (value >= 100 ? rounded(value) : String(Number(value.toPrecision(3))));
  const columns = [
    { key: "what", title: "" },
    { key: "value", title: "median", text },
    { key: "unit", title: "" },
  ];
  report(
    "stores",
    tables.map(([title, rows]): Table => ({ title, columns, rows })),
  );
}

if (process.argv.includes("--open")) await openOnly(process.argv.at(-1)!);
else if (process.argv.includes("--facts")) console.log(JSON.stringify(await measureFacts(process.argv.at(-1)!)));
else await measure();
