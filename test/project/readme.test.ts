/**
 * README says what the code does: its table of settings is the generated one (`npx tsx test/project/readme.test.ts --write`
 * rewrites it), that of what was measured too, the flags it names are read, and its TypeScript compiles and runs.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { benchTable, benchTableIn, chartFile, drawChart } from "../../bench/lib/chart.ts";
import { type JwtEndpoints, type JwtEndpointsSettings, createJwtEndpoints, describeSettings } from "../../src/index.ts";
import { listOptions, readOptions } from "../../src/program/options.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { projectRoot, runtime, temporaryFolder } from "../support/runtime.ts";

const file = path.join(projectRoot, "README.md");
const readme = readFileSync(file, "utf8");
const between = /(<!-- settings -->\n)([\s\S]*?)(<!-- \/settings -->)/;

/** One row for each setting of the handler, before them those of the server alone. */
function settingsTable(): string {
  const options = listOptions();
  const settings = describeSettings();
  const ofServer = options.filter(({ name }) => settings.every((setting) => setting.name !== name));
  const shownDefault = (value: unknown, shown: string | undefined): string => {
    if (shown !== undefined) return shown.startsWith("`") || !shown.startsWith('"') ? shown : `\`${shown}\``;
    return value === undefined ? "" : `\`${JSON.stringify(value)}\``;
  };
  const all = [...ofServer.map((option) => ({ ...option, shown: undefined, simpleJwtName: undefined })), ...settings];
  const rows = all.map((setting) => {
    const option = options.find(({ name }) => name === setting.name);
    const given = option === undefined ? "in code" : `\`--${option.flag}\` \`${option.env}\``;
    const simpleJwtName = setting.simpleJwtName === undefined ? "" : `\`${setting.simpleJwtName}\``;
    return [
      `\`${setting.name}\``,
      shownDefault(setting.default, setting.shown),
      given,
      simpleJwtName,
      setting.description,
    ];
  });
  const header = [["setting", "default", "flag, environment", "Simple JWT", "meaning"], Array<string>(5).fill("---")];
  return [...header, ...rows].map((row) => `| ${row.join(" | ")} |\n`).join("");
}

if (process.argv.includes("--write")) {
  const [, before, , after] = between.exec(readme)!;
  writeFileSync(
    file,
    readme.replace(between, () => `${before}${settingsTable()}${after}`),
  );
  process.exit(0);
}

/** The TypeScript blocks, with the names of the package replaced by the files they stand for. */
const blocks = [...readme.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) =>
  code!.replace(/from "jwt-endpoints(?:\/([^"]+))?"/g, (_, subpath: string = "index") => {
    const source = subpath === "passwords" ? "passwords/index" : subpath;
    return `from ${JSON.stringify(path.join(projectRoot, "src", `${source}.ts`))}`;
  }),
);

const it = suite("README");

it("has the table of settings that the code describes (else: npx tsx test/project/readme.test.ts --write)", () => {
  assert.fixture(between.exec(readme)![2]!, settingsTable());
});

it("has the table of what was measured that the results make (else: npm run bench -- chart)", () => {
  assert.fixture(benchTableIn(readme), benchTable());
});

it("has the chart of it too", async () => {
  assert.ok(readme.includes(`](${path.relative(projectRoot, chartFile)})`));
  assert.ok(readFileSync(chartFile, "utf8") === (await drawChart()), "npm run bench -- chart draws another");
});

it("names flags and variables that are read, to the same value", () => {
  const samples = { text: "HS512", number: "7", duration: "9m", boolean: "true", list: "a,b", none: "" };
  const rows = [...readme.matchAll(/^\| `([\w.]+)` \|.*\| `--([\w-]+)` `([A-Z_]+)` \|/gm)];
  assert.is(rows.length, listOptions().length);
  for (const [, name, flag, variable] of rows) {
    const { form } = listOptions().find((option) => option.name === name)!;
    const byFlag = readOptions([`--${flag}`, samples[form]], {});
    assert.equal(byFlag, readOptions([], { [variable!]: samples[form] }), `${name}`);
    const found = name!.split(".").reduce<any>((value, key) => value?.[key], { ...byFlag, ...byFlag.settings });
    assert.is.not(found, undefined, `${name} is set`);
  }
});

it("tells defaults that can be given as settings", () => {
  const given: Record<string, any> = { store: memoryStore(), signingKey: "k".repeat(32), hashing: {}, cookies: {} };
  given.log = () => {}; // some of them do nothing without others
  for (const { name, default: value } of describeSettings()) {
    if (value === undefined || typeof value === "function") continue;
    const [key, inner] = name.split(".") as [string, string?];
    if (inner === undefined) given[key] = value;
    else given[key][inner] = value;
  }
  assert.type(createJwtEndpoints(given as JwtEndpointsSettings).fetch, "function");
});

