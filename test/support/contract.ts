/**
 * The HTTP contract as a suite over anything that handles requests: the handler in process, or a server on a socket under
 * any runtime. Both response profiles are written out as they must arrive.
 */
import { suite } from "uvu";
import { type Target, createClient } from "./contract-client.ts";
import { addEndpointCases } from "./contract-endpoints.ts";
import { addHttpCases } from "./contract-http.ts";
import { addPasswordCases } from "./contract-password.ts";
import { addUserCases } from "./contract-users.ts";

export * from "./contract-client.ts";

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
  addUserCases(it, client);
  addPasswordCases(it, client);
  it.run();
}
