/** Makes the hasher that a program itself hashes passwords with: the server for its first user, and the `user` command. */
import { availableParallelism } from "node:os";
import { type JwtEndpointsSettings, type Passwords, SettingError, createPasswords } from "../index.ts";
import { parseHashing } from "../settings/parse.ts";

/**
 * Makes a hasher of the given settings, on all cores unless they say otherwise, and without a limit on what waits.
 * @throws {SettingError} when a setting is wrong, or the preferred format needs a package that can't be loaded.
 */
export async function createHasher(hashing: JwtEndpointsSettings["hashing"]): Promise<Passwords> {
  const settings = parseHashing({ concurrency: availableParallelism(), ...hashing });
  const passwords = createPasswords({ ...settings, queue: Number.POSITIVE_INFINITY });
  await passwords.ready().catch((error: Error) => {
    throw new SettingError(`setting hashing.preferred can't be used: ${error.message}`, { cause: error });
  });
  return passwords;
}
