import { fail } from "../errors.ts";
import type { PasswordCheck } from "../passwords/index.ts";
import { recordLogin } from "../sessions/recorded.ts";
import { mayLogIn } from "../sessions/state.ts";
import type { AuditEvent, LoginRequest, Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import { type Claims, accessClaims, loginClaims, nowOf, sessionOf } from "../tokens/claims.ts";
import { type Context, type Endpoint, sign } from "./endpoint.ts";
import { charField, parseFields } from "./fields.ts";

/** Returns a refresh and an access token for a user name and password (Simple JWT's TokenObtainPair). */
export const create: Endpoint = async (context, data, request) => {
  const { settings } = context;
  const { user, now } = await logIn(context, data, request);
  const claims = await loginClaims(settings, user, "refresh", now);
  const [refresh, access] = await Promise.all([
    sign(context, claims),
    sign(context, accessClaims(settings, claims, claims.iat as number)),
  ]);
  await recordLogin(context, user, claims, request);
  auditLogin(context, request, user, claims);
  return { refresh, access };
};

/** Returns a sliding token for a user name and password (Simple JWT's TokenObtainSliding). */
export const createSliding: Endpoint = async (context, data, request) => {
  const { user, now } = await logIn(context, data, request);
  const claims = await loginClaims(context.settings, user, "sliding", now);
  const token = await sign(context, claims);
  await recordLogin(context, user, claims, request);
  auditLogin(context, request, user, claims);
  return { token };
};

function auditLogin({ record, settings }: Context, request: LoginRequest, user: User, claims: Claims): void {
  record?.("login", request, { userId: user.id, sessionId: sessionOf(settings, claims) });
}

/** The user of a successful login, and when the login began, in seconds. */
interface Login {
  user: User;
  now: number;
}

async function logIn(context: Context, data: unknown, request: LoginRequest): Promise<Login> {
  const { settings, store, passwords } = context;
  const { usernameField } = settings;
  const fields = parseFields(
    { [usernameField]: charField({ trim: true }), password: charField({ trim: false }) },
    data,
  );
  const [username, password] = [fields[usernameField]!, fields.password!];
  const now = nowOf(settings);
  const client = context.clientOf(request);
  const failedLogins = await context.failedLogins?.();
  const attempt = await failedLogins?.begin(username, client);
  const find = async () =>
    (await store.findUserByUsername(username.normalize("NFKC"), settings.usernameMatching)) ?? undefined;
  const user = await find();
  // Every refused login does the same hashing, for an unknown user and for the right password of a disabled one too, so
  // that time does not tell which users exist. A host's rule may be slow, so it is asked only once the password is right.
  const isExpected =
    user !== undefined && settings.userAuthenticationRule === undefined && (await mayLogIn(settings, user));
  const caller = { client, isGone: () => request.isGone?.() === true };
  const checked = await passwords.check(password, user?.passwordHash, isExpected, caller).catch((error: unknown) => {
    attempt?.forgive(); // the password was not checked
    throw error;
  });
  warnOfFormat(settings, checked, user);
  const isRight = checked.ok && user !== undefined && (await mayLogIn(settings, user));
  const confirmed = isRight ? await confirmUser(settings, user, await find(), now) : undefined;
  if (confirmed === undefined) {
    context.record?.("login_failed", request, { userId: user?.id, reason: reasonOf(checked, user, isRight) });
    await settings.onLoginFailed?.({ [usernameField]: username }, request);
    throw fail("invalid_credentials");
  }
  attempt?.succeed();
  const upgraded = checked.isWeak ? await upgradeHash(context, confirmed, password) : confirmed;
  if (settings.updateLastLogin) await store.updateUser!(confirmed.id, { lastLogin: now });
  await settings.onLoginSuccess?.(confirmed, request);
  return { user: upgraded, now };
}

/** Words for the operator why a login failed. The client is never told, and every failed login takes as long. */
function reasonOf(checked: PasswordCheck, user: User | undefined, isRight: boolean): AuditEvent["reason"] {
  if (user === undefined) return "unknown_user";
  if (checked.unknownFormat || (checked.missingPackage ?? checked.refusedWork) !== undefined) return "unusable_hash";
  if (!checked.ok) return "wrong_password";
  return isRight ? "changed_meanwhile" : "not_allowed";
}

/** Warns of a stored hash that can't be checked, which the operator has to mend. */
function warnOfFormat(settings: Settings, checked: PasswordCheck, user: User | undefined): void {
  const { unknownFormat, missingPackage, refusedWork } = checked;
  if (refusedWork !== undefined) {
    const message = `the stored password hash can't be checked: ${refusedWork}`;
    settings.log({ level: "warn", code: "password_work_refused", message, userId: user!.id });
  }
  if (!unknownFormat && missingPackage === undefined) return;
  const message =
    missingPackage === undefined
      ? "the stored password hash is of no known format"
      : `the stored password hash needs the package ${missingPackage}, which is not installed`;
  settings.log({ level: "warn", code: "password_format_unknown", message, userId: user!.id });
}

/**
 * Compares a user with what a second look-up found after the password was checked. Another process may have revoked the
 * user's tokens just before the login, perhaps with a new password, and the store may have read that only meanwhile.
 * @param user as found first, and checked.
 * @param latest as found now.
 * @param now when the login began, in seconds.
 * @returns the user to issue tokens for; `undefined` when the user is gone or may no longer log in with this password.
 */
async function confirmUser(
  settings: Settings,
  user: User,
  latest: User | undefined,
  now: number,
): Promise<User | undefined> {
  if (latest?.id !== user.id) return undefined;
  const mark = latest.tokensValidFrom ?? null;
  // A login that began before the issued-before mark gets the tokens of the user found first, which the mark revokes.
  if (mark === (user.tokensValidFrom ?? null) || mark === null || mark >= now) return user;
  const isUnchanged = latest.passwordHash === user.passwordHash && (await mayLogIn(settings, latest));
  return isUnchanged ? latest : undefined;
}

/**
 * Replaces a weak hash of the password that was just checked, unless the stored hash has changed meanwhile. A failure is
 * logged and does not fail the login.
 * @returns the user, with the stored hash where that is of this password, since `checkRevokeToken` compares it.
 */
async function upgradeHash(context: Context, user: User, password: string): Promise<User> {
  const { settings, store, passwords } = context;
  try {
    const passwordHash = await passwords.hash(password);
    const changed = await store.updateUser?.(user.id, { passwordHash }, { passwordHash: user.passwordHash });
    const stored = changed?.passwordHash ?? user.passwordHash;
    if (stored === passwordHash) return { ...user, passwordHash };
    // Either a login at the same time was faster, and its hash is of the same password, or the password was changed.
    const isSame = settings.checkRevokeToken && (await passwords.check(password, stored)).ok;
    return isSame ? { ...user, passwordHash: stored } : user;
  } catch (error) {
    // With a full queue the hash is left for the next login.
    if ((error as { code?: unknown } | undefined)?.code === "PASSWORD_QUEUE_FULL") return user;
    const message = "a stronger password hash could not be made or stored";
    settings.log({ level: "warn", code: "rehash_failed", message, userId: user.id, error });
    return user;
  }
}
