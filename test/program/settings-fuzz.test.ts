/** Flags, variables and configuration files full of nonsense: a server starts or says in one line what is wrong. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints } from "../../src/index.ts";
import { loadOptions } from "../../src/program/config-file.ts";
import { keySettings } from "../../src/program/key-settings.ts";
import { guardsFor, listOptions } from "../../src/program/options.ts";
import { problemOf } from "../../src/program/problem.ts";
import { describeSettings } from "../../src/settings/describe.ts";
import { algorithmNames } from "../../src/tokens/algorithms.ts";
import { openStore } from "../../src/stores/open.ts";
import { randomFrom, roundsHere, seedFrom } from "../support/random.ts";
import { temporaryFolder } from "../support/runtime.ts";

const it = suite("settings, fuzzed");

const rounds = roundsHere(2000);
/** Part of every secret that is given. No message may hold it. */
const mark = "MarkedSecret";
const options = listOptions();
const folder = temporaryFolder();

/** Forms of secrets, most of them broken. */
const secrets = [
  mark,
  mark.repeat(4),
  `{"kty":"oct","k":"${mark.repeat(4)}"}`,
  `{"kty":"oct","k":"${mark}!"}`,
  `{"kty":"${mark}"}`,
  `{"kty":"RSA","n":"${mark}","e":"AQAB","d":"${mark}"}`,
  `{"kty":"EC","crv":"P-256","x":"${mark}","y":"${mark}","d":"${mark}"}`,
  `{"kty":"OKP","crv":"Ed25519","x":"${mark}","d":"${mark}"}`,
  `{"kty":"oct","k":"${mark}`,
  `-----BEGIN PRIVATE KEY-----\n${mark}\n-----END PRIVATE KEY-----`,
  `-----BEGIN PRIVATE KEY-----\\n${mark}${mark}\\n-----END PRIVATE KEY-----\\n`,
  `-----BEGIN RSA PRIVATE KEY-----\n${mark}`,
  `-----BEGIN PUBLIC KEY-----\n${mark}\n-----END PUBLIC KEY-----`,
  `-----BEGIN ${mark}`,
  `ssh-rsa ${mark} ada@example.org`,
  `\0${mark.repeat(3)}\n`,
];
const storeUrls = [
  `${mark}`,
  `ada:${mark}@db.example/jwt`,
  `mysql://ada:${mark}@db.example/jwt`,
  `redis://:${mark}@db.example`,
  `file://db.example/${mark}`,
  "file:",
  "memory:",
  "MEMORY:?a=b",
];
const addresses = [
  `https://ada:${mark}@example.org/keys`,
  `ftp://ada:${mark}@example.org/`,
  `https://[${mark}`,
  "http://127.0.0.1:1/keys",
];
const texts = [
  ..."true false on off null undefined NaN Infinity 0 1 -1 1e3 1e999 0x10 1.5 9007199254740993 5m 1h30m 0s 999999999999d".split(
    " ",
  ),
  ..."HS256 HS512 RS256 ES256 EdDSA none strict lax refresh access SlidingToken AccessToken login memory: * , a,b,,c".split(
    " ",
  ),
  ..."20/min 0/min 1/s /min 10.0.0.0/8 ::1/129 loopback https://app.example https://app.example/ /auth //auth/// ../.. %00".split(
    " ",
  ),
  ..." |  |\t|\n|\r\n|\0|\x1b[2J|\u202e|\u2028|\ud800|\u0663|é|🙂|[]|{}|\"|'|\\|__proto__|constructor|a b".split("|"),
  "9".repeat(400),
  "1m".repeat(20_000),
  "a".repeat(100_000),
  "/".repeat(50_000),
];
const names = [...options.map(({ name }) => name), ...describeSettings().map(({ name }) => name)];
const oddNames = [
  "",
  "__proto__",
  "constructor",
  "toString",
  "hashing",
  "cookies",
  "hashing.queue",
  "store.x",
  "Port",
  "a\nb",
];

const random = randomFrom(seedFrom());
const { pick, chance, below } = random;

/** Returns a text for an option: its default, or more often than not one of another form than it takes. */
function textFor(name: string): string {
  const { default: value, form } = options.find((option) => option.name === name) ?? {};
  if (form !== "file" && chance(0.5) && ["string", "number", "boolean"].includes(typeof value)) return String(value);
  if (name === "signingKey" || name === "verifyingKey") return pick(secrets);
  if (name === "store") return pick(storeUrls);
  if (name === "algorithm" && chance(0.5)) return pick(algorithmNames);
  if (name === "jwkUrl") return pick(addresses);
  const text = chance(0.05) ? "" : pick(texts);
  return chance(0.1) ? text.slice(0, 20) + pick(texts).slice(0, 20) : text;
}

