/**
 * The READMEs say what the code does: the table of settings is the generated one (`npx tsx test/project/readme.test.ts --write`
 * rewrites it), as is the one of figures, the flags they name are read, their TypeScript compiles, and their links resolve.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { buildSync } from "esbuild";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { benchTable, chartFile, drawChart, keptStoresTable, keptTable, storesTable } from "../../bench/lib/chart.ts";
import { type JwtEndpoints, type JwtEndpointsSettings, createJwtEndpoints, describeSettings } from "../../src/index.ts";
import { listOptions, readOptions } from "../../src/program/options.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { projectRoot, temporaryFolder } from "../support/runtime.ts";

/** Every `README.md` of the project by its path. */
const documents = new Map<string, string>(
  ["README.md", ...["src", "test", "bench"].flatMap(readmesBelow)].map((name) => [
    name,
    readFileSync(path.join(projectRoot, name), "utf8"),
  ]),
);

function readmesBelow(folder: string): string[] {
  const names = readdirSync(path.join(projectRoot, folder), { recursive: true, encoding: "utf8" });
  return names.filter((name) => path.basename(name) === "README.md").map((name) => path.posix.join(folder, name));
}

const frontDoor = documents.get("README.md")!;
const settingsFile = "src/settings/README.md";
const settingsDocument = documents.get(settingsFile)!;
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
  const [, before, , after] = between.exec(settingsDocument)!;
  const written = settingsDocument.replace(between, () => `${before}${settingsTable()}${after}`);
  writeFileSync(path.join(projectRoot, settingsFile), written);
  process.exit(0);
}

/** The TypeScript blocks, with the names of the package replaced by the files they stand for. */
const blocks = [...documents].flatMap(([name, document]) =>
  [...document.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => ({
    name,
    code: code!.replace(/from "jwt-endpoints(?:\/([^"]+))?"/g, (_, subpath: string = "index") => {
      const folders = ["client", "node", "openapi", "passwords", "stores/file"];
      const source = folders.includes(subpath) ? `${subpath}/index` : subpath === "config" ? "program/config" : subpath;
      return `from ${JSON.stringify(path.join(projectRoot, "src", `${source}.ts`))}`;
    }),
  })),
);

const it = suite("READMEs");

it("keep the front door within 150 lines", () => {
  assert.ok(frontDoor.split("\n").length <= 150);
});

it("have the table of settings that the code describes (else: npx tsx test/project/readme.test.ts --write)", () => {
  assert.fixture(between.exec(settingsDocument)![2]!, settingsTable());
});

it("have the table of the kept figures (else: npm run bench -- chart)", () => {
  assert.fixture(keptTable(), benchTable());
  assert.fixture(keptStoresTable(), storesTable());
});

it("have the chart of the kept figures", async () => {
  assert.ok(frontDoor.includes(`](${path.relative(projectRoot, chartFile)})`));
  assert.ok(readFileSync(chartFile, "utf8") === (await drawChart()), "npm run bench -- chart draws another");
});

it("show the example of Express as it is, and name every example, each under 15 lines", () => {
  const folder = path.join(projectRoot, "src/http/examples");
  const document = documents.get("src/http/README.md")!;
  for (const name of readdirSync(folder)) {
    assert.ok(document.includes(`](examples/${name})`), name);
    const lines = readFileSync(path.join(folder, name), "utf8").split("\n");
    assert.ok(lines.filter((line) => !/^(\/\*\*.*)?$/.test(line)).length < 15, `${name} is long`);
  }
  const shown = /<!-- express -->\s+```ts\n([\s\S]*?)```/.exec(document)![1]!;
  assert.is(shown, readFileSync(path.join(folder, "express.ts"), "utf8").replace(/^.*\n/, ""));
});

it("name flags and variables that are read, to the same value", () => {
  const file = path.join(projectRoot, "package.json");
  const samples = { text: "HS512", number: "7", duration: "9m", boolean: "true", list: "a,b", file, none: "" };
  const rows = [...settingsDocument.matchAll(/^\| `([\w.]+)` \|.*\| `--([\w-]+)` `([A-Z_]+)` \|/gm)];
  assert.is(rows.length, listOptions().length);
  for (const [, name, flag, variable] of rows) {
    const { form } = listOptions().find((option) => option.name === name)!;
    const special: Record<string, string> = { metrics: "127.0.0.1:9464", maxHeaderSize: "4096" };
    const sample = special[name!] ?? samples[form];
    const byFlag = readOptions([`--${flag}`, sample], {});
    assert.equal(byFlag, readOptions([], { [variable!]: sample }), `${name}`);
    const found = name!.split(".").reduce<any>((value, key) => value?.[key], {
      ...byFlag,
      ...byFlag.limits,
      ...byFlag.settings,
    });
    assert.is.not(found, undefined, `${name} is set`);
  }
});

