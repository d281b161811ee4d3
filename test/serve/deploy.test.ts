/** The files of `src/serve/deploy/` can be read, and name commands, variables, paths and figures that exist. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { commandTexts } from "../../src/program/help.ts";
import { listOptions } from "../../src/program/options.ts";
import { projectRoot, runtime } from "../support/runtime.ts";

const folder = path.join(projectRoot, "src/serve/deploy");
const read = (name: string): string => fs.readFileSync(path.join(folder, name), "utf8");
const { bin, scripts } = JSON.parse(fs.readFileSync(path.join(projectRoot, "package.json"), "utf8")) as {
  bin: Record<string, string>;
  scripts: Record<string, string>;
};
const names = fs.readdirSync(folder);
const metrics = fs.readFileSync(path.join(projectRoot, "src/serve/metrics.ts"), "utf8");

/** Returns whether a program is on this machine. */
const isInstalled = (program: string): boolean => spawnSync("which", [program]).status === 0;

const it = suite(`${runtime} deployment files`);

it("name commands, scripts, entries and variables that there are", () => {
  const variables = new Set(listOptions().flatMap(({ env }) => [env, `${env}_FILE`]));
  for (const name of names) {
    const text = read(name);
    for (const [, script] of text.matchAll(/npm run ([\w:]+)/g)) assert.ok(scripts[script!], `${name}: ${script}`);
    for (const [variable] of text.matchAll(/\bJWT_[A-Z_]+/g))
      assert.ok(variables.has(variable), `${name}: ${variable}`);
    for (const [entry] of text.matchAll(/dist\/[\w/]+\.js/g)) {
      assert.ok(Object.values(bin).includes(`./${entry}`), `${name}: ${entry}`);
      assert.ok(fs.existsSync(path.join(projectRoot, entry.replace("dist", "src").replace(".js", ".ts"))), entry);
    }
    for (const [, command] of text.matchAll(/(?:^|`|&& )jwt-endpoints ([a-z]+) [a-z]+ /gm))
      assert.ok(Object.hasOwn(commandTexts, command!), `${name}: ${command}`);
  }
  for (const [, file] of read("README.md").matchAll(/^\| `([\w.-]+)`/gm)) assert.ok(names.includes(file!), file);
});

it("run as a user without privileges, on built code without development packages", () => {
  const image = read("Containerfile");
  assert.match(image, /^USER node$/m);
  assert.match(image, /^HEALTHCHECK .*\/readyz/m);
  assert.match(image, "npm prune --omit=dev");
  for (const line of ["read_only: true", "cap_drop: [ALL]"]) assert.match(read("compose.yaml"), line);
  for (const line of ["DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict"]) {
    assert.match(read("jwt-endpoints.service"), line);
  }
  assert.match(read("nginx.conf"), "proxy_set_header Host $http_host;");
});

it("query metrics that the server has", () => {
  const dashboard = JSON.parse(read("dashboard.json")) as { panels: { targets: { expr: string }[] }[] };
  const queries = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  assert.ok(queries.length >= 6);
  for (const text of [...queries, read("alerts.yaml")]) {
    for (const [figure] of text.matchAll(/\bjwt_\w+/g)) {
      assert.match(metrics, `"${figure.replace(/_(bucket|count|total)$/, "")}"`, figure);
    }
  }
});

/** The Debian packages of the linters. */
const packageOf = { promtool: "prometheus", caddy: "caddy" };

for (const [program, args] of [
  ["promtool", ["check", "rules", "alerts.yaml"]],
  ["caddy", ["validate", "--config", "Caddyfile", "--adapter", "caddyfile"]],
] as const) {
  if (!isInstalled(program)) {
    console.log(`skipped, as ${program} is not installed: apt-get install ${packageOf[program]}`);
    it.skip(`pass ${program}`);
  } else {
    it(`pass ${program}`, () => {
      const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: "utf8" });
      assert.is(status, 0, stdout + stderr);
    });
  }
}

it.run();