function valueFor(name: string, depth = 0): unknown {
  const holdsSecret = ["signingKey", "verifyingKey", "store", "jwkUrl"].includes(name);
  if (holdsSecret && chance(0.8)) {
    const text = textFor(name);
    return text.startsWith("{") && text.endsWith("}") ? JSON.parse(text) : text;
  }
  const kind = below(depth > 2 ? 6 : 8);
  if (kind === 0) return pick([null, true, false]);
  if (kind === 1) return pick([0, 1, -1, 0.5, 300, 1e21, 1e308, Number.MAX_SAFE_INTEGER]);
  if (kind < 6) return textFor(name);
  if (kind === 6) return Array.from({ length: below(4) }, () => valueFor(name, depth + 1));
  return objectOf(depth + 1);
}

function objectOf(depth: number): Record<string, unknown> {
  const keys = [...names, ...names.flatMap((name) => name.split(".").slice(1)), ...oddNames];
  // Not by assignment, so that __proto__ is a member like others.
  return Object.fromEntries(
    Array.from({ length: below(depth === 0 ? 8 : 4) }, () => pick(keys)).map((key) => [key, valueFor(key, depth)]),
  );
}

/** Returns what a configuration file holds: JSON, and at times a part of it or other bytes. */
function fileText(): string | Uint8Array {
  if (chance(0.05)) return random.bytes(below(40));
  const text = JSON.stringify(chance(0.1) ? valueFor(pick(names)) : objectOf(0));
  if (chance(0.1)) return text.slice(0, below(text.length + 1));
  return chance(0.1) ? `\ufeff${text}` : text.replaceAll("1e+308", () => (chance(0.5) ? "1e400" : "1e308"));
}

interface Given {
  args: string[];
  env: Record<string, string>;
  file?: string | Uint8Array;
}

function nonsense(): Given {
  const args: string[] = [];
  const env: Record<string, string> = {};
  for (let n = below(4); n > 0; n--) {
    const { name, flag } = pick(options);
    const text = textFor(name);
    const odd = [
      [`--no-${flag}`],
      [`--${flag}`],
      [`--${flag}-file=/nowhere/${pick(["", "key"])}`],
      [pick([`--${flag}x`, `-${flag}`, text, "--", "-", `--=${text}`])],
    ];
    args.push(...(chance(0.15) ? pick(odd) : pick([[`--${flag}=${text}`], [`--${flag}`, text]])));
  }
  for (let n = below(4); n > 0; n--) {
    const { name, env: variable } = pick(options);
    env[chance(0.03) ? `${variable}S` : variable] = textFor(name).replaceAll("\0", "0"); // no variable can hold it
  }
  const file = chance(0.5) ? fileText() : undefined;
  return { args, env, ...(file !== undefined && { file }) };
}

/** Does what the server does before it listens, without making a file or a connection. */
async function begin({ args, env, file }: Given, name: string): Promise<void> {
  if (file !== undefined) writeFileSync(name, file, { mode: 0o600 });
  const all = file === undefined ? args : ["--config", name, ...args];
  const read = await loadOptions(all, env);
  if (read.store.startsWith("file:")) read.store = `file:${folder}/none`;
  const store = await openStore(read.store.startsWith("file:") ? "memory:" : read.store);
  const settings = { ...read.settings, ...(await keySettings(read, "try")), store, log: () => {} };
  const endpoints = createJwtEndpoints({ ...guardsFor(settings), ...settings });
  if (read.settings["jwkUrl"] === undefined) await endpoints.ready();
  for (const url of ["/healthz", "/jwt/verify/", "/"]) {
    const { status } = await endpoints.fetch(new Request(`http://localhost${url}`));
    assert.ok(status < 500, `${url}: ${status}`);
  }
}

it("stop a start in one line that names the setting or the file and holds no secret", async () => {
  const counts = { started: 0, refused: 0 };
  for (let round = 0; round < rounds; round++) {
    const given = nonsense();
    const name = path.join(folder, "nonsense.json");
    const shown = `round ${round}: ${JSON.stringify({ ...given, file: given.file?.toString() }).slice(0, 2000)}`;
    try {
      await begin(given, name);
      counts.started++;
    } catch (error) {
      if ((error as Error).name === "Assertion") throw error;
      counts.refused++;
      const line = problemOf(error);
      const told = `${shown}\n${line.slice(0, 1000)}`;
      assert.not.ok(line.includes("\n"), `not one line: ${told}`);
      assert.not.ok(line.includes(mark), `a secret is told: ${told}`);
      assert.ok(line.length < 600, `no one reads that: ${told}`);
      const isNamed =
        /(^|: )(setting|variable) \S/.test(line) || line.startsWith(name) || line.startsWith("the command line has");
      assert.ok(isNamed, `names nothing: ${told}`);
    }
  }
  console.log(JSON.stringify(counts));
  assert.ok(counts.started > rounds / 50 && counts.refused > rounds / 3, JSON.stringify(counts));
});

it.run();
