/**
 * The handler as a module's default export, set up from the environment alone: `deno serve -A …/serve/fetch.js`,
 * `bun run …/serve/fetch.js`, or any host that takes `{ fetch }`.
 */
import process from "node:process";
import { readOptions } from "../program/options.ts";
import { prepare } from "./start.ts";

const options = readOptions([], process.env);
const { endpoints, introduce } = await prepare(options);
const print = async (text: string) => (console.log(text), true);
await introduce(`http://${options.host}:${options.port}`, print); // where the host listens is its own affair: this is what it was told

export default { fetch: endpoints.fetch };
