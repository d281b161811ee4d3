import { fail, isFailure } from "../errors.ts";
import { maxPasswordBytes } from "../passwords/index.ts";
import { changePassword } from "../sessions/revocation.ts";
import type { LoginRequest } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import { sessionOf } from "../tokens/claims.ts";
import { type UserEndpoint, loggedOut } from "./authenticate.ts";
import type { Context } from "./endpoint.ts";
import { charField, parseFields } from "./fields.ts";

type Problems = Record<string, string[]>;

/** Returns the fields of the body, in Djoser's order. */
export const passwordFields = (isRetyped: boolean): string[] =>
  isRetyped ? ["new_password", "re_new_password", "current_password"] : ["new_password", "current_password"];

/**
 * Changes the bearer's password and ends the user's other sessions; with `logoutOnPasswordChange` this one, too (Djoser's
 * set_password). It ends as well with `checkRevokeToken`, which compares passwords, and with a store without facts, which
 * can't tell sessions apart.
 * @throws `field_errors`; `invalid_data` when the new password is not the same twice; `user_not_found`; `throttled`
 * after many wrong passwords.
 */
export const setPassword: UserEndpoint = async (context, { data, user, claims, request }) => {
  const { settings, store, passwords, record } = context;
  const [current, next] = await readPasswords(context, data, user, request);
  const passwordHash = await passwords.hash(next, callerOf(context, request));
  const endsOwn = settings.logoutOnPasswordChange || settings.checkRevokeToken;
  let own = endsOwn || store.get === undefined || store.putIfAbsent === undefined ? undefined : claims;
  let known = user;
  for (;;) {
    const stored = await changePassword(context, known, passwordHash, own);
    if (stored === undefined) throw fail("user_not_found");
    if (stored.passwordHash === passwordHash) {
      record?.("password_changed", request, { userId: user.id, sessionId: sessionOf(settings, claims) });
      return own === undefined ? loggedOut : undefined;
    }
    // Something else changed the user meanwhile: a login made a stronger hash, the sessions were ended, or the password is
    // another one.
    if ((stored.tokensValidFrom ?? null) !== (known.tokensValidFrom ?? null)) own = undefined;
    await checkCurrent(context, current, stored, request);
    known = stored;
  }
};

/** Reads and checks the body in Django REST framework's order: all fields, then the rules for a new password. */
async function readPasswords(
  context: Context,
  data: unknown,
  user: User,
  request: LoginRequest,
): Promise<[current: string, next: string]> {
  const { setPasswordRetype, passwordRules } = context.settings;
  const names = passwordFields(setPasswordRetype);
  const problems: Problems = {};
  const fields = parseOrCollect(names, data, problems);
  if (problems.current_password === undefined) {
    const current = fields.current_password!;
    await checkCurrent(context, current, user, request).catch((error: unknown) => {
      Object.assign(problems, fieldsOf(error));
    });
  }
  throwIfAny(names, problems);
  const next = fields.new_password!;
  if (new TextEncoder().encode(next).length > maxPasswordBytes) {
    throw refused("new_password", `This password is too long. It must contain at most ${maxPasswordBytes} bytes.`);
  }
  const broken = await passwordRules(next, user);
  if (broken.length > 0) throw refused("new_password", ...broken);
  if (setPasswordRetype && fields.re_new_password !== next) {
    throw fail("invalid_data", { text: "The two password fields didn't match." });
  }
  return [fields.current_password!, next];
}

/** Returns the fields of the body that can be read, and collects what is wrong with the others. */
function parseOrCollect(names: readonly string[], data: unknown, problems: Problems): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const name of names) {
    try {
      fields[name] = parseFields({ [name]: charField({ trim: false }) }, data)[name]!;
    } catch (error) {
      Object.assign(problems, fieldsOf(error));
    }
  }
  return fields;
}

/**
 * Checks the current password, and counts a wrong one as a failed login: whoever got hold of an access token can guess here.
 * @throws `field_errors` when it is not the user's password; `throttled`.
 */
async function checkCurrent(context: Context, password: string, user: User, request: LoginRequest): Promise<void> {
  const caller = callerOf(context, request);
  const failedLogins = await context.failedLogins?.();
  const attempt = await failedLogins?.begin(user.username, caller.client, user.id);
  const { ok } = await context.passwords.check(password, user.passwordHash, true, caller).catch((error: unknown) => {
    attempt?.forgive(); // the password was not checked
    throw error;
  });
  if (!ok) throw refused("current_password", "Invalid password.");
  attempt?.succeed();
}

const callerOf = ({ clientOf }: Context, request: LoginRequest) => ({
  client: clientOf(request),
  isGone: () => request.isGone?.() === true,
});

const refused = (name: string, ...texts: string[]) => fail("field_errors", { fields: { [name]: texts } });

/** Returns the texts of `field_errors`, and throws any other error. */
function fieldsOf(error: unknown): Problems {
  const fields = isFailure(error) ? error.data!.fields : undefined;
  if (fields === undefined) throw error;
  return fields;
}

function throwIfAny(names: readonly string[], problems: Problems): void {
  const fields = Object.fromEntries(names.flatMap((name) => (problems[name] ? [[name, problems[name]]] : [])));
  if (Object.keys(fields).length > 0) throw fail("field_errors", { fields });
}
