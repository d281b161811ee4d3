/** Audit events: who logged in, out and was refused, for the host's `audit` hook. Holds no name, password, token or hash. */
import type { AuditEvent, AuditEventName, LoginRequest, Settings } from "./settings/types.ts";
import type { HttpRequest, HttpResponse } from "./http/message.ts";
import { type MaybePromise, after } from "./maybe-promise.ts";

/** What an endpoint knows of an event. */
export type AuditDetails = Pick<AuditEvent, "userId" | "sessionId" | "reason">;

/**
 * Records an event of a request, unless `auditEvents` leaves it out.
 * @param request `undefined` for a call of the host's own.
 */
export type RecordEvent = (event: AuditEventName, request: LoginRequest | undefined, details: AuditDetails) => void;

export interface Audit {
  readonly record: RecordEvent;
  /**
   * Adds `X-Request-Id` to a response: the id that the request brought, else the one that its events got.
   * @param mayRecord whether the request can have recorded an event.
   */
  withRequestId(
    request: HttpRequest,
    response: MaybePromise<HttpResponse>,
    mayRecord: boolean,
  ): MaybePromise<HttpResponse>;
}

/** The ids that are taken from a client: UUIDs and the like. No token is that short, and none of it can break a line. */
const saneId = /^[\w.:-]{1,64}$/;

/** @returns `undefined` without an `audit` hook. */
export function createAudit(settings: Settings): Audit | undefined {
  const { audit, clientAddress, now, log } = settings;
  if (audit === undefined) return undefined;
  const recorded = new Set<AuditEventName>(settings.auditEvents);
  const made = new WeakMap<LoginRequest, string>();

  function givenId({ headers }: LoginRequest): string | undefined {
    const id = headers.get("x-request-id");
    return id !== null && saneId.test(id) ? id : undefined;
  }

  function idOf(request: LoginRequest): string {
    const id = givenId(request) ?? made.get(request) ?? crypto.randomUUID();
    made.set(request, id);
    return id;
  }

  return {
    record(event, request, { userId, sessionId, reason }) {
      if (!recorded.has(event)) return;
      const time = new Date(now()).toISOString();
      const call = async (): Promise<void> => {
        const from = request && { requestId: idOf(request), client: clientAddress(request) };
        await audit({ time, event, ...from, userId, sessionId, reason });
      };
      call().catch((error: unknown) => {
        log({ level: "error", code: "log_failed", message: `the audit hook failed for the event ${event}`, error });
      });
    },
    withRequestId(request, response, mayRecord) {
      const given = givenId(request);
      if (given === undefined && !mayRecord) return response;
      return after(response, (whole) => {
        const id = given ?? made.get(request);
        return id === undefined ? whole : { ...whole, headers: { ...whole.headers, "x-request-id": id } };
      });
    },
  };
}
