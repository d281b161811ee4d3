import process from "node:process";
import { serve } from "srvx/bun";
import { start } from "./start.ts";

await start(serve, `Bun ${process.versions.bun}`);
