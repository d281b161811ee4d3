/**
 * The OpenAPI document of the endpoints, for the setting `openapi`.
 *
 * ```ts
 * const endpoints = createJwtEndpoints({ store, signingKey, openapi: openapiDocument });
 * ```
 * @module
 */
export { openapiDocument } from "./document.ts";
export { type DocsPage, docsPage } from "./page.ts";
