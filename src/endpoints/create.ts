import { fail } from "../errors.ts";
import type { LoginRequest, Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import { accessClaims, loginClaims, nowOf } from "../tokens/claims.ts";
import { signToken } from "../tokens/sign.ts";
import { type Context, type Endpoint, charField, parseFields } from "./endpoint.ts";
import { mayAuthenticate } from "../sessions/rotation.ts";

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
  const find = async () =>
    (await store.findUserByUsername(username.normalize("NFKC"), settings.usernameMatching)) ?? undefined;
  const user = await find();
  // All refused logins do the same hashing, whichever user they name, so that time does not tell which users there are. That
  // includes the right password of a user who may not log in. A rule of the host's is asked when the password is right,
  // so what it will say is not known yet.
  const mayLogIn =
    user !== undefined && settings.userAuthenticationRule === undefined && (await mayAuthenticate(settings, user));
  const checked = await passwords.check(password, user?.passwordHash, mayLogIn);
  const { ok, isWeak = false, unknownFormat, missingPackage } = checked;
  if (unknownFormat || missingPackage !== undefined) {
    const message =
      missingPackage === undefined
        ? "the stored password hash is of no known format"
        : `the stored password hash needs the package ${missingPackage}, which is not installed`;
    settings.log({ level: "warn", code: "password_format_unknown", message, userId: user!.id });
  }
  const isRight = ok && user !== undefined && (await mayAuthenticate(settings, user));
  const standing = isRight ? await reconsider(settings, user, await find(), now) : undefined;
  if (standing === undefined) {
    await settings.onLoginFailed?.({ [usernameField]: username }, request);
    throw fail("invalid_credentials");
  }
  const upgraded = isWeak ? await upgradeHash(context, standing, password) : standing;
  if (settings.updateLastLogin) await store.updateUser!(standing.id, { lastLogin: now });
  await settings.onLoginSuccess?.(standing, request);
  return { user: upgraded, now };
}

/**
 * Looks at a user again after the password was found right. Another process may have ended the user's sessions just before
 * the login, with a new password for instance, and a store of several processes has heard of it by now.
 * @returns the user to issue tokens for; `undefined` when the user is gone, or may not log in any more with this password.
 */
async function reconsider(
  settings: Settings,
  user: User,
  standing: User | undefined,
  now: number,
): Promise<User | undefined> {
  if (standing?.id !== user.id) return undefined;
  const mark = standing.tokensValidFrom ?? null;
  // Tokens of a login that began before the mark have to be void, as those of the user that was read first are.
  if (mark === (user.tokensValidFrom ?? null) || mark === null || mark >= now) return user;
  const isSame = standing.passwordHash === user.passwordHash && (await mayAuthenticate(settings, standing));
  return isSame ? standing : undefined;
}

/**
 * Only over the hash that was checked: a password changed meanwhile must not come back. A failure costs no login.
 * @returns the user as it was read, with the hash that stands if it is of this password: `checkRevokeToken` is about that.
 */
async function upgradeHash(context: Context, user: User, password: string): Promise<User> {
  const { settings, store, passwords } = context;
  try {
    const passwordHash = await passwords.hash(password);
    const changed = await store.updateUser?.(user.id, { passwordHash }, { passwordHash: user.passwordHash });
    const standing = changed?.passwordHash ?? user.passwordHash;
    if (standing === passwordHash) return { ...user, passwordHash };
    // Another login of the same moment may have been faster; its hash is of the same password, or the password is another.
    const isSame = settings.checkRevokeToken && (await passwords.check(password, standing)).ok;
    return isSame ? { ...user, passwordHash: standing } : user;
  } catch (error) {
    if ((error as { code?: unknown } | undefined)?.code === "PASSWORD_QUEUE_FULL") return user; // the next login will do
    const message = "a stronger password hash could not be made or stored";
    settings.log({ level: "warn", code: "rehash_failed", message, userId: user.id, error });
    return user;
  }
}
