import { fail } from "../errors.ts";
import type { LoginRequest } from "../settings.ts";
import type { User } from "../stores/store.ts";
import { accessClaims, loginClaims, nowOf } from "../tokens/claims.ts";
import { signToken } from "../tokens/sign.ts";
import { type Context, type Endpoint, charField, parseFields } from "./endpoint.ts";
import { mayAuthenticate } from "./session.ts";

/** User name and password in, a refresh and an access token out (Simple JWT's TokenObtainPair). */
export const create: Endpoint = async (context, data, request) => {
  const { settings } = context;
  const { user, now } = await logIn(context, data, request);
  const { signing } = await context.keys();
  const claims = await loginClaims(settings, user, "refresh", now);
  const [refresh, access] = await Promise.all([
    signToken(signing, claims),
    signToken(signing, accessClaims(settings, claims, claims.iat as number)),
  ]);
  return { refresh, access };
};

/** User name and password in, a sliding token out (Simple JWT's TokenObtainSliding). */
export const createSliding: Endpoint = async (context, data, request) => {
  const { user, now } = await logIn(context, data, request);
  const { signing } = await context.keys();
  return { token: await signToken(signing, await loginClaims(context.settings, user, "sliding", now)) };
};

async function logIn(context: Context, data: unknown, request: LoginRequest): Promise<{ user: User; now: number }> {
  const { settings, store, passwords } = context;
  const { usernameField } = settings;
  const fields = parseFields(
    { [usernameField]: charField({ trim: true }), password: charField({ trim: false }) },
    data,
  );
  const [username, password] = [fields[usernameField]!, fields.password!];
  const now = nowOf(settings);
  const user = (await store.findUserByUsername(username.normalize("NFKC"), settings.usernameMatching)) ?? undefined;
  // Every login hashes once, whoever it names, so that time does not tell which users there are.
  const { ok, rehashed, unknownFormat, missingPackage } = await passwords.check(password, user?.passwordHash);
  if (unknownFormat || missingPackage !== undefined) {
    const message =
      missingPackage === undefined
        ? "the stored password hash is of no known format"
        : `the stored password hash needs the package ${missingPackage}, which is not installed`;
    settings.log({ level: "warn", code: "password_format_unknown", message, userId: user!.id });
  }
  if (!ok || user === undefined || !(await mayAuthenticate(settings, user))) {
    await settings.onLoginFailed?.({ [usernameField]: username }, request);
    throw fail("invalid_credentials");
  }
  const upgraded = rehashed === undefined ? user : await upgradeHash(context, user, password, rehashed);
  if (settings.updateLastLogin) await store.updateUser!(user.id, { lastLogin: now });
  await settings.onLoginSuccess?.(user, request);
  return { user: upgraded, now };
}

/**
 * Only over the hash that was checked: a password changed meanwhile must not come back. A failure costs no login.
 * @returns the user as it was read, with the hash that stands if it is of this password: `checkRevokeToken` is about that.
 */
async function upgradeHash(context: Context, user: User, password: string, passwordHash: string): Promise<User> {
  const { settings, store, passwords } = context;
  try {
    const changed = await store.updateUser?.(user.id, { passwordHash }, { passwordHash: user.passwordHash });
    const standing = changed?.passwordHash ?? user.passwordHash;
    if (standing === passwordHash) return { ...user, passwordHash };
    // Another login of the same moment may have been faster; its hash is of the same password, or the password is another.
    const isSame = settings.checkRevokeToken && (await passwords.check(password, standing)).ok;
    return isSame ? { ...user, passwordHash: standing } : user;
  } catch (error) {
    const message = "a stronger password hash could not be stored";
    settings.log({ level: "warn", code: "rehash_failed", message, userId: user.id, error });
    return user;
  }
}
