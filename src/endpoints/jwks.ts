import type { KeySet } from "../keys/key-set.ts";
import type { Context } from "./endpoint.ts";

/**
 * The public keys that tokens of ours can be verified with (RFC 7517 §5): those that sign, signed until lately or are
 * about to. Empty for an HMAC algorithm, whose keys are secret.
 */
export async function jwks({ keys }: Pick<Context, "keys">): Promise<{ keys: KeySet["published"] }> {
  return { keys: (await keys()).published };
}
