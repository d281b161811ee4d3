/** Who sent a request, as far as trusted proxies vouch for it: the client's address, and the host and scheme it used. */
import ipaddr from "ipaddr.js";
import type { LoginRequest, Settings } from "../settings/types.ts";

/** What a browser called: the host and the scheme of the URL in its address bar. */
export interface Site {
  host: string | null;
  /** Without a trusted proxy that reports it, `undefined`. */
  scheme?: "http" | "https" | undefined;
}

export interface Forwarding {
  /**
   * Returns what requests of one client share: its IPv4 address, or the /64 of its IPv6 address, since one customer has at
   * least that many addresses. An address that does not parse, such as a host's own name for a client, stays as it is.
   */
  clientOf(request: LoginRequest): string | undefined;
  /** Returns the client's address, past the trusted proxies. */
  addressOf(request: LoginRequest): string | undefined;
  /** Returns the host and scheme that the client used. */
  siteOf(request: LoginRequest): Site;
}

/** What one proxy says of the request as it came in there. */
interface Hop {
  address: string | undefined;
  host?: string | undefined;
  scheme?: string | undefined;
}

/**
 * Reads requests by the settings `trustedProxies` and `forwardedHeader`. Without trusted proxies no forwarding header is
 * looked up.
 */
export function createForwarding({ trustedProxies, forwardedHeader, clientAddress }: Settings): Forwarding {
  if (trustedProxies === false) {
    return {
      clientOf: orUnknown((request) => keyOf(clientAddress(request))),
      addressOf: clientAddress,
      siteOf: ({ headers }) => ({ host: headers.get("host") }),
    };
  }
  const isTrusted = trustIn(trustedProxies);
  const hopsOf = forwardedHeader === "forwarded" ? readForwarded : readForwardedFor;

  /**
   * Walks from the connection towards the client, for as long as each address is a trusted proxy's.
   * @returns the client's address, and the hop that the last trusted proxy wrote.
   */
  function walk(request: LoginRequest): { address: string | undefined; hop?: Hop } {
    let address = clientAddress(request);
    let hop: Hop | undefined;
    const hops = hopsOf(request);
    for (let passed = 0; isTrusted(address, passed); passed++) {
      const next = hops.pop();
      if (next === undefined) break;
      hop = next;
      if (next.address === undefined) break; // hidden or damaged: the proxy is the last that can be told
      address = next.address;
    }
    return hop === undefined ? { address } : { address, hop };
  }

  return {
    clientOf: orUnknown((request) => keyOf(walk(request).address)),
    addressOf: (request) => walk(request).address,
    siteOf(request) {
      const { hop } = walk(request);
      const scheme = hop?.scheme?.toLowerCase();
      return {
        host: hop?.host ?? request.headers.get("host"),
        scheme: scheme === "http" || scheme === "https" ? scheme : undefined,
      };
    },
  };
}

/** A host's `clientAddress` that fails leaves the client unknown, as one that knows nothing does: no login fails for it. */
function orUnknown(clientOf: Forwarding["clientOf"]): Forwarding["clientOf"] {
  return (request) => {
    try {
      return clientOf(request);
    } catch {
      return undefined;
    }
  };
}

type Trust = Exclude<Settings["trustedProxies"], false>;

