/**
 * The first user of a store that never had one. Its password is stored nowhere, so it is made anew at each start until one
 * start has told it: a process may be killed between the two.
 */
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Store, User } from "../index.ts";

const username = "admin";
const kind = "setup";
/** How long the others of several processes leave it to one, in seconds. */
const turnLifetime = 5;
const forever = Number.MAX_SAFE_INTEGER;

export interface Introduction {
  hash(password: string): Promise<string>;
  /** Called as soon as there is a user, or needs to be none. */
  onMade(): void;
  /** Shows the password, and resolves to whether it has been shown. */
  tell(password: string): Promise<boolean>;
}

/** Gives the store its first user, unless it has or had one, and tells of it. Of several processes at once one does. */
export async function introduceFirstUser(store: Store, { hash, onMade, tell }: Introduction): Promise<void> {
  if ((await standing(store)) === "known") return onMade();
  const password = randomBytes(12).toString("base64url");
  const passwordHash = await hash(password);
  const turn = randomBytes(12).toString("base64url");
  const isMyTurn = async () =>
    (await store.putIfAbsent(kind, "first-user-turn", turn, Date.now() / 1000 + turnLifetime)) === turn;
  for (; !(await isMyTurn()); await sleep(100)) if ((await standing(store)) === "known") return onMade();
  const before = await standing(store);
  if (before === "known") return onMade();
  await store.putIfAbsent(kind, factOf(passwordHash), "made", forever);
  if (before === "none") await store.addUser({ username, passwordHash });
  else await store.updateUser(before.id, { passwordHash }, { passwordHash: before.passwordHash });
  onMade();
  if (await tell(password)) await store.putIfAbsent(kind, "first-user", "made", forever);
}

/** Tells a password that was made here from one that the operator has set. */
const factOf = (passwordHash: string): string =>
  `first-user ${createHash("sha256").update(passwordHash).digest("base64url")}`;

/** `known`: it was told of, or users were added by hand. Else the user whose password nobody knows, if there is one. */
async function standing(store: Store): Promise<"known" | "none" | User> {
  if ((await store.get(kind, "first-user")) !== undefined) return "known"; // also where all users were removed since
  const user = await store.findUserByUsername(username);
  if (user !== undefined && (await store.get(kind, factOf(user.passwordHash))) !== undefined) return user;
  for await (const _ of store.listUsers() as AsyncIterable<unknown>) return "known";
  return "none";
}
