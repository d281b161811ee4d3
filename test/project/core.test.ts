/** The core needs nothing but the standard globals: Deno runs it without any permission. */
import { execFileSync } from "node:child_process";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectRoot } from "../support/runtime.ts";

const source = pathToFileURL(path.join(projectRoot, "src")).href;
const program = `
import { createJwtEndpoints, createPasswords } from ${JSON.stringify(`${source}/index.ts`)};
import { memoryStore } from ${JSON.stringify(`${source}/stores/memory.ts`)};
const store = memoryStore();
await store.addUser({ username: "ada", passwordHash: await createPasswords({ iterations: 1 }).hash("x") });
const { fetch, ready } = createJwtEndpoints({ store, signingKey: "s".repeat(32), hashing: { iterations: 1 } });
await ready();
const post = async (name, data) => {
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) };
  const response = await fetch(new Request("http://localhost/jwt/" + name + "/", init));
  return { status: response.status, ...(await response.json()) };
};
const { refresh } = await post("create", { username: "ada", password: "x" });
const { access } = await post("refresh", { refresh });
const names = ["read", "write", "net", "env", "run", "sys", "ffi"];
const states = names.map((name) => Deno.permissions.querySync({ name }).state);
console.log(JSON.stringify({ verified: await post("verify", { token: access }), states: [...new Set(states)] }));
`;

const core = suite("the core");

core("loads and logs a user in without any permission of the runtime", () => {
  const deno = path.join(projectRoot, "node_modules", ".bin", "deno");
  const args = ["run", "--no-prompt", "-"];
  const output = execFileSync(deno, args, { cwd: projectRoot, input: program, encoding: "utf8" });
  assert.equal(JSON.parse(output), { verified: { status: 200 }, states: ["prompt"] });
});

core.run();
