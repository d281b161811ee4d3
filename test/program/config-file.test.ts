/** The configuration file: where it stands between the environment and the defaults, and how it is refused. */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadConfig, loadOptions } from "../../src/program/config-file.ts";
import { informationFor } from "../../src/program/information.ts";
import { startWarnings } from "../../src/serve/warnings.ts";
import { command, environmentWith, projectRoot, runtime, start, temporaryFolder } from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";
import { entry, serve } from "../support/server.ts";

const source = (name: string): string => JSON.stringify(path.join(projectRoot, "src", name));

/** Writes a file for its owner alone, and returns its path. */
function configFile(name: string, text: string): string {
  const file = path.join(temporaryFolder(), name);
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}
const json = (values: unknown): string => configFile("server.json", JSON.stringify(values));

const it = suite("configuration file");

it("comes behind flags and variables, and before defaults, also within a group of settings", async () => {
  const file = json({ port: 9001, leeway: "3s", prefix: "/auth", hashing: { queue: 5, iterations: 700_000 } });
  const env = { JWT_LEEWAY: "2s", JWT_HASHING_QUEUE: "6" };
  const options = await loadOptions(["--config", file, "--prefix", "/api"], env);
  assert.equal([options.port, options.host], [9001, "127.0.0.1"]);
  assert.equal(options.settings, { leeway: "2s", prefix: "/api", hashing: { queue: 6, iterations: 700_000 } });
});

it("is typed by defineConfig, and may have hooks", async () => {
  // The suite runs from a bundle on Node, whose older versions read no TypeScript.
  const isRead = runtime !== "node" || "typescript" in process.features;
  const typed = `
    import { defineConfig } from ${source("program/config.ts")};
    const name: string = "claims";
    export default defineConfig({ me: false, claims: (user) => ({ [name]: user.username }), signingKey: undefined });`;
  const plain = `export default { me: false, claims: (user) => ({ claims: user.username }), signingKey: undefined };`;
  const file = configFile(`server.config.${isRead ? "ts" : "mjs"}`, isRead ? typed : plain);
  const { settings } = await loadOptions(["--config", file], {});
  const { claims, ...rest } = settings as { claims: (user: object) => object };
  assert.equal(rest, { me: false });
  assert.equal(claims({ username: "ada" }), { claims: "ada" });
});

