/** The `user sessions` command, over sessions that the endpoints have recorded in the same store. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints } from "../../src/index.ts";
import { addContractUsers, iterations, secret } from "../support/contract-client.ts";
import { done, newStore, refused, user, withStore } from "../support/commands.ts";

const it = suite("user command: sessions");

/** Opens the endpoints over the store, and logs in with a given agent. */
async function openStore(url: string, run: (client: Awaited<ReturnType<typeof clientOf>>) => Promise<void>) {
  await withStore(url, async (store) => {
    await addContractUsers(store);
    await run(clientOf(store));
  });
}

function clientOf(store: Parameters<typeof addContractUsers>[0]) {
  const { fetch } = createJwtEndpoints({
    store,
    signingKey: secret,
    hashing: { iterations },
    sessions: true,
    clientAddress: () => "192.0.2.7",
    log: () => {},
  });
  const send = async (method: string, path: string, data?: unknown, headers: Record<string, string> = {}) => {
    const init = { method, headers: { "content-type": "application/json", ...headers } };
    const response = await fetch(
      new Request(`http://localhost/${path}`, data === undefined ? init : { ...init, body: JSON.stringify(data) }),
    );
    const text = await response.text();
    assert.ok(response.ok, text);
    return text === "" ? {} : JSON.parse(text);
  };
  const logIn = (agent: string, password = "correct horse"): Promise<{ access: string; refresh: string }> =>
    send("POST", "jwt/create/", { username: "ada", password }, { "user-agent": agent });
  return { send, logIn };
}

it("lists where a user is logged in, newest use first, as a table and as JSON", async () => {
  const url = await newStore();
  await openStore(url, async ({ logIn }) => {
    await logIn("Old Phone");
    await logIn("\u009b31mbad agent");
    const table = await user(["sessions", "ada", "--store", url]);
    assert.equal([table.code, table.stderr], [0, ""]);
    const [heads, ...rows] = table.stdout.trimEnd().split("\n");
    assert.match(heads!, /^SESSION +LOGIN +LAST USE +EXPIRES +ADDRESS +AGENT *$/);
    assert.is(rows.length, 2);
    assert.match(rows[1]!, /^[0-9a-f]{32} .*Z +192\.0\.2\.7 +Old Phone *$/);
    assert.not.match(table.stdout, /\u009b/);
    const { stdout } = await user(["sessions", "ada", "--json", "--store", url]);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.equal(
      lines.map(({ userId, ip }) => [userId, ip]),
      Array(2).fill(["1", "192.0.2.7"]),
    );
    assert.is(lines[1].userAgent, "Old Phone");
    for (const { createdAt, lastUsedAt, expiresAt } of lines) {
      assert.ok(Date.parse(createdAt) <= Date.parse(lastUsedAt) && Date.parse(lastUsedAt) < Date.parse(expiresAt));
    }
  });
});

it("leaves out what was ended, and shows the session that changed the password", async () => {
  const url = await newStore();
  await openStore(url, async ({ logIn, send }) => {
    const agents = async () => {
      const { stdout } = await user(["sessions", "ada", "--json", "--store", url]);
      return stdout
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line).userAgent);
    };
    const { refresh } = await logIn("one");
    const { access } = await logIn("two");
    await logIn("three");
    await send("POST", "jwt/logout/", { refresh });
    assert.equal((await agents()).toSorted(), ["three", "two"]);
    const body = { current_password: "correct horse", new_password: "a new Passw0rd, please" };
    await send("POST", "users/set_password/", body, { authorization: `Bearer ${access}` });
    assert.equal(await agents(), ["two"]);
    done(await user(["logout", "ada", "--store", url]), /^ended all sessions of "ada"\n$/);
    assert.equal(await agents(), []);
  });
});

it("prints the heads alone for a user who never logged in, and refuses an unknown one", async () => {
  const url = await newStore();
  await openStore(url, async () => {});
  const none = await user(["sessions", "fiona", "--store", url]);
  assert.equal([none.code, none.stdout.trimEnd().split("\n").length], [0, 1]);
  assert.is((await user(["sessions", "fiona", "--json", "--store", url])).stdout, "");
  refused(await user(["sessions", "nobody", "--store", url]), /^there is no user "nobody"/);
  refused(await user(["sessions", "--store", url]), /./);
});

it.run();
