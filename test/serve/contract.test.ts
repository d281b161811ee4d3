/** The HTTP contract, sent to the server program over a socket, in both response profiles. */
import { openFileStore } from "../../src/stores/file/index.ts";
import { addContractUsers, secret } from "../support/contract-client.ts";
import { httpContract, sessionContract } from "../support/contract.ts";
import { runtime, temporaryFolder } from "../support/runtime.ts";
import { type Running, serve } from "../support/server.ts";

for (const [profile, prefix] of [
  ["djoser", ""],
  ["simplejwt", "/auth"],
] as const) {
  for (const [runContract, flags] of [
    [httpContract, []],
    [sessionContract, ["--sessions", "true"]],
  ] as const) {
    let server: Running;
    runContract(
      `${runtime} server on a socket, file store, ${profile}`,
      async () => {
        const folder = temporaryFolder();
        const store = await openFileStore(folder);
        await addContractUsers(store);
        await store.close();
        const args = ["--store", `file:${folder}`, "--prefix", prefix, "--responses", profile, ...flags];
        server = await serve(args, { JWT_SIGNING_KEY: secret });
        return { profile, prefix, send: server.send };
      },
      async () => void (await server.stop()),
    );
  }
}
