/** The file store: opening 100,000 users, claims and their syncs, the pause of a compaction. */
import { once } from "node:events";
import process from "node:process";
import { type FileStore, openFileStore } from "../src/stores/file.ts";
import type { NewUser } from "../src/stores/store.ts";
import { start, temporaryFolder } from "../test/runtime.ts";
import { median, perSecond, print, quick, rounded } from "./tools.ts";

const users = 100_000;
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

async function opened(folder: string): Promise<{ ms: number; bytes: number }> {
  const child = start("bench/stores.ts", ["--open", folder], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (text += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error("the store could not be opened");
  return JSON.parse(text) as { ms: number; bytes: number };
}

let claimed = 0;
async function claim(store: FileStore): Promise<void> {
  const id = `id-${claimed++}`;
  if ((await store.claim("bench", id, "1", Date.now() / 1000 + 3600)) !== "1") throw new Error("a new id had a value");
}

/** How long a lone writer waits for an answer as a rule, and how long while the journal is compacted. */
const changesAtOnce = 250;

async function compaction(folder: string, count: number): Promise<{ usual: number; pause: number }> {
  const compactAfter = 1000;
  const store = await openFileStore(folder, { compactAfter });
  await store.addUsers(newUsers(count));
  const { generation } = store.stats();
  // Makes history until a compaction comes, which must be so before records outnumber what they say by three to one.
  const times: number[] = [];
  for (let n = 0; store.stats().generation === generation && n < 3 * count; n += changesAtOnce) {
    const begin = performance.now();
    const ids = Array.from({ length: changesAtOnce }, (_, i) => String((n + i) % count));
    await Promise.all(ids.map((id) => store.updateUser(id, { lastLogin: n })));
    times.push(performance.now() - begin);
  }
  const isCompacted = store.stats().generation > generation;
  await store.close();
  if (!isCompacted) throw new Error("the journal was not compacted");
  return { usual: median(times), pause: Math.max(...times) };
}

async function openings(): Promise<string[][]> {
  const folder = temporaryFolder();
  const begin = performance.now();
  const store = await openFileStore(folder);
  await store.addUsers(newUsers(users));
  await store.close();
  const fillMs = performance.now() - begin;
  const found = [];
  for (let round = 0; round < rounds; round++) found.push(await opened(folder));
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

async function measure(): Promise<void> {
  const rows = [...(await openings()), ...(await claims())];
  const count = quick ? 20_000 : users;
  const { usual, pause } = await compaction(temporaryFolder(), count);
  rows.push([`${changesAtOnce} changes at once`, `${usual.toFixed(1)} ms`]);
  rows.push([`the same, waiting for the compaction of ${rounded(count)} users`, `${rounded(pause)} ms`]);
  print("file store", ["", "median"], rows);
}

if (process.argv.includes("--open")) await openOnly(process.argv.at(-1)!);
else await measure();