it("show defaults that are accepted as settings", () => {
  const given: Record<string, any> = { store: memoryStore(), signingKey: "k".repeat(32), hashing: {}, cookies: {} };
  given.log = () => {}; // some settings have no effect without others
  for (const { name, default: value } of describeSettings()) {
    if (value === undefined || typeof value === "function") continue;
    const [key, inner] = name.split(".") as [string, string?];
    if (inner === undefined) given[key] = value;
    else given[key][inner] = value;
  }
  assert.type(createJwtEndpoints(given as JwtEndpointsSettings).fetch, "function");
});

/** Simple JWT 5.5's, each of which has its setting here or is said to have none. */
const simpleJwtSettings =
  "ACCESS_TOKEN_LIFETIME REFRESH_TOKEN_LIFETIME ROTATE_REFRESH_TOKENS BLACKLIST_AFTER_ROTATION UPDATE_LAST_LOGIN ALGORITHM " +
  "SIGNING_KEY VERIFYING_KEY AUDIENCE ISSUER JSON_ENCODER JWK_URL LEEWAY AUTH_HEADER_TYPES AUTH_HEADER_NAME USER_ID_FIELD " +
  "USER_ID_CLAIM USER_AUTHENTICATION_RULE ON_LOGIN_SUCCESS ON_LOGIN_FAILED AUTH_TOKEN_CLASSES TOKEN_TYPE_CLAIM JTI_CLAIM " +
  "TOKEN_USER_CLASS SLIDING_TOKEN_REFRESH_EXP_CLAIM SLIDING_TOKEN_LIFETIME SLIDING_TOKEN_REFRESH_LIFETIME " +
  "TOKEN_OBTAIN_SERIALIZER CHECK_REVOKE_TOKEN REVOKE_TOKEN_CLAIM CHECK_USER_IS_ACTIVE";

it("say for every setting of Simple JWT what it is here", () => {
  const migrating = settingsDocument.slice(settingsDocument.indexOf("## Migrating from Djoser"));
  const ours = new Set(describeSettings().map(({ name }) => name));
  for (const name of simpleJwtSettings.split(" ")) assert.ok(migrating.includes(`\`${name}\``), name);
  for (const { simpleJwtName, name } of describeSettings()) {
    if (simpleJwtName === undefined || simpleJwtName === "USERNAME_FIELD") continue;
    assert.ok(simpleJwtSettings.split(" ").includes(simpleJwtName), `${simpleJwtName} is one of Simple JWT's`);
    assert.ok(ours.has(name) && migrating.includes(`\`${name}\``), name);
  }
});

it("embed in six lines that run", async () => {
  const { code } = blocks.find(({ name, code }) => name === "README.md" && code.includes("export default"))!;
  assert.is(code.split("\n").filter((line) => line.trim() !== "").length, 6);
  const folder = temporaryFolder();
  const module = path.join(folder, "embed.js");
  writeFileSync(path.join(folder, "package.json"), '{"type":"module"}');
  symlinkSync(path.join(projectRoot, "node_modules"), path.join(folder, "node_modules"));
  const stdin = { contents: code, loader: "ts", resolveDir: folder } as const;
  buildSync({ stdin, outfile: module, bundle: true, packages: "external", platform: "node", format: "esm" });
  process.env.JWT_SIGNING_KEY = "k".repeat(32);
  const { default: host } = (await import(pathToFileURL(module).href)) as { default: Pick<JwtEndpoints, "fetch"> };
  const send = async (password: string) => {
    const init = { method: "POST", body: new URLSearchParams({ username: "ada", password }) };
    return host.fetch(new Request("http://localhost/jwt/create/", init));
  };
  assert.is((await send("correct horse")).status, 200);
  assert.is((await send("correct horse ")).status, 400);
});

it("have TypeScript that compiles", () => {
  const folder = temporaryFolder();
  symlinkSync(path.join(projectRoot, "node_modules"), path.join(folder, "node_modules"));
  blocks.forEach(({ code }, index) => writeFileSync(path.join(folder, `block-${index}.ts`), `${code}\nexport {};\n`));
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

it("name scripts that exist", () => {
  const { scripts } = JSON.parse(readFileSync(path.join(projectRoot, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  for (const [file, document] of documents) {
    for (const [, name] of document.matchAll(/npm run ([\w:]+)/g))
      assert.ok(scripts[name!], `${file}: npm run ${name}`);
  }
});

/** The anchors that GitHub gives to the headings of a document. */
const anchorsOf = (document: string): string[] =>
  [...document.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\- ]/gu, "")
      .replaceAll(" ", "-"),
  );

it("point to files and headings that exist", () => {
  for (const [file, document] of documents) {
    for (const [, target] of document.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const [name, anchor] = target!.split("#") as [string, string?];
      const pointed = name === "" ? file : path.posix.join(path.dirname(file), name);
      assert.ok(existsSync(path.join(projectRoot, pointed)), `${file}: ${target}`);
      if (anchor !== undefined) assert.ok(anchorsOf(documents.get(pointed)!).includes(anchor), `${file}: ${target}`);
    }
  }
});

it("lead from the front door to every other one", () => {
  for (const file of documents.keys()) {
    if (file !== "README.md") assert.ok(frontDoor.includes(`](${file})`), file);
  }
});

it.run();
