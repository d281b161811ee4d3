/** The one part of @hapi/boom that is used. `build.ts` replaces this file in the package by one that holds it. */
export { Boom } from "@hapi/boom";
