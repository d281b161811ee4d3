/** Chooses the keys of a program: those that are set, else those in the store's folder, else new ones. */
import { type JwtEndpointsSettings, SettingError } from "../index.ts";
import { isPostgresStore, storeFolder } from "../stores/open.ts";
import {
  ensureFirstKey,
  firstKeyAsJwk,
  hasKeySet,
  newFirstKey,
  readFirstKey,
  readKeySet,
  firstKeySet,
} from "./key-file.ts";
import type { ServerOptions } from "./options.ts";
import { UsageError } from "./problem.ts";

/**
 * What to do where neither the settings nor the store's folder hold a key: put a new one into the folder, use a new one
 * without writing it (to check the other settings before anything is made), or throw.
 */
export type WithoutKey = "make" | "try" | "refuse";

/**
 * Returns the key settings that a server with these options has: `signingKey`, `keys`, or none where others sign.
 * @throws {SettingError} when a file of keys can't be read or is damaged.
 * @throws {UsageError} when there is no key and none is to be made.
 */
export async function keySettings(
  { store, settings }: Pick<ServerOptions, "store" | "settings">,
  withoutKey: WithoutKey,
): Promise<Partial<JwtEndpointsSettings>> {
  const { signingKey, algorithm } = settings as { signingKey?: string; algorithm?: string };
  const folder = storeFolder(store);
  const given = signingKey === undefined ? {} : { signingKey };
  const keySet = () => (folder === undefined ? undefined : readKeySet(folder, algorithm));
  if (folder !== undefined && (hasKeySet(folder) || signingKey !== undefined)) return { ...given, keys: keySet };
  const verifiesForOthers = settings.jwkUrl !== undefined || settings.verifyingKey !== undefined;
  if (signingKey !== undefined || verifiesForOthers) return given;

  if (isPostgresStore(store) && withoutKey !== "refuse") {
    const remedy = "set signingKey (JWT_SIGNING_KEY) to the same one for each; openssl rand -base64 48 makes one";
    throw new SettingError(`setting signingKey is missing: servers on one database need one key; ${remedy}`);
  }
  if (withoutKey === "refuse") {
    const [key] = folder === undefined ? [] : firstKeySet(folder, algorithm ?? "HS256");
    if (key !== undefined) return { keys: () => ({ active: { ...key.jwk, alg: key.alg } }) };
    throw new UsageError(
      "there is no key to verify with: set JWT_SIGNING_KEY, or name the server's store with --store",
    );
  }
  const first = folder === undefined ? undefined : readFirstKey(folder);
  if (folder === undefined || withoutKey === "try")
    return { signingKey: first ?? (await newFirstKey(algorithm ?? "HS256")) };
  // As a key set of one, since a `signingKey` would stay valid after the first rotation for as long as the server runs.
  const active = {
    ...firstKeyAsJwk(first ?? ensureFirstKey(folder, await newFirstKey(algorithm ?? "HS256"))),
    alg: algorithm ?? "HS256",
  };
  return { keys: () => keySet() ?? { active } };
}
