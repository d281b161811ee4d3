/** The forms of values as tables: accepted texts with their values, refused texts with their errors. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as v from "valibot";
import * as values from "../../src/settings/values.ts";

type Form = v.GenericSchema;
interface Table {
  form: Form;
  accepts: [given: unknown, becomes: unknown][];
  refuses: [given: unknown, message: RegExp][];
}

const same = (...given: unknown[]): [unknown, unknown][] => given.map((value) => [value, value]);
const all = (message: RegExp, ...given: unknown[]): [unknown, RegExp][] => given.map((value) => [value, message]);
const notDuration = /^is not a duration; accepted: seconds, or text such as "30s", "5m", "1h30m", "1d"$/;

const tables: Record<string, Table> = {
  lifetime: {
    form: values.lifetime,
    accepts: [
      ["90s", 90],
      ["5m", 300],
      ["1h30m", 5400],
      ["1d", 86_400],
      ["1w", 604_800],
      ["100000d", 8_640_000_000],
      ["1500ms", 1.5],
      ["0.5h", 1800],
      [60, 60],
      ["60", 60],
      ["1.5", 1.5],
    ],
    refuses: [
      ...all(notDuration, "5 minutes", "", "m", "5M", "-1s", "1h 30m", "1e3", -1, NaN, Infinity, null, true, {}),
      ...all(/^is too short; accepted: one second or more$/, 0, "0", "999ms", 0.5),
      ...all(/^is too long; accepted: up to "100000d"$/, "100000d1s", 8_640_000_001, 1e308),
      ...all(notDuration, "9".repeat(400), `${"9".repeat(400)}d`),
    ],
  },
  leeway: {
    form: values.leeway,
    accepts: [
      [0, 0],
      ["30s", 30],
      ["10m", 600],
    ],
    refuses: [...all(notDuration, "soon", -1), ...all(/^is too long; accepted: up to "10m"$/, 601, "10m1s")],
  },
  gracePeriod: {
    form: values.gracePeriod,
    accepts: [
      [0, 0],
      ["10s", 10],
      ["1h", 3600],
      ["until-used", "until-used"],
    ],
    refuses: [
      ...all(/^is not a duration; accepted: .* 0 for none, or "until-used"$/, "until used", -1, null),
      ...all(/^is too long; accepted: up to "1h", or "until-used"$/, 3600.5, "1h1s"),
    ],
  },
  rateOrOff: {
    form: values.rateOrOff,
    accepts: [
      [false, false],
      ["5/s", { limit: 5, seconds: 1 }],
      ["20/min", { limit: 20, seconds: 60 }],
      ["20/m", { limit: 20, seconds: 60 }],
      ["100/hour", { limit: 100, seconds: 3600 }],
      ["1/day", { limit: 1, seconds: 86_400 }],
    ],
    refuses: all(/is not a rate; accepted: /, "often", "0/s", "5/week", "5", 5, true, "5/s ", "-1/s"),
  },
  origins: {
    form: values.origins,
    accepts: same(false, "*", [], ["https://app.example.org"], ["http://localhost:3000", "https://[::1]"]),
    refuses: [
      ...all(/^is not an origin; accepted: /, ["https://a.example/path"], ["https://a.example/"], ["*"], ["null"]),
      ...all(/^is not a list of origins; accepted: /, true, "https://a.example", 1),
    ],
  },
  keySetUrl: {
    form: values.keySetUrl,
    accepts: same("https://a.example/jwks.json", "http://127.0.0.1:8000/.well-known/jwks.json"),
    refuses: all(
      /^is not an address of keys; accepted: /,
      "",
      "a",
      "file:///k",
      "https://u:p@a.example/",
      "https://u@a",
    ),
  },
  key: {
    form: values.key,
    accepts: same("secret", new Uint8Array(1), { kty: "oct", k: "AA" }),
    refuses: all(/^is not a key; accepted: text, bytes, a JWK or PEM text$/, "", null, 1, {}, { kty: 1 }, []),
  },
  domain: {
    form: values.domain,
    accepts: same("example.org", ".example.org", "localhost", "a-b.c1"),
    refuses: all(/^is not a domain; accepted: such as "example.org"$/, "", "a b", "a..b", "-a.org", "a.org:443"),
  },
  path: {
    form: values.path,
    accepts: [
      ["", ""],
      ["/", ""],
      ["auth", "/auth"],
      ["/auth/", "/auth"],
      ["/api/v1", "/api/v1"],
    ],
    refuses: all(/^is not a path; accepted: such as "\/auth"$/, "a b", "?a", "/a#b", "//a%2f"),
  },
  headerName: {
    form: values.headerName,
    accepts: same("Authorization", "X-Auth_1"),
    refuses: all(/^is not the name of a header; accepted: such as "Authorization"$/, "", "two words", "a:b", "a\n"),
  },
  authSchemes: {
    form: values.authSchemes,
    accepts: same(["Bearer"], ["JWT", "Bearer"]),
    refuses: [
      ...all(/^is empty$/, []),
      ...all(/^is not a list$/, "Bearer"),
      ...all(/^is not an authentication scheme; accepted: one word, such as "Bearer"$/, [""], ["a b"], ["a,"], ["é"]),
    ],
  },
  count: {
    form: values.count(1, 10),
    accepts: same(1, 10),
    refuses: [
      ...all(/^is out of range; accepted: a whole number from 1 to 10$/, 0, 11, 1.5, -1, 2 ** 60),
      ...all(/^is not a number$/, "1", NaN, null),
    ],
  },
  algorithm: {
    form: values.algorithm,
    accepts: same("HS256", "RS512", "PS384", "ES256", "EdDSA"),
    refuses: all(/^is not known; accepted: HS256, HS384, .*, EdDSA$/, "none", "hs256", "", null),
  },
  nameOrNames: {
    form: values.nameOrNames,
    accepts: same("api", ["api"], ["api", "admin"], []),
    refuses: [...all(/^is empty; accepted: a name$/, "", [""]), ...all(/^is not text or a list of text$/, 1, true)],
  },
  boolean: { form: values.boolean, accepts: same(true, false), refuses: all(/^is not a boolean/, "true", 1, null) },
};

const it = suite("values of settings");

for (const [name, { form, accepts, refuses }] of Object.entries(tables)) {
  it(`accept ${name} in its forms alone`, () => {
    for (const [given, becomes] of accepts) {
      const { success, output } = v.safeParse(form, given);
      assert.ok(success, JSON.stringify(given));
      assert.equal(output, becomes, JSON.stringify(given));
    }
    for (const [given, message] of refuses) {
      const { success, issues } = v.safeParse(form, given);
      assert.not(success, JSON.stringify(given));
      assert.match(issues![0].message, message);
    }
  });
}

it("refuse texts that are no duration", () => {
  for (const value of [undefined, null, "", "1y", "5mm", "1 d", {}, [], -0.1]) {
    assert.is(values.parseDuration(value), undefined, String(value));
  }
});

it.run();
