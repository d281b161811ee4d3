#!/usr/bin/env node
import process from "node:process";
import { FastResponse, serve } from "srvx/node";
import { start } from "./start.ts";

// Writes status, headers and text straight to the socket, where Node's own Response would go through a stream.
globalThis.Response = FastResponse as unknown as typeof Response;

await start(serve, `Node ${process.versions.node}`);
