/**
 * The handler as a module's default export, set up from the environment alone: `deno serve -A …/serve/fetch.js`,
 * `bun run …/serve/fetch.js`, or any host that takes `{ fetch }`.
 */
import process from "node:process";
import { prepare } from "./start.ts";

const { endpoints } = await prepare([], process.env);

export default { fetch: endpoints.fetch };
