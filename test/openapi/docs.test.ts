/** `/openapi.json` and `/docs` of the server program. */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { docsPage } from "../../src/openapi/index.ts";
import { readOptions } from "../../src/program/options.ts";
import { withDocs } from "../../src/serve/pages.ts";
import { runtime } from "../support/runtime.ts";
import { type Running, serve } from "../support/server.ts";

const it = suite(`docs of the server on ${runtime}`);
let server: Running;
it.before(async () => {
  server = await serve(["--store", "memory:", "--prefix", "/auth"]);
});
it.after(async () => void (await server.stop()));

it("are a page of the document that is served", async () => {
  const { status, headers, text } = await server.send("/docs");
  assert.is(status, 200);
  assert.is(headers["content-type"], "text/html; charset=utf-8");
  const { text: source } = await server.send("/openapi.json");
  const { paths } = JSON.parse(source) as { paths: Record<string, object> };
  assert.ok(Object.keys(paths).length > 5);
  for (const path of Object.keys(paths)) assert.ok(text.includes(`<code>${path}</code>`), path);
  assert.ok(text.includes("Unable to log in with provided credentials."));
  assert.ok(text.length < 100_000);
  const head = await server.send("/docs", { method: "HEAD" });
  assert.equal([head.status, head.text], [200, ""]);
  assert.is((await server.send("/docs/")).text, text);
  assert.is((await server.send("/docs", { method: "POST" })).status, 404);
});

it("ask nothing of anybody: no script, no link to another place, a policy that allows only the page's own style", async () => {
  const { headers, text } = await server.send("/docs");
  const [, style] = /<style>([^]*?)<\/style>/.exec(text)!;
  const hash = createHash("sha256").update(style!).digest("base64");
  const policy = headers["content-security-policy"]!;
  assert.ok(policy.startsWith(`default-src 'none'; style-src 'sha256-${hash}'; img-src data:;`), policy);
  assert.not.match(text, /<script|\son\w+=|javascript:|@import|url\(|\ssrc=|\sstyle=/i);
  const links = [...text.matchAll(/href="([^"]*)"/g)].map(([, link]) => link);
  assert.equal(links, ["data:,", "/openapi.json"]);
});

it("are off where others can reach them, unless asked for, and with the document", async () => {
  const handle = () => ({ status: 404, headers: {}, body: "" });
  for (const flags of [
    ["--host", "0.0.0.0"],
    ["--docs", "false"],
    ["--openapi", "false"],
  ]) {
    assert.is(withDocs(handle, readOptions(flags, {})), handle, flags.join(" "));
  }
  assert.throws(() => readOptions(["--openapi", "false", "--docs", "true"], {}), "docs can't be on without openapi");
  const closed = await serve(["--store", "memory:", "--openapi", "false"]);
  try {
    for (const path of ["/docs", "/openapi.json"]) assert.is((await closed.send(path)).status, 404, path);
  } finally {
    await closed.stop();
  }
  const open = await serve(["--store", "memory:", "--host", "0.0.0.0", "--docs", "true"]);
  try {
    const local = open.origin.replace("0.0.0.0", "127.0.0.1");
    assert.is((await fetch(`${local}/docs`)).status, 200);
  } finally {
    await open.stop();
  }
});

it("escape whatever the document holds", async () => {
  const evil = `<script>alert("1")</script>'&`;
  const schema = { type: "object", properties: { [evil]: { type: "string", description: evil } } };
  const content = { "application/json": { schema, examples: { [evil]: { value: { [evil]: evil } } } } };
  const operation = { summary: evil, description: evil, operationId: evil, tags: [evil], requestBody: { content } };
  const document = {
    info: { title: evil, description: evil, version: evil },
    tags: [{ name: evil }],
    paths: { [evil]: { post: { ...operation, responses: { 200: { description: evil, content } } } } },
  };
  const { body } = await docsPage(document);
  assert.not.match(body, "<script");
  assert.ok(body.split("&lt;script&gt;").length > 8);
});

it.run();
