import type { KeySet } from "../keys/key-set.ts";
import type { Context } from "./endpoint.ts";

/**
 * Returns the public keys that verify our tokens: the active, the retiring and the next ones. Empty for an HMAC algorithm,
 * whose keys are secret.
 * @see RFC 7517 section 5
 */
export async function jwks({ keys }: Pick<Context, "keys">): Promise<{ keys: KeySet["published"] }> {
  return { keys: (await keys()).published };
}
