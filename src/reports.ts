/** What the log reports to operator and host: settings, the way the endpoints are mounted, and unexpected errors. */
import type { JwtEndpointsError } from "./errors.ts";
import { type HttpRequest, pathOf } from "./http/message.ts";
import type { JwtEndpointsSettings, LogEvent, Settings } from "./settings/types.ts";
import { settingsWithoutEffect, weakSettings } from "./settings/check.ts";

export interface Reports {
  /** Warns, once, that the throttle counts all clients as one. */
  clientAddressUnknown(): void;
  /** Warns, once, of a proxy that is not declared, behind which all clients count as one. */
  forwarded(request: HttpRequest): void;
  /**
   * Logs an error that no client caused, and warns, once each, of a way to mount the endpoints that makes requests fail.
   * @param failure what the client gets for the error.
   * @param url of the request; `undefined` for a host's own resource.
   */
  requestFailed(failure: JwtEndpointsError, error: unknown, url: string | undefined): void;
}

const bodyAlreadyReadText =
  "a request body was read before it came here, by a parser of the host: mount the endpoints in front of it, or hand over " +
  "what it made of the body, as README says under Embed";

/** Warns of settings that are weak or have no effect. */
export function reportSettings(input: JwtEndpointsSettings, settings: Settings): void {
  const withoutEffect = settingsWithoutEffect(input, settings);
  if (withoutEffect !== undefined) {
    settings.log({ level: "warn", code: "setting_without_effect", message: withoutEffect });
  }
  for (const message of weakSettings(settings)) settings.log({ level: "warn", code: "weak_setting", message });
}

/** @param paths of all routes, with the prefix. */
export function createReports({ log, prefix }: Settings, paths: readonly string[]): Reports {
  const logged = new Set<LogEvent["code"]>();
  function warnOnce(code: LogEvent["code"], message: string): void {
    if (logged.has(code)) return;
    logged.add(code);
    log({ level: "warn", code, message });
  }

  return {
    clientAddressUnknown() {
      const message = "throttle counts all clients as one, since this host gives requests no ip; set clientAddress";
      warnOnce("client_address_unknown", message);
    },
    forwarded({ headers }) {
      if (logged.has("proxy_undeclared")) return;
      if ((headers.get("x-forwarded-for") ?? headers.get("forwarded")) === null) return;
      const message =
        "a request was forwarded by a proxy that trustedProxies doesn't name, so all of its clients count as one; set trustedProxies";
      warnOnce("proxy_undeclared", message);
    },
    requestFailed(failure, error, url) {
      const { code } = failure.data!;
      // A failure that was thrown as such is a refusal; a full queue and a client that has gone are everyday.
      if (failure !== error && code !== "login_queue_full" && code !== "client_gone") {
        log({ level: "error", code, message: "a request failed", error });
      }
      if (url === undefined) return;
      if (code === "body_already_read") warnOnce(code, bodyAlreadyReadText);
      if (code === "not_found") warnOfMount(pathOf(url));
    },
  };

  /** Warns of a path that would be a route's with more or less in front: the host mounts the endpoints elsewhere. */
  function warnOfMount(path: string): void {
    for (const route of paths) {
      if (!route.startsWith(`${prefix}/jwt/`)) continue;
      if (route.endsWith(path) && path.includes("/jwt/")) {
        const problem = `a request for ${path} is answered 404, as the endpoints are at ${route}`;
        const remedy = 'if the host takes that part off where it mounts them, set prefix to what it leaves, such as ""';
        warnOnce("path_stripped", `${problem}: ${remedy}`);
      } else if (path.endsWith(route)) {
        const problem = `a request whose path ends in ${route}, with more in front, is answered 404`;
        warnOnce("path_prefixed", `${problem}: set prefix to the whole path that the host mounts them at`);
      }
    }
  }
}
