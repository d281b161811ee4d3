/** A key may occur once in an object of header or payload. */
import { suite } from "uvu";
import { accepted, validClaims, now, open, refused, sign, signText } from "../support/token-fixtures.ts";

const duplicates = suite("duplicate keys");
const opened = JSON.stringify(validClaims).slice(0, -1);

duplicates("in the payload are refused, though properly signed", async () => {
  await accepted(await signText(`${opened},"x":1}`));
  await refused(await signText(`${opened},"x":1,"x":1}`));
  await refused(await signText(`${opened},"exp":${now + 9999}}`));
  await refused(await signText(`{"exp":${now + 9999},${opened.slice(1)}}`));
  await refused(await signText(`${opened},"user_id":"2"}`));
  await refused(await signText(`${opened},"jti" : "other"}`));
  await refused(await signText(`${opened},"__proto__":1,"__proto__":1}`));
  await refused(await signText(`${opened},"":1,"":2}`));
});

duplicates("in the header are refused, though properly signed", async () => {
  await accepted(await sign({}, '{"typ":"JWT","alg":"HS256","x":1}'));
  await refused(await sign({}, '{"alg":"HS256","typ":"JWT","alg":"HS256"}'));
  await refused(await sign({}, '{"alg":"none","alg":"HS256","typ":"JWT"}'));
  await refused(await sign({}, '{"alg":"HS256","typ":"JWT","typ":"JWT"}'));
  await refused(await sign({}, '{"alg":"HS256","typ":"JWT","\\u0061lg":"HS256"}'));
});

duplicates("in escaped spellings are refused", async () => {
  await accepted(await signText(`${opened.replace('"exp"', '"\\u0065xp"')}}`));
  await refused(await signText(`${opened},"\\u0065xp":${now + 9999}}`));
  await refused(await signText(`${opened},"\\u0065\\u0078\\u0070":${now + 9999}}`));
  await refused(await signText(`${opened},"a\\/b":1,"a/b":2}`));
  await refused(await signText(`${opened},"\\"":1,"\\u0022":2}`));
  await refused(await signText(`${opened},"\\\\":1,"\\u005c":2}`));
  await accepted(await signText(`${opened},"\\\\":1,"\\"":2,"a\\":":3,"a":4}`));
});

duplicates("nested at any depth are refused, and equal names in different objects are not", async () => {
  await refused(await signText(`${opened},"a":{"b":1,"b":2}}`));
  await refused(await signText(`${opened},"a":[[{"b":{"c":[],"c":{}}}]]}`));
  await refused(await signText(`${opened},"a":[{"x":{}},{"y":1,"y":1}]}`));
  await refused(await signText(`${opened},"a":{"b":{"x":1},"b":2}}`));
  await accepted(await signText(`${opened},"a":{"a":{"a":[{"a":1},{"a":1}]}},"b":{"a":1}}`));
  await accepted(await signText(`${opened},"a":["exp","exp","{","}"],"b":"\\"exp\\":1,\\"exp\\":2"}`));
});

duplicates("are looked for in a token as long as a body may be", async () => {
  const filler = `"filler":"${'x\\\\\\"'.repeat(5000)}"`;
  const patient = await open({ maxTokenLength: 65_536 });
  await accepted(await signText(`${opened},${filler}}`), patient);
  await refused(await signText(`${opened},${filler},"filler":1}`), patient);
});

duplicates.run();
