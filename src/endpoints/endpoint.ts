/** What all endpoints share: their context, their shape, and tokens read and signed with the keys of the context. */
import type { RecordEvent } from "../audit.ts";
import type { KeySet } from "../keys/key-set.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import type { Passwords } from "../passwords/index.ts";
import type { FailedLogins } from "./failed-logins.ts";
import type { SessionContext } from "../sessions/state.ts";
import type { LoginRequest } from "../settings/types.ts";
import type { Claims, TokenType } from "../tokens/claims.ts";
import { signToken } from "../tokens/sign.ts";
import { verifyToken } from "../tokens/verify.ts";

export interface Context extends SessionContext {
  readonly passwords: Passwords;
  /** The keys, imported on first use. */
  readonly keys: () => MaybePromise<KeySet>;
  /** Records an audit event; `undefined` while nobody receives them. */
  readonly record?: RecordEvent | undefined;
  /** Counts failed logins by account, when that is on. */
  readonly failedLogins?: (() => MaybePromise<FailedLogins>) | undefined;
  /** Returns what requests of one client share: its address, of IPv6 the /64; `undefined` when it is unknown. */
  readonly clientOf: (request: LoginRequest) => string | undefined;
}

/** The body of a successful response. */
export type Result = Readonly<Record<string, string>>;

/**
 * An endpoint: plain data in, plain data out, free of HTTP. Every failure is thrown as a coded error, synchronously or by
 * the promise.
 * @param data the parsed body, not yet validated.
 * @param request for the host's hooks and the audit events alone.
 */
export type Endpoint = (context: Context, data: unknown, request: LoginRequest) => MaybePromise<Result>;

/**
 * Verifies a token with the current keys.
 * @param type the type the token must have; without it, any type or none is accepted.
 * @throws the coded error of the first rule that fails, such as `token_invalid`.
 */
export const readToken = ({ settings, keys }: Context, token: string, type?: TokenType): MaybePromise<Claims> =>
  after(keys(), (keySet) => verifyToken(settings, keySet, token, type));

/**
 * Signs claims with the active key.
 * @throws `keys_unavailable` when there is none.
 */
export const sign = ({ keys }: Context, claims: Claims): MaybePromise<string> =>
  after(keys(), ({ signing }) => signToken(signing, claims));
