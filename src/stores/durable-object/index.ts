/** A store in a Durable Object, for Cloudflare Workers, whose key-value stores have no step in which the first writer wins. */
import { sharedBy } from "../../shared-by.ts";
import {
  type NewUser,
  type Session,
  type SessionStore,
  type Store,
  StoreError,
  type User,
  completeUser,
} from "../store.ts";
import type { Call, CallResult, Calls } from "./object.ts";

export { JwtEndpointsStore } from "./object.ts";

/** The part of a Durable Object's namespace that is used here. */
export interface ObjectNamespace<Id = unknown> {
  idFromName(name: string): Id;
  get(id: Id): {
    fetch(url: string, init: { method: string; body: string }): Promise<Pick<Response, "ok" | "status" | "json">>;
  };
}

const usersPerCall = 500;

/**
 * Returns a store whose data is in one Durable Object of the class {@link JwtEndpointsStore}. Each method is a round trip to
 * it. The object holds everything in memory too: for up to some 50,000 users and as many valid facts.
 *
 * ```ts
 * const endpoints = createJwtEndpoints({ store: durableObjectStore(env.JWT_STORE), signingKey: env.JWT_SIGNING_KEY });
 * ```
 * @param name of the object; another name is another store.
 * @returns the same store for the same namespace and name: what limits count belongs to it, and some workers call this for
 * each request.
 */
export const durableObjectStore = <Id>(namespace: ObjectNamespace<Id>, name = "jwt-endpoints"): Store & SessionStore =>
  sharedBy(namespace, name, () => createStore(namespace, name));

function createStore<Id>(namespace: ObjectNamespace<Id>, name: string): Store & SessionStore {
  /** A stub may not outlive its request, so each call gets one of its own. */
  async function call<Method extends keyof Calls>(
    method: Method,
    ...args: Parameters<Calls[Method]>
  ): Promise<Awaited<ReturnType<Calls[Method]>>> {
    const body = JSON.stringify({ method, args } satisfies Call);
    let answer: CallResult;
    try {
      const response = await namespace.get(namespace.idFromName(name)).fetch("http://store/", { method: "POST", body });
      if (!response.ok) throw new Error(`the object responded ${response.status}`);
      answer = (await response.json()) as CallResult;
    } catch (cause) {
      throw new StoreError("STORE_UNAVAILABLE", "the Durable Object of the store did not respond", { cause });
    }
    if (answer.error !== undefined) throw new StoreError(answer.error.code, answer.error.message);
    return answer.result as Awaited<ReturnType<Calls[Method]>>;
  }

  return {
    findUserByUsername: (username, matching) => call("findUserByUsername", username, matching),
    findUserById: (id) => call("findUserById", id),
    updateUser: (id, changes, expected, matching) => call("updateUser", id, changes, expected, matching),
    addUser: (user, matching) => call("addUser", completeUser(user), matching),
    async addUsers(users, matching) {
      const batch = crypto.randomUUID();
      let waiting: User[] = [];
      await call("stageUsers", batch, waiting);
      try {
        for await (const user of users as AsyncIterable<NewUser>) {
          waiting.push(completeUser(user));
          if (waiting.length < usersPerCall) continue;
          await call("stageUsers", batch, waiting);
          waiting = [];
        }
        await call("stageUsers", batch, waiting);
        return await call("commitUsers", batch, matching);
      } catch (error) {
        await call("dropStaged", batch);
        throw error;
      }
    },
    removeUser: (id) => call("removeUser", id),
    wasRemoved: (field, value) => call("wasRemoved", field, value),
    async *listUsers() {
      yield* await call("listUsers");
    },
    async *passwordHashes() {
      yield* await call("passwordHashes");
    },
    putIfAbsent: (kind, id, value, expiresAt) => call("putIfAbsent", kind, id, value, expiresAt),
    get: (kind, id) => call("get", kind, id),
    flushExpired: () => call("flushExpired"),
    addSession: (session: Session) => call("addSession", session),
    touchSession: (id, lastUsedAt, expiresAt) => call("touchSession", id, lastUsedAt, expiresAt),
    listSessions: (userId) => call("listSessions", userId),
    removeSession: (id) => call("removeSession", id),
    ping: () => call("get", "", "").then(() => {}),
    close() {},
  };
}
