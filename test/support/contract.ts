/**
 * The HTTP contract as a suite over anything that handles requests: the handler in process, or a server on a socket under
 * any runtime. Both response profiles are written out as they must arrive.
 */
import { suite } from "uvu";
import { type Target, createClient } from "./contract-client.ts";
import { addEndpointCases } from "./contract-endpoints.ts";
import { addHttpCases } from "./contract-http.ts";

export * from "./contract-client.ts";
export type { TestRequest as Asked, TestResponse as Answer } from "./contract-client.ts";

/**
 * Runs the contract.
 * @param open starts the target, once.
 * @param close stops it.
 */
export function httpContract(
  name: string,
  open: () => Promise<Target>,
  close: () => Promise<void> = async () => {},
): void {
  const it = suite(`${name}: contract`);
  let target: Target;
  const client = createClient(() => target);
  it.before(async () => {
    target = await open();
  });
  it.after(close);
  addEndpointCases(it, client);
  addHttpCases(it, client);
  it.run();
}
