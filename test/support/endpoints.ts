/** The endpoints in process, over a memory store that holds the users of the contract. */
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { type TestRequest, addContractUsers, iterations, secret } from "./contract-client.ts";
import { keptIn } from "./runtime.ts";

export const credentials = { username: "ada", password: "correct horse" };

/** @returns the endpoints, their store, the events they log, and functions that send a request through `fetch`. */
export async function endpointsWith(more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore();
  await addContractUsers(store);
  const log: LogEvent[] = [];
  const settings = { store, signingKey: secret, hashing: { iterations }, log: keptIn(log) };
  const endpoints = createJwtEndpoints({ ...settings, ...more });
  const send = async (path: string, { method = "GET", headers = {}, body }: TestRequest) => {
    const init = { method, headers, body: body as BodyInit | undefined };
    const response = await endpoints.fetch(new Request(`http://localhost${path}`, init));
    const cookies = response.headers.getSetCookie().join(", ");
    const received = { ...Object.fromEntries(response.headers), ...(cookies !== "" && { "set-cookie": cookies }) };
    return { status: response.status, headers: received as Record<string, string>, text: await response.text() };
  };
  const post = (path: string, data: unknown, headers: Record<string, string> = {}) =>
    send(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(data),
    });
  return { endpoints, store, log, send, post };
}
