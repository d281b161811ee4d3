/**
 * Types the configuration file of the server program, `jwt-endpoints.config.ts`.
 * @module
 */
import type { JwtEndpointsSettings } from "../index.ts";
import type { ServerOptions } from "./options.ts";

/**
 * What `jwt-endpoints.config.ts` exports: the settings of `createJwtEndpoints`, and those of the server itself. The store
 * is a URL here; keys and logs are the server's own.
 */
export interface ServerConfig
  extends
    Omit<JwtEndpointsSettings, "store" | "keys" | "log" | "audit" | "openapi">,
    Partial<Omit<ServerOptions, "settings" | "config" | "limits">>,
    Partial<Record<"headersTimeout" | "requestTimeout", string | number>>,
    Partial<Record<"maxHeaderSize" | "maxConnections", number>> {}

/**
 * Types a configuration file: `export default defineConfig({ port: 9000 })`.
 * @param config settings by the names of the table of settings.
 * @returns the same object. The program checks it when it starts.
 */
export const defineConfig = (config: ServerConfig): ServerConfig => config;
