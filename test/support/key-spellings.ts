/** Public and private keys in the spellings in which people paste them, or a program reads them. */
import type { JWK } from "jose";
import { pemOf, utf8 } from "./key-fixtures.ts";

export const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString("base64");
export const wrapped = (text: string, width: number, end = "\n"): string =>
  text.replace(new RegExp(`.{${width}}`, "g"), `$&${end}`);
const utf16 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(`\ufeff${text}`, "utf16le"));

/** DER in the spellings in which people paste it, or a program reads it. */
export function spellingsOfDer(der: Uint8Array): (readonly [string, string | Uint8Array])[] {
  const text = base64(der);
  const url = Buffer.from(der).toString("base64url");
  const hex = Buffer.from(der).toString("hex");
  return [
    ["DER", der],
    ["DER before a line end", Uint8Array.of(...der, 10)],
    ["DER read as Latin-1", Buffer.from(der).toString("latin1")],
    ["DER read as UTF-8", Buffer.from(der).toString("utf8")],
    ["hex", hex],
    ["hex with colons", wrapped(hex.toUpperCase(), 2, ":")],
    ["base64", text],
    ["base64 without padding", text.replaceAll("=", "")],
    ["base64url", url],
    ["base64 in lines of 64", wrapped(text, 64)],
    ["base64 in lines of 76", wrapped(text, 76, "\r\n")],
    ["base64 in lines of 10", wrapped(text, 10)],
    ["base64 with spaces", wrapped(text, 4, " ")],
    ["base64 with line ends spelled out", wrapped(text, 64, "\\n")],
    ["base64 with line ends of a URL", wrapped(text, 64, "%0A")],
    ["base64 in quotes", `"${text}"`],
    ["base64 behind a name", `KEY=${url}`],
    ["base64 behind a letter", `x${text}`],
    ["base64 of base64", base64(text)],
    ["base64 of hex", base64(hex)],
  ];
}

export function spellingsOfPem(pem: string): (readonly [string, string | Uint8Array])[] {
  return [
    ["PEM", pem],
    ["PEM without an end", pem.trim()],
    ["PEM with CRLF", pem.replaceAll("\n", "\r\n")],
    ["PEM with CR", pem.replaceAll("\n", "\r")],
    ["PEM with line ends spelled out", pem.replaceAll("\n", "\\n")],
    ["PEM with line ends lost", pem.replaceAll("\n", "")],
    ["PEM with spaces for line ends", pem.replaceAll("\n", " ")],
    ["PEM without any white space", pem.replace(/\s/g, "")],
    ["PEM behind a character", `x${pem}`],
    ["PEM behind white space", ` \t\n\n ${pem}`],
    ["PEM behind a no-break space", `\u00a0${pem}`],
    ["PEM behind a byte order mark", `\ufeff${pem}`],
    ["PEM in quotes", `"${pem}"`],
    ["PEM indented", pem.replace(/^/gm, "    ")],
    ["PEM without dashes", pem.replaceAll("-----", "")],
    ["PEM without its end", pem.slice(0, -40)],
    ["PEM in UTF-16", utf16(pem)],
    ["base64 of PEM", base64(pem)],
    ["base64 of PEM in lines", wrapped(base64(pem), 76)],
    ["base64 of base64 of PEM", base64(base64(pem))],
  ];
}

export function spellingsOfJwk(jwk: JWK): (readonly [string, string | Uint8Array])[] {
  const text = JSON.stringify(jwk);
  return [
    ["JSON", text],
    ["indented JSON", JSON.stringify(jwk, undefined, 2)],
    ["JSON with a line end", `${text}\r\n`],
    ["JSON with spaces", text.replaceAll(":", " : ")],
    ["JSON with escapes", text.replace('"kty"', '"\\u006bty"')],
    ["JSON behind a byte order mark", `\ufeff${text}`],
    ["JSON behind a character", `x${text}`],
    ["JSON cut short", text.slice(0, -2)],
    ["JSON in JSON", JSON.stringify(text)],
    ["JSON in UTF-16", utf16(text)],
    ["a literal", text.replace(/"(\w+)":/g, "$1:").replaceAll('"', "'")],
    ["a set", JSON.stringify({ keys: [jwk] })],
    ["a set behind a secret", JSON.stringify({ keys: [{ kty: "oct", k: "A".repeat(43) }, jwk] }, undefined, 1)],
    ["a list", JSON.stringify([jwk])],
    ["a set in an object", JSON.stringify({ jwks: { keys: [jwk] } })],
    ["base64 of JSON", base64(text)],
    ["base64url of a set", Buffer.from(JSON.stringify({ keys: [jwk] })).toString("base64url")],
  ];
}

