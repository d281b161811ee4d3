import process from "node:process";
import { serve } from "srvx/deno";
import { start } from "./start.ts";

await start(serve, `Deno ${process.versions.deno}`);
