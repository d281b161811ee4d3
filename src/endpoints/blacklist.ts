import { nowOf } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import { type Context, type Endpoint, charField, parseFields } from "./endpoint.ts";
import { endSession } from "../sessions/rotation.ts";

/** A refresh token in, which is good for nothing from then on, with its session (Simple JWT's TokenBlacklist, its logout). */
export const blacklist: Endpoint = (context, data) => end(context, data, "refresh", "refresh");

/** The same for a site of sliding tokens. */
export const blacklistSliding: Endpoint = (context, data) => end(context, data, "token", "sliding");

async function end(context: Context, data: unknown, field: string, type: "refresh" | "sliding"): Promise<{}> {
  const { settings } = context;
  const token = parseFields({ [field]: charField({ trim: true }) }, data)[field]!;
  await endSession(context, await verifyToken(settings, await context.keys(), token, type), nowOf(settings));
  return {};
}
