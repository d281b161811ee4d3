/**
 * The servers beside ours in the bench `attacks`: Fastify with its rate limit, and Django with the throttling of Django REST
 * framework. Both have our default limit of logins per client address and take that from `X-Forwarded-For`; a refresh
 * revokes its token, and so does a logout. Fastify keeps what is revoked in memory, the least that a user could do.
 */
import { pbkdf2, timingSafeEqual } from "node:crypto";
import process from "node:process";
import { promisify } from "node:util";
import { createPasswords } from "../../src/passwords/index.ts";
import { claimsOf } from "../../test/support/tokens.ts";
import { accessClaims, fastifyApp } from "./contestants.ts";
import { credentials, startDjoser } from "./programs.ts";

/** Logins per minute and client address: our default. */
const loginsPerMinute = 20;

const derive = promisify(pbkdf2);
const refused = { non_field_errors: ["Unable to log in with provided credentials."] };
const invalid = { detail: "Token is invalid or expired" };

/** Serves logins, refreshes with rotation, and logouts. */
async function serveFastify(iterations: number): Promise<void> {
  const { default: rateLimit } = await import("@fastify/rate-limit");
  const [, , salt, hash] = (await createPasswords({ iterations }).hash(credentials.password)).split("$");
  const stored = Buffer.from(hash!, "base64");
  const { app, sign, verify, serve } = await fastifyApp(false, { trustProxy: "127.0.0.1" });
  const revoked = new Set<unknown>();
  const pair = (userId: unknown) => {
    const refresh = claimsOf("refresh", 86_400, userId);
    return { refresh: sign(refresh), access: sign(accessClaims(refresh)) };
  };
  /** Revokes a token that is valid so far. */
  const revoke = (token: string): { user_id: unknown } | undefined => {
    const claims = verify(token) as { jti: unknown; user_id: unknown };
    return revoked.has(claims.jti) ? undefined : (revoked.add(claims.jti), claims);
  };
  await app.register(rateLimit, { global: false });
  const limited = { config: { rateLimit: { max: loginsPerMinute, timeWindow: "1 minute" } } };
  app.post<{ Body: typeof credentials }>("/jwt/create/", limited, async ({ body }, reply) => {
    const derived = await derive(body.password, salt!, iterations, 32, "sha256");
    return timingSafeEqual(derived, stored) ? pair("1") : reply.code(400).send(refused);
  });
  app.post<{ Body: { refresh: string } }>("/jwt/refresh/", async ({ body }, reply) => {
    const claims = revoke(body.refresh);
    return claims === undefined ? reply.code(401).send(invalid) : pair(claims.user_id);
  });
  app.post<{ Body: { refresh: string } }>("/jwt/blacklist/", async ({ body }, reply) =>
    revoke(body.refresh) === undefined ? reply.code(401).send(invalid) : {},
  );
  await serve();
}

/** As the documentation of Django REST framework has it. By default each process counts on its own. */
const settings = `
REST_FRAMEWORK["DEFAULT_THROTTLE_CLASSES"] = ["rest_framework.throttling.ScopedRateThrottle"]
REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"] = {"login": "${loginsPerMinute}/min"}
REST_FRAMEWORK["NUM_PROXIES"] = 1
SIMPLE_JWT.update(ROTATE_REFRESH_TOKENS=True, BLACKLIST_AFTER_ROTATION=True)
`;
const urls = `
from rest_framework_simplejwt.views import TokenObtainPairView
TokenObtainPairView.throttle_scope = "login"
`;

/** Starts Django with throttling. */
export const startLimitedDjango = (workers: number, iterations: number) =>
  startDjoser(workers, iterations, { settings, urls });

if (process.argv[1]?.includes("limited")) {
  process.once("SIGTERM", () => process.exit(0));
  await serveFastify(Number(process.argv[2]));
}
