/** Addresses and ranges of them, compared with a library that reads the same. */
import ipaddr from "ipaddr.js";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isInRange, parseAddress, parseRange } from "../../src/settings/address.ts";
import { randomFrom, seedFrom } from "../support/random.ts";

const it = suite("addresses");

const random = randomFrom(seedFrom());

/** Returns what the library makes of a text; octal and shortened IPv4 are no addresses, in IPv6 either. */
function byLibrary(text: string): number[] | undefined {
  const inner = /[^:]*\.[^:]*$/.exec(text)?.[0];
  if (inner !== undefined && !ipaddr.IPv4.isValidFourPartDecimal(inner)) return undefined;
  const isAddress = text.includes(":") ? ipaddr.IPv6.isValid(text) : ipaddr.IPv4.isValidFourPartDecimal(text);
  if (!isAddress || text.includes("%")) return undefined;
  const address = ipaddr.process(text);
  return "parts" in address ? address.parts : address.octets;
}

/** Texts made of what addresses consist of, many of them valid. */
function someText(): string {
  const group = () => random.pick(["0", "1", "ffff", "FFFF", "2001", "db8", "00a", "10.0.0.1", "12345", "g", ""]);
  const byte = () => random.pick(["0", "1", "10", "127", "255", "256", "01", "0x1", ""]);
  const [part, separator, count] = random.chance(0.3) ? [byte, ".", 4] : [group, ":", 8];
  const parts = Array.from({ length: random.chance(0.7) ? count : random.below(10) }, part);
  if (random.chance(0.5)) parts.splice(random.below(parts.length), random.below(6), "");
  const text = parts.join(separator);
  return random.chance(0.2) ? `::ffff:${text}` : text;
}

it("are read as the library reads them", () => {
  let valid = 0;
  for (let i = 0; i < 50_000; i++) {
    const text = someText();
    // The library takes this deprecated form for IPv4 (RFC 4291 section 2.5.5.1), which `URL` and sockets do not.
    if (/^::[\d.]+$/.test(text) && text.includes(".")) continue;
    const expected = byLibrary(text);
    if (expected !== undefined) valid++;
    assert.equal(parseAddress(text), expected, text);
  }
  assert.ok(valid > 1000, `${valid} were addresses`);
});

it("are in a range as the library finds them", () => {
  for (let i = 0; i < 20_000; i++) {
    const isShort = random.chance(0.5);
    const length = isShort ? 4 : 8;
    const make = () => Array.from({ length }, () => random.below(isShort ? 256 : 65_536));
    const network = make();
    const address = random.chance(0.8) ? network.map((n, at) => (at < random.below(length) ? n : make()[at]!)) : make();
    const textOf = (numbers: number[]) => (isShort ? numbers.join(".") : numbers.map((n) => n.toString(16)).join(":"));
    const bits = random.below(length * (isShort ? 8 : 16) + 1);
    const range = `${textOf(network)}/${bits}`;
    const parsed = ipaddr.parse(textOf(address)) as ipaddr.IPv6;
    const expected = parsed.match(ipaddr.parseCIDR(range) as [ipaddr.IPv6, number]);
    assert.is(isInRange(address, parseRange(range)!), expected, `${textOf(address)} in ${range}`);
  }
});

it("are ranges with a number of bits that the address has", () => {
  for (const text of [
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "/8",
    "10.0.0.0/8/8",
    "::/129",
    "10/8",
    "::ffff:0:0/90",
  ]) {
    assert.is(parseRange(text), undefined, text);
  }
  assert.equal(parseRange("10.0.0.1"), { network: [10, 0, 0, 1], bits: 32 });
  assert.equal(parseRange("::ffff:10.0.0.0/104"), { network: [10, 0, 0, 0], bits: 8 });
  assert.not(isInRange([10, 0, 0, 1], parseRange("::/0")!), "a range is of one family");
});

it.run();
