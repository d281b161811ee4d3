import { endSession } from "../sessions/revocation.ts";
import { nowOf } from "../tokens/claims.ts";
import { type Context, type Endpoint, type Result, readToken } from "./endpoint.ts";
import { charField, parseFields } from "./fields.ts";

/** Revokes a refresh token and its session (Simple JWT's TokenBlacklist, its logout). Idempotent. */
export const blacklist: Endpoint = (context, data) => revoke(context, data, "refresh", "refresh");

/** Revokes a sliding token. */
export const blacklistSliding: Endpoint = (context, data) => revoke(context, data, "token", "sliding");

async function revoke(context: Context, data: unknown, field: string, type: "refresh" | "sliding"): Promise<Result> {
  const token = parseFields({ [field]: charField({ trim: true }) }, data)[field]!;
  const claims = await readToken(context, token, type);
  await endSession(context, claims, nowOf(context.settings));
  return {};
}
