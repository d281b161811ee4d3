/** The HTTP contract, sent to the server program over a socket, in both response profiles. */
import { openFileStore } from "../../src/stores/file/index.ts";
import { addContractUsers } from "../support/contract-client.ts";
import { httpContract } from "../support/contract.ts";
import { secret } from "../support/contract-client.ts";
import { runtime, temporaryFolder } from "../support/runtime.ts";
import { type Running, serve } from "../support/server.ts";

for (const [profile, prefix] of [
  ["djoser", ""],
  ["simplejwt", "/auth"],
] as const) {
  let server: Running;
  httpContract(
    `${runtime} server on a socket, file store, ${profile}`,
    async () => {
      const folder = temporaryFolder();
      const store = await openFileStore(folder);
      await addContractUsers(store);
      await store.close();
      server = await serve(["--store", `file:${folder}`, "--prefix", prefix, "--responses", profile], {
        JWT_SIGNING_KEY: secret,
      });
      return { profile, prefix, send: server.send };
    },
    async () => void (await server.stop()),
  );
}
