/** Flags and variables of the server. */
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { guards, guardsFor, listOptions, readOptions } from "../../src/program/options.ts";
import { defaultLimits } from "../../src/program/server-options.ts";
import { startWarnings } from "../../src/serve/warnings.ts";
import { withinCores } from "../../src/serve/workers.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { fileOf } from "../support/commands.ts";
import { finished } from "../support/processes.ts";
import { start, temporaryFolder } from "../support/runtime.ts";
import { entry } from "../support/server.ts";

const it = suite("options");

it("refuse misspelt flags and variables and empty keys, naming the nearest and no value", () => {
  const cases: [args: string[], env: Record<string, string>, message: string][] = [
    [["--colour", "hunter2"], {}, "setting --colour is not a flag of the server; see --help"],
    [["--stoer=hunter2"], {}, "setting --stoer is not a flag of the server; did you mean --store?"],
    [["--=hunter2"], {}, "setting -- is not a flag of the server; see --help"],
    [["--sign\x1b[2J\n=hunter2"], {}, "setting --sign is not a flag of the server; see --help"],
    [["-----BEGIN hunter2"], {}, "setting -----BEGIN is not a flag of the server; see --help"],
    [["-p", "1"], {}, "setting -p is not a flag of the server; see --help"],
    [["--store", "--port", "0"], {}, "setting --store lacks its value; a value that begins with - takes --store="],
    [["--port"], {}, "setting --port lacks its value; a value that begins with - takes --port="],
    [["hunter2"], {}, "the command line has a text that belongs to no flag"],
    ...["memory:", "MEMORY:", "Memory:x", "mEMORY://"].map((store): [string[], Record<string, string>, string] => [
      ["--workers", "2"],
      { JWT_STORE: store },
      "setting workers: 2 processes can't share the store memory:; use a file: store",
    ]),
    [[], { JWT_THROTTEL: "hunter2" }, "variable JWT_THROTTEL is not a setting; did you mean JWT_THROTTLE?"],
    [[], { JWT_PORT: "1" }, "variable JWT_PORT is not a setting; did you mean PORT?"],
    [[], { JWT_CLAIMS: "1" }, "variable JWT_CLAIMS is not a setting; the server's --help lists those that are"],
    [[], { JWT_VERIFYING_KEY: "" }, "variable JWT_VERIFYING_KEY is empty; give it a value, or take it away"],
    [[], { JWT_JWK_URL: "" }, "variable JWT_JWK_URL is empty; give it a value, or take it away"],
  ];
  for (const [args, env, message] of cases) {
    assert.throws(
      () => readOptions(args, env),
      (error: Error) => error.name === "SettingError" && error.message === message,
      message,
    );
  }
  const { settings, store } = readOptions([], { JWT_ENDPOINTS_WORKERS: "2", JWT_STORE: "", JWT_PREFIX: "", JWTX: "1" });
  assert.equal([settings, store], [{}, "file:./data"]);
});

it("are quoted in errors up to 80 letters", () => {
  const long = "x".repeat(100_000);
  for (const name of ["port", "me", "texts", "headers-timeout", "metrics", "algorithm"]) {
    assert.throws(
      () => parseSettings({ ...readOptions([`--${name}=${long}`], {}).settings, store: memoryStore() } as never),
      (error: Error) =>
        (error.message.includes(`"${"x".repeat(77)}…"`) && error.message.length < 350) ||
        assert.unreachable(error.message.slice(0, 500)),
      name,
    );
  }
});

it("are read from flags before variables, and from variables before defaults", () => {
  const env = { HOST: "::1", JWT_STORE: "memory:", JWT_LEEWAY: "1s", JWT_CORS: "https://a.example, https://b.example" };
  const options = readOptions(["--store", "file:./other", "--leeway=2s", "--hashing-queue", "7"], env);
  assert.equal(options, {
    host: "::1",
    port: 8000,
    store: "file:./other",
    requestLog: true,
    auditLog: "stderr",
    metrics: "",
    openapi: true,
    docs: true,
    console: true,
    workers: 1,
    limits: defaultLimits,
    settings: { leeway: "2s", cors: ["https://a.example", "https://b.example"], hashing: { queue: 7 } },
  });
});

it("read a setting from a JSON file, and name the file that can't be read", () => {
  const folder = temporaryFolder();
  const file = path.join(folder, "texts.json");
  writeFileSync(file, '\ufeff{ "token_expired": "Abgelaufen" }\n');
  const texts = { token_expired: "Abgelaufen" };
  assert.equal(readOptions(["--texts", file], {}).settings, { texts });
  assert.equal(readOptions([], { JWT_TEXTS: file }).settings, { texts });
  const bad = path.join(folder, "bad.json");
  writeFileSync(bad, "token_expired: Abgelaufen");
  for (const [name, why] of [
    [bad, "is not JSON"],
    [path.join(folder, "none.json"), "can't be read (ENOENT)"],
    [folder, "can't be read (EISDIR)"],
  ] as const) {
    const message = `setting texts: the file ${JSON.stringify(name)} ${why}`;
    assert.throws(
      () => readOptions(["--texts", name], {}),
      (error: Error) => error.name === "SettingError" && error.message === message,
      message,
    );
  }
});

