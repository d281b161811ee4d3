#!/usr/bin/env node
import process from "node:process";
import { serve } from "srvx/node";
import { start } from "./start.ts";

await start(serve, `Node ${process.versions.node}`);
