/** Who sent a request, as far as trusted proxies vouch for it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createForwarding } from "../../src/http/client-address.ts";
import { type JwtEndpointsSettings, createJwtEndpoints } from "../../src/index.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { secret } from "../support/contract-client.ts";
import { randomFrom, seedFrom } from "../support/random.ts";

const it = suite("client address");

type Headers = Record<string, string>;

const forwardingOf = (settings: Partial<JwtEndpointsSettings>) =>
  createForwarding(parseSettings({ store: memoryStore(), signingKey: secret, ...settings }));

const requestFrom = (ip: string | undefined, headers: Headers = {}) => ({
  method: "POST",
  url: "/jwt/create/",
  ip,
  headers: { get: (name: string) => headers[name] ?? null },
});

it("counts IPv6 by /64 and IPv4 in IPv6 as IPv4", () => {
  const { clientOf } = forwardingOf({});
  const key = (ip?: string) => clientOf(requestFrom(ip));
  assert.is(key("192.0.2.7"), "192.0.2.7");
  assert.is(key("::ffff:192.0.2.7"), "192.0.2.7");
  assert.is(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff:ffff:ffff:ffff"));
  assert.is.not(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
  assert.is(key("fe80::1%eth0"), "fe80:0:0:0::/64");
  assert.is(key("a name of the host's"), "a name of the host's");
  assert.is(key(undefined), undefined);
});

const xff = (value: string): Headers => ({ "x-forwarded-for": value });

it("reads the header only as far as trusted proxies vouch for it", () => {
  const cases: [Partial<JwtEndpointsSettings>, string, Headers, string][] = [
    [{}, "10.0.0.1", xff("1.1.1.1"), "10.0.0.1"],
    [{ trustedProxies: ["loopback"] }, "10.0.0.1", xff("1.1.1.1"), "10.0.0.1"],
    [{ trustedProxies: ["loopback"] }, "127.0.0.1", xff("1.1.1.1"), "1.1.1.1"],
    [{ trustedProxies: ["loopback"] }, "::ffff:127.0.0.1", xff("1.1.1.1"), "1.1.1.1"],
    [{ trustedProxies: ["loopback"] }, "::1", xff("forged, 9.9.9.9, 1.1.1.1"), "1.1.1.1"],
    [{ trustedProxies: ["loopback"] }, "127.0.0.1", {}, "127.0.0.1"],
    [{ trustedProxies: ["loopback"] }, "127.0.0.1", xff("1.1.1.1, unknown"), "127.0.0.1"],
    [{ trustedProxies: ["loopback"] }, "127.0.0.1", xff("1.1.1.1, 0x7f.1"), "127.0.0.1"],
    [{ trustedProxies: ["loopback"] }, "127.0.0.1", { forwarded: "for=9.9.9.9", ...xff("1.1.1.1") }, "1.1.1.1"],
    [{ trustedProxies: ["10.0.0.0/8", "loopback"] }, "127.0.0.1", xff("9.9.9.9, 1.1.1.1, 10.2.3.4"), "1.1.1.1"],
    [{ trustedProxies: ["2001:db8::/32"] }, "2001:db8::1", xff("[2001:db9::5]:443"), "2001:db9:0:0::/64"],
    [{ trustedProxies: 1 }, "10.0.0.1", xff("9.9.9.9, 1.1.1.1:5000"), "1.1.1.1"],
    [{ trustedProxies: 2 }, "10.0.0.1", xff("9.9.9.9, 1.1.1.1, 10.0.0.2"), "1.1.1.1"],
    [{ trustedProxies: 3 }, "10.0.0.1", xff("1.1.1.1"), "1.1.1.1"],
  ];
  for (const [settings, ip, headers, client] of cases) {
    const told = JSON.stringify([settings, ip, headers]);
    assert.is(forwardingOf(settings).clientOf(requestFrom(ip, headers)), client, told);
  }
});

it("reads Forwarded with quotes, ports and IPv6 (RFC 7239 section 6)", () => {
  const { clientOf, siteOf } = forwardingOf({ trustedProxies: ["loopback"], forwardedHeader: "forwarded" });
  const cases: [string, string][] = [
    ["for=192.0.2.60;proto=https;by=203.0.113.43", "192.0.2.60"],
    ['For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe:0::/64"],
    ['for=9.9.9.9, for="192.0.2.43:47011"', "192.0.2.43"],
    ['for="9.9.9.9, for=8.8.8.8", for=192.0.2.43', "192.0.2.43"],
    ["for=_hidden", "127.0.0.1"],
    ["for=unknown", "127.0.0.1"],
    ["for=1.1.1.1 nonsense", "127.0.0.1"],
    ['for="1.1.1.1', "127.0.0.1"],
  ];
  for (const [forwarded, client] of cases)
    assert.is(clientOf(requestFrom("127.0.0.1", { forwarded })), client, forwarded);
  const request = requestFrom("127.0.0.1", {
    forwarded: 'for=1.1.1.1;proto=HTTPS;host="a.example:8443"',
    host: "inner",
  });
  assert.equal(siteOf(request), { host: "a.example:8443", scheme: "https" });
  assert.equal(siteOf(requestFrom("1.2.3.4", { forwarded: "for=1.1.1.1;proto=https;host=a", host: "inner" })), {
    host: "inner",
    scheme: undefined,
  });
});

it("lets no forged header choose the client or fail a request", () => {
  const seed = seedFrom();
  const random = randomFrom(seed);
  const parts = [
    "for=",
    "1.1.1.1",
    ",",
    ";",
    '"',
    "\\",
    "[::1]",
    ":80",
    " ",
    "127.0.0.1",
    "proto=http",
    "=",
    "\u00e9",
    "::",
  ];
  const lists = { "x-forwarded-for": ", 192.0.2.1", forwarded: ", for=192.0.2.1" };
  for (const header of ["x-forwarded-for", "forwarded"] as const) {
    const { clientOf, siteOf } = forwardingOf({ trustedProxies: ["loopback"], forwardedHeader: header });
    for (let i = 0; i < 5000; i++) {
      const forged = Array.from({ length: random.below(20) }, () => random.pick(parts)).join("");
      const request = requestFrom("127.0.0.1", { [header]: forged + lists[header] });
      siteOf(request);
      const client = clientOf(request);
      // A quote may end in what the proxy appended; the proxy itself is then the client, never one that was forged.
      assert.ok(client === "192.0.2.1" || (header === "forwarded" && client === "127.0.0.1"), `${forged} -> ${client}`);
    }
  }
});

/**
 * Makes a text that counts how often its characters, and those of its slices, are read: one by one, or all of them by a
 * method or a pattern.
 */
