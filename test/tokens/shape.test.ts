/** The shape of a token: canonical base64url, three segments, JSON objects. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { isCanonicalBase64url } from "../../src/tokens/base64url.ts";
import { verifyToken } from "../../src/tokens/verify.ts";
import {
  accepted,
  alphabet,
  base64url,
  validClaims,
  grown,
  hmac,
  open,
  otherSpellings,
  ourHeader,
  plain,
  refused,
  secret,
  sign,
  signSegments,
  signText,
  utf8,
} from "../support/token-fixtures.ts";

const shape = suite("a token");

shape("is accepted when it is canonical, whatever spare bits its segments have", async () => {
  for (const rest of [0, 1, 2]) {
    await accepted(await signText(grown(JSON.stringify(validClaims), rest)));
    await accepted(await sign({}, grown(ourHeader, rest)));
  }
});

shape("is refused when its segments have millions of characters and maxTokenLength allows them", async () => {
  const server = await open({ maxTokenLength: 2e7, maxBodySize: 3e7 });
  await refused(`AAAA.${"A".repeat(9e6)}.AAAA`, server);
  assert.is(isCanonicalBase64url("A".repeat(9e6)), true);
});

shape("is refused when it is longer than maxTokenLength, before it is hashed or looked up", async () => {
  const filled = async (length: number): Promise<string> => {
    const empty = await sign({ filling: "" });
    let token = await sign({ filling: "x".repeat(Math.floor(((length - empty.length) * 3) / 4) - 3) });
    for (let more = 1; token.length < length; more++) {
      token = await sign({ filling: "x".repeat(Math.floor(((length - empty.length) * 3) / 4) - 3 + more) });
    }
    return token;
  };
  const longest = await filled(8192);
  assert.is(longest.length, 8192);
  await accepted(longest);
  await refused(await filled(8193));
  const header = JSON.stringify({ alg: "HS256", typ: "JWT", kid: "k" }); // one that jose reads
  await refused(await sign({ filling: "x".repeat(9000) }, header));
  const parts = { started: 0 };
  const watched = new Proxy(new String("eyJ".repeat(4000)), {
    get(target, name) {
      if (name !== "length") parts.started++;
      return Reflect.get(target, name, target);
    },
  });
  assert.throws(() =>
    verifyToken(
      parseSettings({ store: memoryStore(), signingKey: secret }),
      { verifying: [] } as never,
      watched as never,
    ),
  );
  assert.is(parts.started, 0, "nothing but its length was read");
});

shape("is refused with changed spare bits in the header, though signed over that very text", async () => {
  for (const rest of [1, 2]) {
    const header = base64url(grown(ourHeader, rest));
    const spellings = otherSpellings(header);
    assert.is(spellings.length, rest === 1 ? 15 : 3);
    for (const other of spellings) await refused(await signSegments(other, base64url(JSON.stringify(validClaims))));
  }
});

shape("is refused with changed spare bits in the payload, though signed over that very text", async () => {
  for (const rest of [1, 2]) {
    const payload = base64url(grown(JSON.stringify(validClaims), rest));
    for (const other of otherSpellings(payload)) await refused(await signSegments(base64url(ourHeader), other));
  }
});

shape("is refused with changed spare bits in the signature", async () => {
  const [header, payload, signature] = (await sign()).split(".");
  const others = otherSpellings(signature!);
  assert.is(others.length, 3);
  for (const other of others) await refused(`${header}.${payload}.${other}`);
  const long = await open({ algorithm: "HS512" });
  const text = `${base64url('{"alg":"HS512","typ":"JWT"}')}.${payload}`;
  const mac = await hmac(text, secret, "SHA-512");
  await accepted(`${text}.${mac}`, long);
  assert.is(otherSpellings(mac).length, 15);
  for (const other of otherSpellings(mac)) await refused(`${text}.${other}`, long);
});

shape("is refused with padding on any segment, though signed over that very text", async () => {
  const header = base64url(grown(ourHeader, 1));
  const payload = base64url(grown(JSON.stringify(validClaims), 2));
  await accepted(await signSegments(header, payload));
  await refused(await signSegments(`${header}==`, payload));
  await refused(await signSegments(`${header}=`, payload));
  await refused(await signSegments(header, `${payload}=`));
  await refused(`${await sign()}=`);
  await refused(await signSegments(`${base64url(ourHeader)}====`, payload));
});

shape("is refused with white space anywhere inside, though signed over that very text", async () => {
  const [header, payload, signature] = (await sign()).split(".") as [string, string, string];
  for (const space of [" ", "\t", "\n", "\r", "\f", "\v", "\u00a0", "\u2028", "\ufeff", "\u3000"]) {
    await refused(await signSegments(`${header.slice(0, 5)}${space}${header.slice(5)}`, payload));
    await refused(await signSegments(`${header}${space}`, payload));
    await refused(await signSegments(header, `${space}${payload}`));
    await refused(await signSegments(header, `${payload.slice(0, 9)}${space}${payload.slice(9)}`));
    await refused(await signSegments(header, `${payload}${space}`));
    await refused(`${header}.${payload}.${space}${signature}`);
    await refused(`${header}.${payload}.${signature.slice(0, 3)}${space}${signature.slice(3)}`);
  }
});

shape("is refused by the token step with white space around it, which the endpoints trim as DRF does", async () => {
  const token = await sign();
  for (const space of [" ", "\n", "\t", "\r\n"]) {
    for (const spaced of [`${space}${token}`, `${token}${space}`]) {
      assert.is(await plain.step(spaced), "Token is invalid");
      assert.is(await plain.judge("verify", spaced), "ok");
    }
  }
  for (const spaced of [`\ufeff${token}`, `${token}\ufeff`]) await refused(spaced); // no space to Python
});

shape("is refused in the other base64 alphabet", async () => {
  const payload = base64url(`${JSON.stringify(validClaims).slice(0, -1)},"x":"${"\u00ff\u00fe?>~".repeat(3)}"}`);
  assert.match(payload, /[-_]/);
  await accepted(await signSegments(base64url(ourHeader), payload));
  const standard = payload.replaceAll("-", "+").replaceAll("_", "/");
  await refused(await signSegments(base64url(ourHeader), standard));
});

shape("is refused with a count of segments other than three, or an empty one", async () => {
  const token = await sign();
  const [header, payload, signature] = token.split(".") as [string, string, string];
  for (const text of [
    `${token}.`,
    `.${token}`,
    `${token}.${signature}`,
    `${header}.${payload}`,
    `${header}.${payload}.`,
    header,
    `.${payload}.${signature}`,
    `${header}..${signature}`,
    "..",
    ".",
    "...",
    `${header}.${payload}.${signature}..`,
  ]) {
    await refused(text);
  }
});

shape("is refused when header or payload is not a JSON object in UTF-8", async () => {
  const valid = JSON.stringify(validClaims);
  for (const text of ["[]", "null", "1", '"text"', "{", `${valid}x`, `\ufeff${valid}`]) {
    await refused(await signText(text));
    await refused(await signText(valid, text));
  }
  const bytes = utf8.encode(`${JSON.stringify(validClaims).slice(0, -1)},"x":"~"}`);
  bytes[bytes.indexOf(0x7e)] = 0xff;
  await refused(await signSegments(base64url(ourHeader), base64url(bytes)));
});

shape("is judged for canonical base64url as an exhaustive reader would", () => {
  for (const a of alphabet) {
    assert.is(isCanonicalBase64url(`A${a}`), alphabet.indexOf(a) % 16 === 0, `A${a}`);
    assert.is(isCanonicalBase64url(`AA${a}`), alphabet.indexOf(a) % 4 === 0, `AA${a}`);
    assert.is(isCanonicalBase64url(`AAA${a}`), true);
    assert.is(isCanonicalBase64url(a), false);
  }
});

shape.run();
