/** The HTTP contract over a socket, sent to each framework that has an example, on the runtimes that it supports. */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { httpContract } from "../support/contract.ts";
import { endpointsWith } from "../support/endpoints.ts";
import { type Running, exampleHosts, sendTo } from "../support/hosts.ts";
import { runtime } from "../support/runtime.ts";

const hosts = exampleHosts.filter(({ runtimes }) => runtimes === undefined || runtimes.includes(runtime));

for (const { name, prefix, refusesPath = () => false, start } of hosts) {
  for (const profile of name === "Express" ? (["djoser", "simplejwt"] as const) : (["djoser"] as const)) {
    let host: Running;
    httpContract(
      `${name} on ${runtime}, ${profile}`,
      async () => {
        host = await start((await endpointsWith({ responses: profile, prefix })).endpoints);
        // A mount that strips its path leaves /healthz below it.
        const mount = prefix === "" ? "/auth" : "";
        const send = sendTo.bind(null, host.origin);
        return { profile, prefix: "/auth", mount, refusesPath, isDocumented: false, send };
      },
      async () => void (await host.close()),
    );
  }
}

const guard = suite(`routes for users, ${runtime}`);

for (const { name, prefix, hasMe, start } of hosts) {
  if (!hasMe) continue;
  guard(`of ${name} get the user of a valid access token, and refuse all others by RFC 6750`, async () => {
    const { endpoints, post } = await endpointsWith({ prefix });
    const login = await post(`${prefix}/jwt/create/`, { username: "ada", password: "correct horse" });
    const { access, refresh } = JSON.parse(login.text) as { access: string; refresh: string };
    const { origin, close } = await start(endpoints);
    try {
      const ask = (headers: Record<string, string>) => sendTo(origin, "/me", { headers });
      const welcome = await ask({ authorization: `Bearer ${access}` });
      assert.equal([welcome.status, welcome.text], [200, '{"username":"ada"}']);
      const anonymous = await ask({});
      assert.equal(
        [anonymous.status, anonymous.headers["www-authenticate"], anonymous.text],
        [401, 'Bearer realm="api"', '{"detail":"Authentication credentials were not provided."}'],
      );
      for (const token of [`${access}x`, refresh]) {
        const { status, headers, text } = await ask({ authorization: `Bearer ${token}` });
        assert.is(status, 401);
        assert.match(headers["www-authenticate"]!, 'error="invalid_token"');
        assert.is(JSON.parse(text).code, "token_not_valid");
        assert.is(headers["content-type"], "application/json");
      }
    } finally {
      await close();
    }
  });
}

if (runtime === "deno") {
  // Oak's build for Node, the one on npm, never closes a server that it has opened on Deno, so the process would not end.
  guard.after(() => void setTimeout(() => process.exit(), 2000));
}
guard.run();