it("is refused in one line that names it and the setting", async () => {
  const cases: [file: string, message: RegExp][] = [
    [json({ prot: 1 }), /server\.json: setting prot is not a setting; did you mean port\?$/],
    [json({ port: "9" }), /server\.json: setting port is not a number$/],
    [json({ store: 1 }), /server\.json: setting store is not text$/],
    [json({ accessTokenLifetime: "soon" }), /server\.json: setting accessTokenLifetime: "soon" is not a duration/],
    [
      json({ hashing: { qeue: 1 } }),
      /server\.json: setting hashing\.qeue is not a setting; did you mean hashing\.queue\?$/,
    ],
    [json({ signingKey: 7 }), /server\.json: setting signingKey is not a key/],
    [json({ log: 7 }), /server\.json: setting log is made by the server; it can be set in code alone$/],
    [json([]), /server\.json is not a JSON object; accepted: settings by their names$/],
    [configFile("a.json", "{hunter2"), /a\.json is not JSON$/],
    [configFile("a.mjs", "export const x = 1;"), /a\.mjs has no object as its default export; accepted/],
    [configFile("c.mjs", "throw { message: 1 };"), /c\.mjs can't be read: its code throws a value that is no error$/],
    [configFile("d.mjs", "throw undefined;"), /d\.mjs can't be read: its code throws a value that is no error$/],
    [configFile("e.mjs", "export default { get port() { throw Error('no'); } };"), /e\.mjs can't be read: no$/],
    [configFile("b.mjs", "throw new Error('no\\nluck');"), /b\.mjs can't be read: no$/],
    [path.join(temporaryFolder(), "none.json"), /none\.json is not there$/],
    [path.join(temporaryFolder(), "none.mjs"), /none\.mjs is not there$/],
  ];
  for (const [file, message] of cases) {
    const error: Error | undefined = await loadConfig(file).then(
      () => undefined,
      (reason: Error) => reason,
    );
    assert.is(error?.name, "SettingError", String(error));
    assert.match(error!.message, message);
    assert.not.match(error!.message, /hunter2|\n/);
  }
});

it("causes a warning when it holds a secret and is open to others", async () => {
  const warned = async (file: string, mode: number) => {
    chmodSync(file, mode);
    const runtime = { name: "any", fixedLimits: [] };
    return startWarnings(await loadOptions(["--config", file], {}), [], runtime).map(({ code }) => code);
  };
  const secrets = [
    { signingKey: "hunter2".repeat(5) },
    { signingKey: { kty: "oct", k: "aHVudGVyMg" } },
    { store: "postgres://ada:hunter2@db/jwt" },
  ];
  for (const values of secrets) {
    assert.equal(await warned(json(values), 0o644), ["open_config_file"]);
    assert.equal(await warned(json(values), 0o600), []);
  }
  assert.equal(await warned(json({ port: 1, store: "postgres://ada@db/jwt" }), 0o644), []);
  const fromElsewhere = configFile("c.mjs", 'export default { signingKey: ["hunter2", "x".repeat(40)].join("") };');
  assert.equal(await warned(fromElsewhere, 0o644), []);
});

it("is printed with all other settings by --print-config: value and source, without secrets", async () => {
  const file = json({ port: 9001, signingKey: "hunter2".repeat(5), store: "postgres://ada:hunter2@db/jwt" });
  const args = ["--config", file, "--no-me"];
  const text = await informationFor([...args, "--print-config"], { JWT_LEEWAY: "2s" });
  const cells = new Map(text.split("\n").map((line) => [line.split(" ", 1)[0]!, line.split(/ {2,}/).slice(1)]));
  assert.equal(cells.get("port"), [`file ${file}`, "9001"]);
  assert.equal(cells.get("leeway"), ["JWT_LEEWAY", "2s"]);
  assert.equal(cells.get("me"), ["--me", "false"]);
  assert.equal(cells.get("host"), ["default", "127.0.0.1"]);
  assert.equal(cells.get("throttle"), ["default", "20/min"]);
  assert.equal(cells.get("audience"), ["default", "-"]);
  assert.equal(cells.get("signingKey"), [`file ${file}`, "(secret)"]);
  assert.equal(cells.get("store"), [`file ${file}`, "postgres://db/jwt"]);
  assert.not.match(text, "hunter2");
  const column = text.indexOf("VALUE");
  for (const line of text.split("\n")) assert.match(line.slice(column - 2), /^ {2}\S/);

  for (const [host, isOn] of [
    ["127.0.0.1", "true"],
    ["0.0.0.0", "false"],
  ] as const) {
    const shown = (await informationFor(["--host", host, "--print-config"], {}))
      .split("\n")
      .map((line) => line.split(/ {2,}/));
    for (const name of ["docs", "console"])
      assert.equal(
        shown.find(([first]) => first === name),
        [name, "default", isOn],
      );
  }
  await informationFor(["--port", "99999", "--print-config"], {}).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /^setting port: 99999 is not a port/),
  );

  const rows = JSON.parse(await informationFor([...args, "--print-config=json"], {})) as Record<string, unknown>[];
  assert.equal(
    rows.find(({ name }) => name === "port"),
    { name: "port", value: 9001, kind: "file", source: file },
  );
  assert.not.match(JSON.stringify(rows), "hunter2");
});

it("is found in the working directory by the server and by commands", async () => {
  const folder = temporaryFolder();
  mkdirSync(path.join(folder, "kept"), { mode: 0o700 });
  const text = 'export default { store: "file:./kept", usernameMatching: "case-insensitive", prefix: "/auth" };';
  writeFileSync(path.join(folder, "jwt-endpoints.config.mjs"), text);
  const server = await serve([], {}, folder);
  await until(() => server.output().includes("curl"), "the first user is told of");
  assert.match(server.output(), "/auth/jwt/");
  const options = { cwd: folder, env: environmentWith({}) };
  const found = await finished(start("user", ["disable", "ADMIN"], options));
  assert.equal(found, { code: 0, stdout: 'disabled "admin"\n', stderr: "" });
  assert.is(await server.stop(), 0);

  writeFileSync(path.join(folder, "jwt-endpoints.config.json"), "{}");
  const { code, stderr } = await finished(start(entry, [], options));
  const both =
    "jwt-endpoints.config.mjs and jwt-endpoints.config.json are both here; remove one, or name one with --config";
  assert.equal([code, stderr], [1, `jwt-endpoints: ${both}\n`]);
});

if (runtime === "node") {
  it("in TypeScript says what reads it where Node does not", async () => {
    // From Node 22.10, and on by default from 22.18; tsx, which runs programs that are not bundled, reads it too.
    const isRead = "typescript" in process.features || command(entry)[1].includes("--import");
    const folder = temporaryFolder();
    writeFileSync(path.join(folder, "jwt-endpoints.config.ts"), "export default { port: 0 as number };");
    const { stderr, stdout, code } = await finished(start(entry, ["--print-config"], { cwd: folder }));
    if (isRead && code === 0) assert.match(stdout, "file jwt-endpoints.config.ts");
    else
      assert.match(stderr, /^jwt-endpoints: jwt-endpoints\.config\.ts: Node \S+ reads no TypeScript; name it \.js or/);
  });
}

it.run();
