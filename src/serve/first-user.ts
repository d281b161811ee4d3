/**
 * Makes the first user of a store that never had one. The password is stored nowhere, so each start makes a new one until
 * one start has printed it: a process may be killed in between.
 */
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Store, User } from "../index.ts";

const username = "admin";
const kind = "setup";
/** How long one of several processes may take while the others wait, in seconds. */
const turnLifetime = 5;
const forever = Number.MAX_SAFE_INTEGER;

export interface Introduction {
  hash(password: string): Promise<string>;
  /** Called when the store has a user, or needs none. */
  onMade(): void;
  /** Prints the password, and resolves to whether it is out. */
  tell(password: string): Promise<boolean>;
}

/** Adds the first user unless the store has or had one, and prints its password. One of several processes does so. */
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
  await store.putIfAbsent(kind, factIdOf(passwordHash), "made", forever);
  if (before === "none") await store.addUser({ username, passwordHash });
  else await store.updateUser(before.id, { passwordHash }, { passwordHash: before.passwordHash });
  onMade();
  if (await tell(password)) await store.putIfAbsent(kind, "first-user", "made", forever);
}

/** Names the fact that tells a password made here from one that the operator has set. */
const factIdOf = (passwordHash: string): string =>
  `first-user ${createHash("sha256").update(passwordHash).digest("base64url")}`;

/**
 * Returns where the store stands: "known" when the password was printed or users were added by other means, "none" without
 * a user, else the first user, whose password was never printed.
 */
async function standing(store: Store): Promise<"known" | "none" | User> {
  if ((await store.get(kind, "first-user")) !== undefined) return "known"; // even if all users were removed since
  const user = await store.findUserByUsername(username);
  if (user !== undefined && (await store.get(kind, factIdOf(user.passwordHash))) !== undefined) return user;
  for await (const _ of store.listUsers() as AsyncIterable<unknown>) return "known";
  return "none";
}
