import { fail } from "../errors.ts";
import type { User } from "../stores/store.ts";
import { accessClaims, refreshClaims } from "../tokens/claims.ts";
import { signToken } from "../tokens/sign.ts";
import { type Context, type Endpoint, charField, parseFields } from "./endpoint.ts";

/** User name and password in, a refresh and an access token out (Simple JWT's TokenObtainPair). */
export const create: Endpoint = async (context, data) => {
  const { settings, store, passwords, keys } = context;
  const fields = parseFields(
    { [settings.usernameField]: charField({ trim: true }), password: charField({ trim: false }) },
    data,
  );
  const password = fields.password!;
  const user = await store.findUserByUsername(fields[settings.usernameField]!.normalize("NFKC"));
  // Every login hashes once, whoever it names, so that time does not tell which users there are.
  const { ok, rehashed, unknownFormat } = await passwords.check(password, user?.passwordHash);
  if (unknownFormat) {
    const message = "the stored password hash is of no known format";
    settings.log({ level: "warn", code: "password_format_unknown", message, userId: user!.id });
  }
  if (!ok || user === undefined || (settings.checkUserIsActive && !user.isActive)) throw fail("invalid_credentials");
  if (rehashed !== undefined) await upgradeHash(context, user, rehashed);
  if (settings.updateLastLogin) await store.updateUser(user.id, { lastLogin: settings.now() / 1000 });

  const { signing } = await keys();
  const claims = await refreshClaims(settings, user);
  const [refresh, access] = await Promise.all([
    signToken(signing, claims),
    signToken(signing, accessClaims(settings, claims)),
  ]);
  return { refresh, access };
};

/** Only over the hash that was checked: a password changed meanwhile must not come back. A failure costs no login. */
async function upgradeHash({ settings, store }: Context, user: User, passwordHash: string): Promise<void> {
  try {
    await store.updateUser(user.id, { passwordHash }, { passwordHash: user.passwordHash });
  } catch (error) {
    const message = "a stronger password hash could not be stored";
    settings.log({ level: "warn", code: "rehash_failed", message, userId: user.id, error });
  }
}
