/**
 * Exports the handler as `{ fetch }`, set up from the environment and the configuration file: `deno serve -A …/serve/fetch.js`,
 * `bun run …/serve/fetch.js`, or any other host of a module with a `fetch`.
 */
import process from "node:process";
import { loadOptions } from "../program/config-file.ts";
import { prepare } from "./start.ts";

const options = await loadOptions([], process.env);
const { endpoints, introduce } = await prepare(options);
const print = async (text: string) => (console.log(text), true);
// The host may listen elsewhere; HOST and PORT are all that is known here.
await introduce(`http://${options.host}:${options.port}`, print);

/** The module that a host serves. */
const host: { fetch(request: Request): Promise<Response> } = { fetch: endpoints.fetch };
export default host;
