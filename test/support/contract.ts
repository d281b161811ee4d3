/**
 * The HTTP contract as a suite over anything that handles requests: the handler in process, or a server on a socket under
 * any runtime. Both response profiles are written out as they must arrive.
 */
import { suite } from "uvu";
import { type ContractClient, type Target, createClient } from "./contract-client.ts";
import { addEndpointCases } from "./contract-endpoints.ts";
import { addHttpCases } from "./contract-http.ts";
import { documented } from "./contract-openapi.ts";
import { addPasswordCases } from "./contract-password.ts";
import { addSessionCases } from "./contract-sessions.ts";
import { addUserCases } from "./contract-users.ts";

export * from "./contract-client.ts";

type AddCases = (it: ReturnType<typeof suite>, client: ContractClient) => void;

/**
 * Runs the contract.
 * @param open starts the target, once.
 * @param close stops it.
 */
export const httpContract = (name: string, open: () => Promise<Target>, close?: () => Promise<void>): void =>
  runCases(`${name}: contract`, [addEndpointCases, addHttpCases, addUserCases, addPasswordCases], open, close);

/** Runs the part of the contract that needs a target with the setting `sessions`, whose tokens have other claims. */
export const sessionContract = (name: string, open: () => Promise<Target>, close?: () => Promise<void>): void =>
  runCases(`${name}: contract of sessions`, [addSessionCases], open, close);

function runCases(
  name: string,
  parts: AddCases[],
  open: () => Promise<Target>,
  close: () => Promise<void> = async () => {},
): void {
  const it = suite(name);
  let target: Target;
  const client = createClient(() => target);
  it.before(async () => {
    const opened = await open();
    target = opened.isDocumented === false ? opened : await documented(opened);
  });
  it.after(close);
  for (const addCases of parts) addCases(it, client);
  it.run();
}
