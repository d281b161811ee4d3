/** The console as a server sends it: to browsers alone, on loopback addresses by default, under a policy that names its parts. */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { freePort } from "../support/processes.ts";
import { runtime } from "../support/runtime.ts";
import { type Running, serve } from "../support/server.ts";

const it = suite(`${runtime} server: console`);
const memory = ["--store", "memory:"];
const browser = { headers: { accept: "text/html,application/xhtml+xml,*/*;q=0.8" } };

async function withServer(args: string[], use: (server: Running) => Promise<void>): Promise<void> {
  const server = await serve([...memory, ...args]);
  try {
    await use(server);
  } finally {
    assert.is(await server.stop(), 0);
  }
}

it("sends browsers one page whose policy allows its own style and program alone", async () => {
  await withServer([], async (server) => {
    const { status, headers, text } = await server.send("/", browser);
    assert.is(status, 200);
    assert.is(headers["content-type"], "text/html; charset=utf-8");
    const hashOf = (tag: string): string => {
      const [, content] = new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(text)!;
      return `'sha256-${createHash("sha256").update(content!).digest("base64")}'`;
    };
    const policy = headers["content-security-policy"]!;
    assert.ok(policy.includes(`style-src ${hashOf("style")}`), policy);
    assert.ok(policy.includes(`script-src ${hashOf("script")}`), policy);
    assert.ok(policy.startsWith("default-src 'none'; "), policy);
    const [, program] = /<script>([^]*?)<\/script>/.exec(text)!;
    assert.not.throws(() => new Function(program!), "the program is JavaScript, without types or helpers of a bundler");
    assert.not.match(text, /(src|href)="(?!data:,)/, "the page names no other resource");
    const head = await server.send("/", { method: "HEAD", ...browser });
    assert.is(head.status, 200);
    assert.is(head.text, "");
  });
});

it("leaves / to the contract for all who don't accept HTML, and for other methods", async () => {
  await withServer([], async (server) => {
    assert.is((await server.send("/?next=%2F", browser)).status, 200);
    for (const request of [{}, { headers: { accept: "application/json" } }, { method: "POST", ...browser }]) {
      const { status, text } = await server.send("/", request);
      assert.is(status, 404);
      assert.is(text, '{"detail":"Not found."}');
    }
  });
});

it("is off beyond loopback addresses unless it is asked for", async () => {
  const isOn = async (args: string[]): Promise<boolean> => {
    let status = 0;
    await withServer(args, async (server) => void ({ status } = await server.send("/", browser)));
    return status === 200;
  };
  assert.not(await isOn(["--host", "0.0.0.0"]));
  assert.ok(await isOn(["--host", "0.0.0.0", "--console", "true"]));
  assert.not(await isOn(["--console", "false"]));
});

it("lets its own page alone read the figures", async () => {
  const metrics = `127.0.0.1:${await freePort()}`;
  await withServer(["--metrics", metrics], async (server) => {
    const { headers, text } = await server.send("/", browser);
    assert.ok(headers["content-security-policy"]!.includes(`connect-src 'self' http://${metrics};`));
    assert.ok(text.includes(`http://${metrics}/metrics`));
    const allowedFor = async (origin: string): Promise<string | null> => {
      const response = await fetch(`http://${metrics}/metrics`, { headers: { origin } });
      assert.is(response.status, 200);
      return response.headers.get("access-control-allow-origin");
    };
    assert.is(await allowedFor(server.origin), server.origin);
    assert.is(
      await allowedFor(server.origin.replace("127.0.0.1", "localhost")),
      server.origin.replace("127.0.0.1", "localhost"),
    );
    for (const other of ["http://127.0.0.1:1", "https://evil.example", "null"])
      assert.is(await allowedFor(other), null);
  });
});

it.run();
