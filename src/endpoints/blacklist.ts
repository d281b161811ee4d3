import { endSession } from "../sessions/revocation.ts";
import type { LoginRequest } from "../settings/types.ts";
import { nowOf, sessionOf, userIdFrom } from "../tokens/claims.ts";
import { type Context, type Endpoint, type Result, readToken } from "./endpoint.ts";
import { charField, parseFields } from "./fields.ts";

/** Revokes a refresh token and its session (Simple JWT's TokenBlacklist, its logout). Idempotent. */
export const blacklist: Endpoint = (context, data, request) => revoke(context, data, request, "refresh");

/** Revokes a sliding token. */
export const blacklistSliding: Endpoint = (context, data, request) => revoke(context, data, request, "sliding");

async function revoke(
  context: Context,
  data: unknown,
  request: LoginRequest,
  type: "refresh" | "sliding",
): Promise<Result> {
  const { settings } = context;
  const field = type === "sliding" ? "token" : "refresh";
  const token = parseFields({ [field]: charField({ trim: true }) }, data)[field]!;
  const claims = await readToken(context, token, type);
  await endSession(context, claims, nowOf(settings));
  const [userId, sessionId] = [userIdFrom(settings, claims), sessionOf(settings, claims)];
  context.record?.("logout", request, { userId, sessionId });
  return {};
}
