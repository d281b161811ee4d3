import { type MaybePromise, after } from "../maybe-promise.ts";
import type { Settings } from "../settings/types.ts";
import type { HttpResponse, HttpRequest } from "./message.ts";

type Step = (asked: HttpRequest) => MaybePromise<HttpResponse>;

/**
 * Lets front ends of other origins in (Fetch standard, "CORS protocol"). Wraps a step of the handler. Exact origins may
 * always send credentials, since many clients do, with and without cookies.
 */
export function withCors(step: Step, { cors, authHeaderName }: Settings): Step {
  const allowed = cors as Exclude<typeof cors, false>;
  const allowedHeaders = [...new Set(["authorization", "content-type", authHeaderName.toLowerCase()])].join(", ");
  return (asked) => {
    const origin = asked.headers.get("origin");
    const isAllowed = origin !== null && (allowed === "*" || allowed.includes(origin));
    const isPreflight =
      isAllowed && asked.method === "OPTIONS" && asked.headers.get("access-control-request-method") !== null;
    return after(isPreflight ? { status: 204, headers: {}, body: "" } : step(asked), (answer) => {
      const headers: Record<string, string> = { ...answer.headers };
      if (allowed !== "*") headers.vary = "Origin"; // the answer differs by origin, also for those refused
      if (isAllowed) {
        headers["access-control-allow-origin"] = allowed === "*" ? "*" : origin;
        headers["access-control-expose-headers"] = "retry-after, www-authenticate";
        if (allowed !== "*") headers["access-control-allow-credentials"] = "true";
      }
      if (isPreflight) {
        headers["access-control-allow-methods"] = "POST, OPTIONS";
        headers["access-control-allow-headers"] = allowedHeaders;
        headers["access-control-max-age"] = "86400";
      }
      return { ...answer, headers };
    });
  };
}