export const certificate = pemOf(
  "CERTIFICATE",
  `MIIBbzCCARWgAwIBAgIUE4JWkX0HPpaERC8xLt7cXRjesyowCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjYwNzQyNTJaGA8yMTI2MTEwMjA3NDI1Mlow
DDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKXOaoYkTWox
eeL/ruQDxKqN5oTBU3wDx1fCfApLfNwVxY5i5NIXQXEKEDsLuEqLcNw6jf9tJ8dP
cV1RhmjduxmjUzBRMB0GA1UdDgQWBBS7AfAuLtwneQszGzB2tsCptZsyvTAfBgNV
HSMEGDAWgBS7AfAuLtwneQszGzB2tsCptZsyvTAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCICBnaH/avklim8WaMPLLuFBnyrh8lDJi5uhX3VgA1sBd
AiEAuyK+hLxuCX6AZUSVpgRaA3FTfBrO2hYUEM2qEEpFB6k=`,
);
export const pgp = (kind: string): string =>
  `-----BEGIN PGP ${kind} KEY BLOCK-----\nVersion: 1\n\nmDMEZjKdJxYJKwYBBAHaRw8BAQdA\n=xxxx\n-----END PGP ${kind} KEY BLOCK-----\n`;

/** A public key as OpenSSH writes it (RFC 4253 section 6.6, RFC 5656, RFC 8709). */
function sshKey({ kty, crv, n, e, x, y }: JWK): [type: string, body: Uint8Array] {
  const number = (text: string) => {
    const bytes = Buffer.from(text, "base64url");
    return bytes[0]! > 127 ? Buffer.concat([Buffer.of(0), bytes]) : bytes;
  };
  const curve = `nistp${crv?.slice(2)}`;
  const fields =
    kty === "RSA"
      ? ["ssh-rsa", number(e!), number(n!)]
      : kty === "OKP"
        ? ["ssh-ed25519", Buffer.from(x!, "base64url")]
        : [
            `ecdsa-sha2-${curve}`,
            curve,
            Buffer.concat([Buffer.of(4), Buffer.from(x!, "base64url"), Buffer.from(y!, "base64url")]),
          ];
  const pieces = fields.flatMap((field) => {
    const bytes = Buffer.from(field as string);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return [length, bytes];
  });
  return [String(fields[0]), Uint8Array.from(Buffer.concat(pieces))];
}

export function spellingsOfSsh(jwk: JWK): (readonly [string, string | Uint8Array])[] {
  const [type, body] = sshKey(jwk);
  const line = `${type} ${base64(body)}`;
  return [
    ["a line of OpenSSH", line],
    ["a line of OpenSSH with a comment", `${line} ada@example.org\n`],
    ["a line of authorized_keys", `restrict,command="true" ${line} ada`],
    ["a line of known_hosts", `example.org\t${line.replace(" ", "\t")}\n`],
    ["a line of OpenSSH behind a character", `"${line}"`],
    ["the bytes of OpenSSH", body],
    ["the base64 of OpenSSH", base64(body)],
    ["base64 of a line of OpenSSH", base64(line)],
    ["RFC 4716", `---- BEGIN SSH2 PUBLIC KEY ----\n${wrapped(base64(body), 70)}\n---- END SSH2 PUBLIC KEY ----\n`],
    ["a key of PuTTY", `PuTTY-User-Key-File-3: ${type}\nPublic-Lines: 6\n${wrapped(base64(body), 64)}\n`],
  ];
}

/** The same material as text, bytes and a JWK. */
export function materials(value: string | Uint8Array): [string, string | Uint8Array | JWK][] {
  const bytes = typeof value === "string" ? utf8.encode(value) : value;
  const forms: [string, string | Uint8Array | JWK][] = [
    ["as bytes", bytes],
    ["as the k of a JWK", { kty: "oct", k: Buffer.from(bytes).toString("base64url") }],
  ];
  return typeof value === "string" ? [["as text", value], ...forms] : forms;
}