it("that are secrets are read from a file, without its last newline", () => {
  const file = fileOf("key", "a key from a file\n");
  const from = (args: string[], env: Record<string, string> = {}) => readOptions(args, env).settings["signingKey"];
  assert.is(from(["--signing-key-file", file]), "a key from a file");
  assert.is(from([], { JWT_SIGNING_KEY_FILE: file }), "a key from a file");
  assert.is(readOptions([], { JWT_STORE_FILE: fileOf("store", "memory:\n") }).store, "memory:");
  const cases: [args: string[], env: Record<string, string>, message: RegExp][] = [
    [["--signing-key-file", "/nowhere/key"], {}, /^setting signingKey: the file \/nowhere\/key can't be read: ENOENT$/],
    [["--signing-key-file", fileOf("key", "\n")], {}, /^setting signingKey: the file \S+ is empty$/],
    [["--signing-key-file", file], { JWT_SIGNING_KEY: "hunter2" }, /^setting signingKey is given twice/],
    [[], { JWT_SIGNING_KEY_FILE: "" }, /^variable JWT_SIGNING_KEY_FILE is empty/],
    [[], { JWT_PREFIX_FILE: "x" }, /^variable JWT_PREFIX_FILE is not a setting/],
  ];
  for (const [args, env, message] of cases) {
    assert.throws(
      () => readOptions(args, env),
      (error: Error) => message.test(error.message) || assert.unreachable(error.message),
    );
  }
});

it("limit what a client may take up, and refuse limits that can't work", () => {
  const limitsOf = (...args: string[]) => readOptions(args, {}).limits;
  const standard = { headersTimeout: 10_000, requestTimeout: 30_000, maxHeaderSize: 16_384, maxConnections: 10_000 };
  assert.equal(limitsOf(), standard);
  assert.equal(limitsOf("--headers-timeout", "1500ms", "--max-connections", "0").headersTimeout, 1500);
  assert.equal(limitsOf("--headers-timeout=0", "--request-timeout=0"), {
    ...standard,
    headersTimeout: 0,
    requestTimeout: 0,
  });
  assert.is(limitsOf("--request-timeout=5s").headersTimeout, 5000, "headers are a part of the request");
  for (const [args, message] of [
    [
      ["--headers-timeout", "soon"],
      'setting headersTimeout: "soon" is not a time limit; accepted: 0, or text such as "10s", up to "10m"',
    ],
    [
      ["--request-timeout", "11m"],
      'setting requestTimeout: "11m" is not a time limit; accepted: 0, or text such as "10s", up to "10m"',
    ],
    [["--max-header-size", "10"], "setting maxHeaderSize: 10 is out of range; accepted: 1024 to 1048576 bytes"],
    [
      ["--max-connections", "-1"],
      "setting --max-connections lacks its value; a value that begins with - takes --max-connections=",
    ],
  ] as [string[], string][]) {
    assert.throws(
      () => readOptions(args, {}),
      (error: Error) => error.message === message || assert.unreachable(error.message),
    );
  }
  const told = (...args: string[]) =>
    startWarnings(readOptions(args, {}), args, { name: "Deno 2", fixedLimits: ["headersTimeout", "maxConnections"] });
  assert.equal(told("--max-header-size", "8192"), []);
  assert.is(
    told("--max-connections", "100", "--headers-timeout", "5s")[0]!.message,
    "Deno 2 can't be given headersTimeout, maxConnections: let a proxy in front limit that",
  );
});

const served = { name: "Node 20", fixedLimits: [] };

it("cause a warning for a secret on the command line and for an open address without a proxy", () => {
  const told = (...args: string[]) => startWarnings(readOptions(args, {}), args, served).map(({ code }) => code);
  assert.equal(told(), []);
  assert.equal(told("--signing-key", "hunter2"), ["secret_on_command_line"]);
  assert.equal(told("--signing-key-file", fileOf("key", "hunter2")), []);
  assert.equal(told("--verifying-key=-----BEGIN PUBLIC KEY-----"), []);
  assert.equal(told("--store=postgres://ada:hunter2@db/jwt"), ["secret_on_command_line"]);
  assert.equal(told("--store", "postgres://ada@db/jwt"), []);
  for (const host of ["0.0.0.0", "::", "192.0.2.1", "example.org"]) {
    assert.equal(told("--host", host), ["open_without_proxy"], host);
  }
  for (const host of ["localhost", "127.0.0.2", "::1"]) assert.equal(told("--host", host), [], host);
  const [warning] = startWarnings(readOptions(["--signing-key=hunter2"], {}), ["--signing-key=hunter2"], served);
  const remedy = "use JWT_SIGNING_KEY or --signing-key-file";
  assert.is(warning!.message, `--signing-key shows a secret to every user of the machine; ${remedy}`);
});

it("cause a warning for more password hashes at once than the machine has cores", () => {
  const told = (...args: string[]) => startWarnings(readOptions(args, {}), args, served).map(({ code }) => code);
  const cores = availableParallelism();
  assert.equal(told("--hashing-concurrency", String(cores)), []);
  assert.equal(told("--hashing-concurrency", String(cores + 1)), ["more_hashes_than_cores"]);
  assert.equal(
    told("--hashing-concurrency", "1", "--workers", String(cores + 1)),
    [],
    "one each is the least there is",
  );
  assert.equal(told("--hashing-concurrency", "2", "--workers", String(cores + 1)), ["more_hashes_than_cores"]);

  const limiting = { ...served, name: "Deno 2", limitsHashes: true };
  const hashingOf = (...args: string[]) => {
    const options = readOptions(args, {});
    return [withinCores(options).hashing?.concurrency, startWarnings(options, args, limiting)[0]?.message];
  };
  const more = String(cores + 1);
  const computes = `is more than the ${cores} cores here: Deno 2 computes`;
  const since = "since more would delay all other requests";
  assert.equal(hashingOf("--hashing-concurrency", more), [
    cores,
    `hashing.concurrency: ${more} ${computes} ${cores}, ${since}`,
  ]);
  assert.equal(hashingOf("--hashing-concurrency", "2", "--workers", more), [
    1,
    `hashing.concurrency: 2 in each of ${more} workers ${computes} 1 in each of ${more} workers, ${since}`,
  ]);
  assert.equal(hashingOf("--hashing-concurrency", "1"), [1, undefined]);
  assert.equal(hashingOf(), [undefined, undefined]);
});

it("take their booleans without a value, and are turned off by --no-", () => {
  const settingsOf = (...args: string[]) => readOptions(args, {}).settings;
  assert.equal(settingsOf("--rotate-refresh-tokens", "--no-me"), { rotateRefreshTokens: true, me: false });
  assert.equal(settingsOf("--me", "off", "--rotate-refresh-tokens=yes"), { rotateRefreshTokens: true, me: false });
  assert.equal(settingsOf("--no-throttle", "--no-cors", "--me"), { throttle: false, cors: false, me: true });
  assert.is(readOptions(["--no-request-log"], { JWT_REQUEST_LOG: "true" }).requestLog, false);
  for (const [args, message] of [
    [["--no-mee"], "setting --no-mee is not a flag of the server; did you mean --no-me?"],
    [["--no-store"], "setting --no-store is not a flag of the server; did you mean --store?"],
    [["--throttle"], "setting --throttle lacks its value; a value that begins with - takes --throttle="],
    [["--me", "hunter2"], "the command line has a text that belongs to no flag"],
  ] as const) {
    assert.throws(
      () => readOptions([...args], {}),
      (error: Error) => error.message === message || assert.unreachable(error.message),
    );
  }
});

it("limit clients by default, and sessions where their rotations are recorded", () => {
  const guardsOf = (...args: string[]) => Object.keys(guardsFor(readOptions(args, { JWT_SIGNING_KEY: "k" }).settings));
  const all = Object.keys(guards);
  const others = all.filter((name) => name !== "throttleRotations");
  assert.equal(guardsOf(), others);
  assert.equal(guardsOf("--rotate-refresh-tokens"), all);
  assert.equal(guardsOf("--rotate-refresh-tokens", "--blacklist-after-rotation"), all);
  assert.equal(guardsOf("--rotate-refresh-tokens", "--no-blacklist-after-rotation"), others);
  assert.equal(guardsOf("--rotate-refresh-tokens", "--auth-token-classes", "SlidingToken"), others);
  assert.equal(guardsOf("--rotate-refresh-tokens", "--auth-token-classes", "AccessToken,SlidingToken"), all);
  assert.equal(guardsFor({}), {}, "nobody can log in");
});

it("are each shown by --help, in groups, with flag, variable and default, in 80 columns where there is no terminal", async () => {
  const { code, stdout, stderr } = await finished(start(entry, ["--port", "1", "--help"]));
  assert.equal([code, stderr], [0, ""]);
  const lines = stdout.split("\n");
  for (const line of lines) assert.ok(line.length <= 80, line);
  const entries = stdout
    .split(/^ {2}(?=--)/m)
    .slice(1)
    .map((text) => text.split(/\n\n/, 1)[0]!.replace(/\s+/g, " ").trim());
  for (const { flag, env, form, default: value } of listOptions()) {
    const found = entries.find((text) => new RegExp(`^--(\\[no-\\])?${flag} `).test(text))!;
    assert.ok(found?.includes(` [${env}]`), `--${flag}`);
    assert.is(/^\S+ [A-Z|]+ /.test(found), form !== "boolean", found);
    if (typeof value === "number") assert.ok(found.endsWith(` (default: ${value})`), found);
  }
  assert.ok(entries.some((text) => /^--access-token-lifetime DURATION .* \(default: 5m\)$/.test(text)));
  assert.ok(entries.some((text) => /^--\[no-\]throttle RATE .* \(default: 20\/min\)$/.test(text)));
  const titles = lines.filter((line) => /^[A-Z][a-z]+$/.test(line));
  assert.equal(titles.slice(0, 4), ["Commands", "Address", "Store", "Keys"]);
});

it.run();
