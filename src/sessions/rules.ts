/**
 * The rules of sessions: whether a token whose signature and claims are valid is still honoured. Pure functions over what
 * `state.ts` has looked up; each returns the code of the contract's error that comes first, or `undefined`.
 */
import type { ErrorCode } from "../errors.ts";
import { recordsRotations } from "../settings/check.ts";
import type { Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import { type Claims, type Issue, isIssuedBeforeMark, loginTime, sessionEnd, userIdFrom } from "../tokens/claims.ts";

/** The rotation of a refresh token as it is recorded: the successor, and when it was made. */
export interface RecordedRotation extends Issue {
  /** When the token was rotated, in seconds. */
  readonly usedAt: number;
}

/** A recorded rotation as it was looked up. */
export interface Rotation extends RecordedRotation {
  /** When the rotation was looked up, in seconds. */
  readonly readAt: number;
  /** Whether the successor has been rotated in its turn. Looked up for `refreshGrace: "until-used"` alone. */
  readonly isSuccessorUsed?: boolean;
}

/** The recorded facts about a token. The look-up stops at the first one that decides. */
export interface TokenFacts {
  /** The token itself was revoked. */
  readonly isBlacklisted?: boolean;
  /** The token's session was ended, by a logout or for reuse. */
  readonly isSessionEnded?: boolean;
  /** The rotation of the token; `undefined` for a token that has not been rotated. */
  readonly rotation?: Rotation | undefined;
}

/** The user named by a token. */
export interface Account {
  /** `undefined` when the token names no user or the store has none. */
  readonly user: User | undefined;
  /** The user's issued-before mark, where the store returned it without the user. */
  readonly tokensValidFrom?: number | null;
  /** Whether the user was removed. Looked up for a missing user at `verify`; otherwise false. */
  readonly wasRemoved: boolean;
  /** Whether the user may log in (`userAuthenticationRule`). Asked at `refresh`; otherwise true. */
  readonly mayLogIn: boolean;
  /** The digest of the user's password. Looked up for `checkRevokeToken` alone. */
  readonly passwordDigest?: string;
  /** Whether the token's session goes on past the user's issued-before mark: the one that changed the password. */
  readonly isKept?: boolean;
}

/** What the store knows of a token. */
export interface TokenState {
  readonly account: Account;
  readonly facts: TokenFacts;
}

/** Whether a fact revokes the token, by itself or with its session. */
export const isRevokedByFact = ({ isBlacklisted = false, isSessionEnded = false }: TokenFacts): boolean =>
  isBlacklisted || isSessionEnded;

/** Whether all tokens of the user were revoked after the token was issued. */
export const isRevokedByUser = (claims: Claims, account: Account): boolean =>
  account.isKept !== true && isIssuedBeforeMark(claims, account.user ?? account);

/** Whether a token was revoked: by itself, with its session, or with all tokens of its user. */
export const isRevoked = (claims: Claims, { account, facts }: TokenState): boolean =>
  isRevokedByUser(claims, account) || isRevokedByFact(facts);

/** Whether the token is refused whatever the facts are, so that none has to be looked up. */
export const isRefusedByUser = (claims: Claims, account: Account): boolean =>
  account.wasRemoved || !account.mayLogIn || isRevokedByUser(claims, account);

/** Whether a token may be rotated only once, so that its successor has to be looked up. */
export function isSingleUse(settings: Settings, claims: Claims): boolean {
  return recordsRotations(settings) && claims[settings.tokenTypeClaim] === "refresh";
}

/** Whether the user has another password than the one that the token was issued under; false without `checkRevokeToken`. */
const isPasswordChanged = (settings: Settings, claims: Claims, { passwordDigest }: Account): boolean =>
  settings.checkRevokeToken && (passwordDigest === undefined || claims[settings.revokeTokenClaim] !== passwordDigest);

/** How far the clocks of several processes may be apart, in seconds. */
const clockSkew = 5;

/**
 * Whether a rotated token may still be presented, and is given the same successor again. A rotation recorded ahead of the
 * clock by more than the grace period was recorded before the clock was set back: the grace period is then over, since it
 * would otherwise last until the clock arrives there again.
 * @param now when the request began, in seconds: the time a request waits for the store does not count.
 */
export function isInGrace({ refreshGrace }: Settings, rotation: Rotation, now: number): boolean {
  if (refreshGrace === "until-used") return rotation.isSuccessorUsed !== true;
  const { usedAt, readAt } = rotation;
  return Math.max(0, now - usedAt) < refreshGrace && usedAt - readAt < Math.max(refreshGrace, clockSkew);
}

/** Whether a token has been rotated and its grace period is over. To ask does not count as reuse. */
export function isUsedUp(settings: Settings, { rotation }: TokenFacts): boolean {
  return rotation !== undefined && !isInGrace(settings, rotation, rotation.readAt);
}

/**
 * The rules of `verify`. A missing user is not an error: `verify` judges the token alone. A removed user is one.
 */
export function verifyError(settings: Settings, claims: Claims, state: TokenState): ErrorCode | undefined {
  const { user, wasRemoved } = state.account;
  if (wasRemoved || isRevoked(claims, state) || isUsedUp(settings, state.facts)) return "verify_blacklisted";
  if (user !== undefined && isPasswordChanged(settings, claims, state.account)) return "password_changed";
  return undefined;
}

/**
 * The rules of `refresh`, before rotation. Whether the token has been rotated already is decided by `rotate`, which records
 * the rotation in the same step.
 * @param now in seconds.
 */
export function refreshError(
  settings: Settings,
  claims: Claims,
  state: TokenState,
  now: number,
): ErrorCode | undefined {
  const { user, mayLogIn } = state.account;
  if (user === undefined || !mayLogIn) return "no_active_account";
  if (isRevoked(claims, state)) return "token_blacklisted";
  if (isPasswordChanged(settings, claims, state.account)) return "password_changed";
  if (now >= sessionEnd(settings, claims)) return "token_expired";
  return undefined;
}

/** The rules of a bearer token, in the order of Simple JWT's JWTAuthentication. */
export function bearerError(settings: Settings, claims: Claims, state: TokenState): ErrorCode | undefined {
  const { user } = state.account;
  if (isRevoked(claims, state) || isUsedUp(settings, state.facts)) return "token_blacklisted";
  if (userIdFrom(settings, claims) === undefined) return "no_user_claim";
  if (user === undefined) return "user_not_found";
  if (settings.checkUserIsActive && !user.isActive) return "user_inactive";
  if (isPasswordChanged(settings, claims, state.account)) return "password_changed";
  return undefined;
}

/**
 * Returns the id of the fact that keeps a session past an issued-before mark. Tokens without `sid` are told apart by their
 * login, so logins of one user within the same second are one session here.
 */
export function keptIdOf(claims: Claims, userId: string, mark: number): string {
  const { sid } = claims;
  return JSON.stringify([userId, typeof sid === "string" && sid !== "" ? sid : loginTime(claims), mark]);
}