/** Simple JWT 5.5's, of which each has its twin here or is said to have none. */
const simpleJwtSettings =
  "ACCESS_TOKEN_LIFETIME REFRESH_TOKEN_LIFETIME ROTATE_REFRESH_TOKENS BLACKLIST_AFTER_ROTATION UPDATE_LAST_LOGIN ALGORITHM " +
  "SIGNING_KEY VERIFYING_KEY AUDIENCE ISSUER JSON_ENCODER JWK_URL LEEWAY AUTH_HEADER_TYPES AUTH_HEADER_NAME USER_ID_FIELD " +
  "USER_ID_CLAIM USER_AUTHENTICATION_RULE ON_LOGIN_SUCCESS ON_LOGIN_FAILED AUTH_TOKEN_CLASSES TOKEN_TYPE_CLAIM JTI_CLAIM " +
  "TOKEN_USER_CLASS SLIDING_TOKEN_REFRESH_EXP_CLAIM SLIDING_TOKEN_LIFETIME SLIDING_TOKEN_REFRESH_LIFETIME " +
  "TOKEN_OBTAIN_SERIALIZER CHECK_REVOKE_TOKEN REVOKE_TOKEN_CLAIM CHECK_USER_IS_ACTIVE";

it("says for every setting of Simple JWT what it is here", () => {
  const migrating = readme.slice(readme.indexOf("## Migrating from Djoser"));
  const ours = new Set(describeSettings().map(({ name }) => name));
  for (const name of simpleJwtSettings.split(" ")) assert.ok(migrating.includes(`\`${name}\``), name);
  for (const { simpleJwtName, name } of describeSettings()) {
    if (simpleJwtName === undefined || simpleJwtName === "USERNAME_FIELD") continue;
    assert.ok(simpleJwtSettings.split(" ").includes(simpleJwtName), `${simpleJwtName} is one of Simple JWT's`);
    assert.ok(ours.has(name) && migrating.includes(`\`${name}\``), name);
  }
});

it("embeds in six lines that run", async () => {
  const code = blocks.find((block) => block.includes("export default"))!;
  assert.is(code.split("\n").filter((line) => line.trim() !== "").length, 6);
  const folder = temporaryFolder();
  const module = path.join(folder, "embed.ts");
  writeFileSync(path.join(folder, "package.json"), '{"type":"module"}');
  writeFileSync(module, code);
  process.env.JWT_SIGNING_KEY = "k".repeat(32);
  const { default: host } = (await import(pathToFileURL(module).href)) as { default: Pick<JwtEndpoints, "fetch"> };
  const send = async (password: string) => {
    const init = { method: "POST", body: new URLSearchParams({ username: "ada", password }) };
    return host.fetch(new Request("http://localhost/jwt/create/", init));
  };
  assert.is((await send("correct horse")).status, 200);
  assert.is((await send("correct horse ")).status, 400);
});

// One compiler for all runtimes is enough.
if (runtime === "node") {
  it("has TypeScript that compiles", () => {
    const folder = temporaryFolder();
    symlinkSync(path.join(projectRoot, "node_modules"), path.join(folder, "node_modules"));
    blocks.forEach((block, index) => writeFileSync(path.join(folder, `block-${index}.ts`), `${block}\nexport {};\n`));
    const memory = JSON.stringify(path.join(projectRoot, "src/stores/memory.ts"));
    writeFileSync(path.join(folder, "my-store.ts"), `export { memoryStore as openMyStore } from ${memory};\n`);
    writeFileSync(path.join(folder, "package.json"), '{"type":"module"}');
    const compilerOptions = { rewriteRelativeImportExtensions: false };
    const config = { extends: path.join(projectRoot, "tsconfig.json"), compilerOptions, include: ["*.ts"] };
    writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = path.join(projectRoot, "node_modules/typescript/bin/tsc");
    const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
    assert.is(status, 0, `${stdout}${stderr}`);
    assert.ok(blocks.length >= 3);
  });
}

it("points to files and scripts that are there", () => {
  const { scripts } = JSON.parse(readFileSync(path.join(projectRoot, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  for (const [, name] of readme.matchAll(/npm run ([\w:]+)/g)) assert.ok(scripts[name!], `npm run ${name}`);
  for (const [, target] of readme.matchAll(/\]\(([^)#:]+)\)/g)) readFileSync(path.join(projectRoot, target!));
});

it.run();