function countedText(text: string, reads: { count: number }): string {
  const counted = new Proxy(Object(text) as object, {
    get(target, key) {
      if (typeof key === "string" && /^\d+$/.test(key)) {
        reads.count += 1;
        return text[Number(key)];
      }
      if (key === "slice") return (from: number, to?: number) => countedText(text.slice(from, to), reads);
      const value: unknown = Reflect.get(target, key);
      if (typeof value !== "function") return value;
      reads.count += text.length;
      return value.bind(text) as unknown;
    },
  });
  return counted as unknown as string;
}

it("reads each character of a header a few times at most, whatever it holds", () => {
  const fillings = [
    '"',
    '\\"',
    'a\\"',
    '"a',
    ",",
    ";",
    "=",
    "for=",
    'for="',
    ' "',
    "\\",
    "for=1.1.1.1,",
    '",',
    "[",
    " ",
  ];
  for (const header of ["x-forwarded-for", "forwarded"] as const) {
    const { clientOf } = forwardingOf({ trustedProxies: ["loopback"], forwardedHeader: header });
    for (const filling of fillings) {
      const text = `for="${filling.repeat(Math.ceil(16_000 / filling.length))}, for=192.0.2.1`;
      const reads = { count: 0 };
      const client = clientOf(requestFrom("127.0.0.1", { [header]: countedText(text, reads) }));
      assert.is(client, clientOf(requestFrom("127.0.0.1", { [header]: text })));
      const times = reads.count / text.length;
      assert.ok(times >= 1 && times <= 12, `${header} of ${JSON.stringify(filling)}: ${times.toFixed(1)} times`);
    }
  }
});

it("takes host and scheme of the cross-site check from a trusted proxy", async () => {
  const endpoints = createJwtEndpoints({
    store: memoryStore(),
    signingKey: secret,
    trustedProxies: ["loopback"],
    clientAddress: (request) => request.headers.get("x-peer") ?? undefined,
    cookies: { carry: ["refresh"] },
  });
  const status = async (headers: Headers) => {
    const all = { "content-type": "application/json", host: "inner", ...headers };
    return (
      await endpoints.fetch(new Request("http://inner/jwt/refresh/", { method: "POST", headers: all, body: "{}" }))
    ).status;
  };
  const proxied = { "x-peer": "127.0.0.1", "x-forwarded-for": "1.1.1.1", "x-forwarded-host": "a.example" };
  assert.is(await status({ ...proxied, "x-forwarded-proto": "https", origin: "https://a.example" }), 400);
  assert.is(await status({ ...proxied, "x-forwarded-proto": "https", origin: "http://a.example" }), 403);
  assert.is(await status({ ...proxied, "x-forwarded-proto": "http", origin: "https://a.example" }), 403);
  assert.is(await status({ ...proxied, "x-forwarded-proto": "https", origin: "https://inner" }), 403);
  assert.is(await status({ ...proxied, "x-peer": "9.9.9.9", origin: "https://a.example" }), 403, "not a trusted proxy");
});

it.run();
