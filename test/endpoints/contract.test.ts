/** The HTTP contract, in process. */
import { openapiDocument } from "../../src/openapi/index.ts";
import { httpContract, sessionContract } from "../support/contract.ts";
import { endpointsWith } from "../support/endpoints.ts";

for (const [profile, prefix] of [
  ["djoser", ""],
  ["simplejwt", "/auth"],
] as const) {
  const openWith = (sessions: boolean) => async () => {
    const { send } = await endpointsWith({ responses: profile, prefix, sessions, openapi: openapiDocument });
    return { profile, prefix, send };
  };
  httpContract(`in process, ${profile}`, openWith(false));
  sessionContract(`in process, ${profile}`, openWith(true));
}
