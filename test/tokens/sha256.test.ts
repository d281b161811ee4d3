/** The built-in SHA-256 and HMAC-SHA256 against published vectors, and the fallback to jose where they fail. */
import { readFileSync } from "node:fs";
import nodeCrypto from "node:crypto";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keysFrom } from "../../src/keys/key-set.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import type { LogEvent } from "../../src/settings/types.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { hmacOf } from "../../src/tokens/hmac.ts";
import { computesKnownMac, hmacSha256, messageOf, messageOfBytes, sha256 } from "../../src/tokens/sha256.ts";
import { signToken } from "../../src/tokens/sign.ts";
import { verifyToken } from "../../src/tokens/verify.ts";
import { projectRoot } from "../support/runtime.ts";

const utf8 = new TextEncoder();
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const hash = suite("SHA-256");

hash("returns the published hashes of FIPS 180-4 and its validation suite (SHA256ShortMsg)", () => {
  const vectors: [message: Uint8Array, hash: string][] = [
    [utf8.encode(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    [utf8.encode("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    [
      utf8.encode("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ],
    [
      utf8.encode(
        "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
      ),
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ],
    [new Uint8Array(1_000_000).fill(0x61), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"],
    [bytesOf("d3"), "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"],
    [bytesOf("11af"), "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"],
    [bytesOf("b4190e"), "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2"],
    [bytesOf("74ba2521"), "b16aa56be3880d18cd41e68384cf1ec8c17680c45a02b1575dc1518923ae8b0e"],
  ];
  for (const [message, expected] of vectors) assert.is(hexOf(sha256(message)), expected, `${message.length} bytes`);
});

hash("returns WebCrypto's hash for every length up to five blocks", async () => {
  for (let length = 0; length <= 320; length++) {
    const message = crypto.getRandomValues(new Uint8Array(length));
    const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", message));
    assert.is(hexOf(sha256(message)), hexOf(expected), hexOf(message));
  }
});

hash.run();

const hmac = suite("HMAC-SHA256");

function macOf(key: Uint8Array, message: Uint8Array): string {
  return hexOf(hmacSha256(key)!(messageOfBytes(message), message.length));
}

hmac("returns the published MACs of RFC 4231, test cases 1 to 7", () => {
  const long = new Uint8Array(131).fill(0xaa);
  const vectors: [key: Uint8Array, message: Uint8Array, mac: string][] = [
    [
      new Uint8Array(20).fill(0x0b),
      utf8.encode("Hi There"),
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ],
    [
      utf8.encode("Jefe"),
      utf8.encode("what do ya want for nothing?"),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ],
    [
      new Uint8Array(20).fill(0xaa),
      new Uint8Array(50).fill(0xdd),
      "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ],
    [
      Uint8Array.from({ length: 25 }, (_, i) => i + 1),
      new Uint8Array(50).fill(0xcd),
      "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ],
    [
      new Uint8Array(20).fill(0x0c),
      utf8.encode("Test With Truncation"),
      "a3b6167473100ee06e0c796c2955552b", // the RFC gives the first 128 bits
    ],
    [
      long,
      utf8.encode("Test Using Larger Than Block-Size Key - Hash Key First"),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ],
    [
      long,
      utf8.encode(
        "This is a test using a larger than block-size key and a larger than block-size data. " +
          "The key needs to be hashed before being used by the HMAC algorithm.",
      ),
      "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ],
  ];
  for (const [index, [key, message, mac]] of vectors.entries()) {
    assert.is(macOf(key, message).slice(0, mac.length), mac, `case ${index + 1}`);
  }
});

hmac("agrees with Wycheproof on all cases of whole tags", () => {
  const file = path.join(projectRoot, "test/fixtures/wycheproof-hmac-sha256.json");
  type Case = [id: number, comment: string, key: string, message: string, tag: string, result: "valid" | "invalid"];
  const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: Case[] };
  assert.is(cases.length, 87);
  for (const [id, comment, key, message, tag, result] of cases) {
    const isEqual = macOf(bytesOf(key), bytesOf(message)) === tag;
    assert.is(isEqual, result === "valid", `case ${id}: ${comment}`);
  }
});

hmac("agrees with WebCrypto on texts that begin alike or not, under two keys in turns", async () => {
  const keys = await Promise.all(
    [1, 2].map(async (byte) => {
      const bytes = new Uint8Array(32).fill(byte);
      const imported = { name: "HMAC", hash: "SHA-256" };
      return { mac: hmacSha256(bytes)!, key: await crypto.subtle.importKey("raw", bytes, imported, false, ["sign"]) };
    }),
  );
  const beginnings = ["a".repeat(64), `${"a".repeat(63)}b`, `b${"a".repeat(63)}`, "\0".repeat(64), "a".repeat(63)];
  for (const rest of ["", "x", "y".repeat(64)]) {
    for (const text of [...beginnings, ...beginnings].map((beginning) => beginning + rest)) {
      for (const { mac, key } of keys) {
        const expected = new Uint8Array(await crypto.subtle.sign("HMAC", key, utf8.encode(text)));
        assert.is(hexOf(mac(messageOf(text)!, text.length)), hexOf(expected), JSON.stringify(text));
      }
    }
  }
});

hmac("refuses text beyond ASCII anywhere in it, which UTF-8 would encode in other bytes", () => {
  for (const length of [1, 63, 64, 65, 130, 4095, 4096, 4097]) {
    assert.ok(messageOf("a".repeat(length)) !== undefined);
    for (let at = 0; at < length; at += length > 1000 ? 97 : 1) {
      for (const char of ["\u0080", "\u00e9", "\u0141", "\uff21", "\ud800", "\u{1f600}"]) {
        const text = `${"a".repeat(at)}${char}${"a".repeat(length - at - 1)}`;
        assert.is(messageOf(text), undefined, `${length} characters, at ${at}`);
      }
    }
    assert.is(messageOf(`${"a".repeat(length - 1)}é`), undefined, "at the end");
  }
});

for (const bits of [256, 384, 512]) {
  hmac(`finds no signature of HS${bits} on a token with a character beyond ASCII`, () => {
    const { head, sign, signedLength } = hmacOf(`HS${bits}`, undefined, new Uint8Array(64).fill(7))!;
    const isSigned = (token: string): boolean => {
      const message = messageOf(token);
      return message !== undefined && signedLength(message, token.length) > 0;
    };
    const text = `${head}eyJBIjoxfQ`;
    const signature = sign(text);
    assert.ok(isSigned(`${text}.${signature}`));
    for (const at of [head.length, text.length - 1]) {
      const low = text.charCodeAt(at);
      for (const code of [low | 0x80, low | 0x100, low | 0xff00]) {
        const changed = text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1);
        assert.not.ok(isSigned(`${changed}.${signature}`), `${code}`);
      }
    }
    const last = signature.charCodeAt(signature.length - 1);
    assert.not.ok(isSigned(`${text}.${signature.slice(0, -1)}${String.fromCharCode(last | 0x100)}`));
  });
}

hmac("leaves HS256 to jose on a runtime where the known-answer test fails, and logs it", async () => {
  const secret = "a secret of the known-answer test, of 32 bytes or more";
  const log: LogEvent[] = [];
  const settings = parseSettings({ store: memoryStore(), signingKey: secret, log: (event) => log.push(event) });
  const right = await keysFrom(settings)();
  assert.equal(log, []);
  // What the hash relies on is broken while the key is imported: the state is not copied.
  const realSet = Int32Array.prototype.set;
  let isFound: boolean;
  let broken: typeof right;
  try {
    Int32Array.prototype.set = () => {};
    isFound = hmacSha256(utf8.encode(secret)) !== undefined;
    broken = await keysFrom(settings)();
  } finally {
    Int32Array.prototype.set = realSet;
  }
  assert.not.ok(isFound);
  assert.equal(
    log.map(({ level, code }) => [level, code]),
    [["error", "hash_check_failed"]],
  );
  assert.is(broken.signing!.hmac, undefined);
  assert.ok(right.signing!.hmac !== undefined);
  const now = Math.floor(Date.now() / 1000);
  const claims = { token_type: "access", exp: now + 60, iat: now, jti: "0".repeat(32), user_id: "1" };
  const token = await signToken(broken.signing, claims);
  assert.is(token, await signToken(right.signing, claims));
  assert.equal(await verifyToken(settings, broken, token, "access"), claims);
  assert.equal(await verifyToken(settings, right, token, "access"), claims);
});

hmac("uses its own hash where that of the runtime returns something else", () => {
  const key = utf8.encode("a secret of the known-answer test, of 32 bytes or more");
  const right = hmacOf("HS256", undefined, key)!;
  const { hash: realHash } = nodeCrypto;
  let own: typeof right;
  try {
    Object.assign(nodeCrypto, { hash: () => "0".repeat(64) }); // Node's, where it is used, looks it up at each call
    own = hmacOf("HS256", undefined, key)!;
  } finally {
    nodeCrypto.hash = realHash;
  }
  assert.is(own.sign("a.b"), right.sign("a.b"));
  assert.is(
    computesKnownMac(() => () => new Uint8Array(32)),
    false,
  );
});

hmac.run();
