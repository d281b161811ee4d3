/** The stores: opening 100,000 users, claims and their syncs, a million facts, and how long nothing else gets its turn. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import process from "node:process";
import { type FileStore, openFileStore } from "../src/stores/file.ts";
import { memoryStore } from "../src/stores/memory.ts";
import type { NewUser, Store } from "../src/stores/store.ts";
import { start, temporaryFolder } from "../test/runtime.ts";
import { median, perSecond, print, quick, rounded } from "./tools.ts";

const users = 100_000;
const facts = quick ? 100_000 : 1_000_000;
const rounds = quick ? 3 : 9;
const roundMs = quick ? 300 : 1500;
const width = 64;

/** In a process of its own, so that its memory is the store's. */
async function openOnly(folder: string): Promise<void> {
  const before = process.memoryUsage().rss;
  const begin = performance.now();
  const store = await openFileStore(folder);
  const ms = performance.now() - begin;
  const bytes = process.memoryUsage().rss - before;
  const name = "user99999";
  if ((await store.findUserByUsername(name))?.username !== name) throw new Error("a user is missing");
  console.log(JSON.stringify({ ms, bytes }));
  await store.close();
}

function* newUsers(count: number): Iterable<NewUser> {
  const passwordHash = `pbkdf2_sha256$600000$${"s".repeat(22)}$${"h".repeat(43)}=`;
  for (let i = 0; i < count; i++) {
    yield { id: `${i}`, username: `user${i}`, email: `user${i}@example.org`, passwordHash };
  }
}

/** What this file prints when it is started with some arguments. */
async function measured<T>(...args: string[]): Promise<T> {
  const flags = quick ? ["--quick"] : [];
  const child = start("bench/stores.ts", [...flags, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (text += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${args.join(" ")} failed`);
  return JSON.parse(text) as T;
}

/** The longest time in which nothing else got its turn while something was done. */
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

/** In a process of its own: a store is filled with facts, which expire and are flushed. */
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
        const claimed = store.claim("jti", randomUUID().replaceAll("-", ""), "1", expiresAt + (i % 3600));
        if (i % 64 === 0 || claimed instanceof Promise) await claimed;
        if (i % 4096 === 0) await new Promise((resolve) => setTimeout(resolve));
      }
    };
    await Promise.all(Array.from({ length: name === "memory" ? 1 : 1000 }, writer));
  });
  const perSecond = facts / ((performance.now() - begin) / 1000);
  const bytes = (process.memoryUsage().rss - before) / facts;
  now += 7_200_000;
  let flushMs = 0;
  const flushDelay = await longestDelay(async () => {
    const flushBegin = performance.now();
    const count = await store.flushExpired();
    flushMs = performance.now() - flushBegin;
    // The memory store forgets some by itself.
    if (count > facts || (name === "file" && count !== facts)) throw new Error(`${count} facts were flushed`);
  });
  await store.close();
  return { bytes, perSecond, claimDelay, flushDelay, flushMs };
}

let claimed = 0;
async function claim(store: FileStore): Promise<void> {
  const id = `id-${claimed++}`;
  if ((await store.claim("bench", id, "1", Date.now() / 1000 + 3600)) !== "1") throw new Error("a new id had a value");
}

/** How long a lone writer waits for an answer as a rule, and how long while the journal is compacted. */
const changesAtOnce = 250;

async function compaction(folder: string, count: number): Promise<{ usual: number; pause: number; delay: number }> {
  const compactAfter = 1000;
  const store = await openFileStore(folder, { compactAfter });
  await store.addUsers(newUsers(count));
  const { generation } = store.stats();
  // Makes history until a compaction comes, which must be so before records outnumber what they say by three to one.
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

async function openings(): Promise<string[][]> {
  const folder = temporaryFolder();
  const begin = performance.now();
  const store = await openFileStore(folder);
  await store.addUsers(newUsers(users));
  await store.close();
  const fillMs = performance.now() - begin;
  const found = [];
  for (let round = 0; round < rounds; round++) {
    found.push(await measured<{ ms: number; bytes: number }>("--open", folder));
  }
  return [
    [`add ${rounded(users)} users`, `${rounded(fillMs)} ms`],
    ["open with them", `${rounded(median(found.map(({ ms }) => ms)))} ms`],
    ["memory for each", `${rounded(median(found.map(({ bytes }) => bytes)) / users)} bytes`],
  ];
}

async function claims(): Promise<string[][]> {
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
    [`claims, ${width} at a time`, `${rounded(median(rates))} per second`],
    [`fdatasync calls for ${width} claims`, syncs.toFixed(2)],
    ["claims, one at a time", `${rounded(median(alone))} per second`],
  ];
}

async function factRows(name: string): Promise<string[][]> {
  const found: FactFigures[] = [];
  for (let round = 0; round < 3; round++) found.push(await measured<FactFigures>("--facts", name));
  const of = (field: keyof FactFigures): number => median(found.map((figures) => figures[field]));
  return [
    [`claim ${rounded(facts)} facts`, `${rounded(of("perSecond"))} per second`],
    ["memory for each", `${rounded(of("bytes"))} bytes`],
    ["longest delay of others meanwhile", `${of("claimDelay").toFixed(1)} ms`],
    ["flush them", `${rounded(of("flushMs"))} ms`],
    ["longest delay of others meanwhile", `${of("flushDelay").toFixed(1)} ms`],
  ];
}

async function measure(): Promise<void> {
  const rows = [...(await openings()), ...(await claims())];
  const count = quick ? 20_000 : users;
  const { usual, pause, delay } = await compaction(temporaryFolder(), count);
  rows.push([`${changesAtOnce} changes at once`, `${usual.toFixed(1)} ms`]);
  rows.push([`the same, waiting for the compaction of ${rounded(count)} users`, `${rounded(pause)} ms`]);
  rows.push(["longest delay of others meanwhile", `${delay.toFixed(1)} ms`]);
  print("file store", ["", "median"], [...rows, ...(await factRows("file"))]);
  print("memory store", ["", "median"], await factRows("memory"));
}

if (process.argv.includes("--open")) await openOnly(process.argv.at(-1)!);
else if (process.argv.includes("--facts")) console.log(JSON.stringify(await measureFacts(process.argv.at(-1)!)));
else await measure();
