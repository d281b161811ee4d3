/** The HTTP contract, in process. */
import { httpContract } from "../support/contract.ts";
import { endpointsWith } from "../support/endpoints.ts";

for (const [profile, prefix] of [
  ["djoser", ""],
  ["simplejwt", "/auth"],
] as const) {
  httpContract(`in process, ${profile}`, async () => {
    const { send } = await endpointsWith({ responses: profile, prefix });
    return { profile, prefix, send };
  });
}
