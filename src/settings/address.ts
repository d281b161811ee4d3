/**
 * IP addresses, as a connection or a header states them, and ranges of them. Own code over the platform's `URL`, which parses
 * and normalizes IPv6 (RFC 5952): a library for this is 12 KB in every application.
 */

/** The numbers of an address: four bytes of IPv4, or the eight groups of IPv6. */
export type Address = readonly number[];

/** The addresses that have their first bits in common. */
export interface AddressRange {
  network: Address;
  bits: number;
}

const decimal = /^(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;
const ipv6 = /^[\da-f:]*:[\da-f:.]*$/i;
/** The most characters of an address: eight groups of IPv6 with IPv4 in the last two. */
const longest = 45;

/**
 * Reads an address. One of IPv4 inside IPv6 (`::ffff:192.0.2.1`), as sockets for both report it, is read as IPv4.
 * @returns `undefined` for anything else; octal and shortened forms of IPv4 too, which no header has.
 */
export function parseAddress(text: string): Address | undefined {
  if (text.length > longest) return undefined;
  if (decimal.test(text)) return text.split(".").map(Number);
  if (!ipv6.test(text) || !URL.canParse(`http://[${text}]`)) return undefined;
  const [head, tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split("::") as [string, string?];
  const [first, last] = [groupsOf(head), groupsOf(tail ?? "")];
  const groups = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
  const [mark, high, low] = groups.slice(5) as [number, number, number];
  return mark === 0xffff && groups.slice(0, 5).every((group) => group === 0)
    ? [high >> 8, high & 255, low >> 8, low & 255]
    : groups;
}

const groupsOf = (text: string): number[] =>
  text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));

/** Reads an address, as the range of itself alone, or a range such as `10.0.0.0/8`; `undefined` for anything else. */
export function parseRange(text: string): AddressRange | undefined {
  const [, address, digits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const network = address === undefined ? undefined : parseAddress(address);
  if (network === undefined) return undefined;
  const most = network.length === 4 ? 32 : 128;
  // A range of IPv4 inside IPv6 counts its bits in the longer address.
  const bits = digits === undefined ? most : Number(digits) - (most === 32 && address!.includes(":") ? 96 : 0);
  return bits >= 0 && bits <= most ? { network, bits } : undefined;
}

/** Whether an address lies in a range. */
export function isInRange(address: Address, { network, bits }: AddressRange): boolean {
  if (address.length !== network.length) return false;
  const width = address.length === 4 ? 8 : 16;
  return network.every((number, i) => {
    const compared = Math.min(width, Math.max(0, bits - i * width));
    return (number ^ address[i]!) >> (width - compared) === 0;
  });
}