/** Returns a function that tells whether an address is a trusted proxy's, after a number of proxies passed already. */
function trustIn(trusted: Trust): (address: string | undefined, passed: number) => boolean {
  if (typeof trusted === "number") return (_, passed) => passed < trusted;
  const ranges = trusted.flatMap((each) => (each === "loopback" ? ["127.0.0.0/8", "::1/128"] : [each])).map(rangeOf);
  return (address) => {
    const parsed = parse(address);
    return (
      parsed !== undefined &&
      ranges.some(([network, bits]) => parsed.kind() === network.kind() && parsed.match(network, bits))
    );
  };
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;

function rangeOf(text: string): [Address, number] {
  if (text.includes("/")) return ipaddr.parseCIDR(text);
  const address = ipaddr.process(text);
  return [address, address.kind() === "ipv4" ? 32 : 128];
}

/** Parses an address. One of IPv4 inside IPv6, as sockets for both report it, is read as IPv4. */
function parse(text: string | undefined): Address | undefined {
  if (text === undefined) return undefined;
  const bare = text.split("%", 1)[0]!; // without the zone of a link-local address
  // The library also reads octal and shortened forms, which an address in a header never has.
  const isPlain = bare.includes(":") ? ipaddr.IPv6.isValid(bare) : ipaddr.IPv4.isValidFourPartDecimal(bare);
  return isPlain ? ipaddr.process(bare) : undefined;
}

const ipv4 = /^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/;

function keyOf(text: string | undefined): string | undefined {
  if (text === undefined || ipv4.test(text)) return text;
  const address = parse(text);
  if (address === undefined) return text;
  if (address.kind() === "ipv4") return address.toString();
  return `${(address as ipaddr.IPv6).parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(":")}::/64`;
}

/** Reads an address with an optional port: `192.0.2.1:80`, `[2001:db8::1]:80`. Returns `undefined` for anything else. */
function addressIn(text: string): string | undefined {
  const [, bracketed, plain] = /^\[([^\]]*)\](?::\d+)?$|^([\d.]+)(?::\d+)?$/.exec(text) ?? [];
  const address = bracketed ?? plain ?? text;
  return parse(address) === undefined ? undefined : address;
}

/** The most hops that are read; the proxies nearest to the server come last. */
const mostHops = 32;

const listed = (header: string | null): string[] =>
  header === null
    ? []
    : header
        .split(",")
        .slice(-mostHops)
        .map((each) => each.trim());

/** Reads `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host`, which proxies append to or replace. */
function readForwardedFor({ headers }: LoginRequest): Hop[] {
  const addresses = listed(headers.get("x-forwarded-for"));
  const schemes = listed(headers.get("x-forwarded-proto"));
  const hosts = listed(headers.get("x-forwarded-host"));
  const count = addresses.length;
  // Values count from the end. A list that is shorter was replaced on the way, and its first value is of the first proxy.
  const at = (values: string[], i: number) => values[Math.max(0, values.length - (count - i))];
  return addresses.map((text, i) => ({ address: addressIn(text), scheme: at(schemes, i), host: at(hosts, i) }));
}

/** A parameter of `Forwarded` with a token or a quoted string as its value (RFC 7239 section 4). */
const parameter = /^\s*([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s";,]*)\s*$/;

/**
 * Splits a text at a separator, but not inside quoted strings (RFC 9110 section 5.6.4), and leaves out empty parts. A quote
 * that is never closed is a character like others, so that a client can't swallow what a proxy appends. By hand, since a
 * regular expression is quadratic in the number of escaped quotes.
 */
function splitOutsideQuotes(text: string, separator: string): string[] {
  const parts: string[] = [];
  let [start, isQuoting] = [0, true];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === separator) {
      parts.push(text.slice(start, i));
      start = i + 1;
    } else if (isQuoting && text[i] === '"') {
      const end = endOfQuoted(text, i);
      if (end === -1) isQuoting = false;
      else i = end;
    }
  }
  return [...parts, text.slice(start)].filter((part) => part.trim() !== "");
}

/** Returns the position of the quote that closes the one at `start`; -1 without one. */
function endOfQuoted(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i;
  }
  return -1;
}

/** Reads `Forwarded` (RFC 7239). An element that does not parse is a hop without an address. */
function readForwarded({ headers }: LoginRequest): Hop[] {
  const header = headers.get("forwarded");
  if (header === null) return [];
  return splitOutsideQuotes(header, ",")
    .slice(-mostHops)
    .map((element) => {
      const found: Record<string, string> = {};
      for (const pair of splitOutsideQuotes(element, ";")) {
        const [, name, value] = parameter.exec(pair) ?? [];
        if (name === undefined) return { address: undefined };
        found[name.toLowerCase()] = value!.startsWith('"') ? value!.slice(1, -1).replace(/\\(.)/g, "$1") : value!;
      }
      return { address: addressIn(found.for ?? ""), scheme: found.proto, host: found.host };
    });
}
