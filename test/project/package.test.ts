/**
 * The package as its users get it: built and packed from a copy of the sources, installed into an empty folder,
 * imported by JavaScript and TypeScript, its program started. On Node only: npm is what packs and installs,
 * whatever runs later.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { type Platform, build } from "esbuild";
import { request } from "undici";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packAndInstall, run } from "../support/package.ts";
import { familyOf, isAlive, isListening, until } from "../support/processes.ts";
import { startPostgres } from "../support/postgres.ts";
import { projectRoot, runtime, temporaryFolder } from "../support/runtime.ts";

const program = `
import { createJwtEndpoints, describeSettings, SettingError, StoreError } from "jwt-endpoints";
import { createPasswords } from "jwt-endpoints/passwords";
import { storeCases } from "jwt-endpoints/stores/conformance";
import { openFileStore } from "jwt-endpoints/stores/file";
import { memoryStore } from "jwt-endpoints/stores/memory";

const store = await openFileStore("./data");
const passwordHash = await createPasswords({ iterations: 1000 }).hash("correct horse");
await store.addUser({ username: "ada", passwordHash });
const endpoints = createJwtEndpoints({ store, signingKey: "k".repeat(32), hashing: { iterations: 1000 } });
const body = new URLSearchParams({ username: "ada", password: "correct horse" });
const response = await endpoints.fetch(new Request("http://localhost/jwt/create/", { method: "POST", body }));
await store.close();
for (const [title, run] of storeCases) {
  try {
    await run(memoryStore());
  } catch (error) {
    throw new Error(title, { cause: error });
  }
}
let refused = "";
try {
  createJwtEndpoints({ store: memoryStore(), signingKey: "short" });
} catch (error) {
  refused = error instanceof SettingError ? error.message : "";
}
const isStoreError = new StoreError("USER_EXISTS", "taken").code === "USER_EXISTS";
const isDescribed = describeSettings().length > 20;
console.log(JSON.stringify([response.status, isDescribed, storeCases.length > 5, refused !== "", isStoreError]));
`;

const inPostgres = `
import { createJwtEndpoints } from "jwt-endpoints";
import { createPasswords } from "jwt-endpoints/passwords";
import { postgresStore } from "jwt-endpoints/stores/postgres";

const store = await postgresStore({ url: process.env.JWT_STORE });
const passwordHash = await createPasswords({ iterations: 1000 }).hash("correct horse");
const { id } = await store.addUser({ username: "ada", passwordHash });
const hashing = { iterations: 1000 };
const endpoints = createJwtEndpoints({ store, signingKey: "k".repeat(32), hashing, sessions: true, log: () => {} });
const body = new URLSearchParams({ username: "ada", password: "correct horse" });
const response = await endpoints.fetch(new Request("http://localhost/jwt/create/", { method: "POST", body }));
console.log(JSON.stringify([response.status, (await store.listSessions(id)).length]));
await store.close();
`;

/** The types that a TypeScript host uses. */
const typed = `
import { type JwtEndpoints, type JwtEndpointsSettings, type Store, type User, createJwtEndpoints } from "jwt-endpoints";
import { type JwtClient, createJwtClient } from "jwt-endpoints/client";
import { openapiDocument } from "jwt-endpoints/openapi";
import { createPasswords, type Passwords } from "jwt-endpoints/passwords";
import { storeCases } from "jwt-endpoints/stores/conformance";
import { openFileStore, type FileStore } from "jwt-endpoints/stores/file";
import { memoryStore } from "jwt-endpoints/stores/memory";
import { postgresStore } from "jwt-endpoints/stores/postgres";

const store: Store = memoryStore();
const claims = (user: User) => ({ name: user.username });
const settings: JwtEndpointsSettings = { store, signingKey: "k".repeat(32), claims, openapi: openapiDocument };
export const endpoints: JwtEndpoints = createJwtEndpoints(settings);
export const client: JwtClient<{ id: number }> = createJwtClient({ url: "/auth", tokens: "cookie" });
export const passwords: Passwords = createPasswords();
export const files = (): Promise<FileStore> => openFileStore("./data");
export const database = (): Promise<Store> => postgresStore({ url: "postgres://localhost/site" });
export const run: (store: Store) => Promise<void> = storeCases[0]![1];
// @ts-expect-error there is no such setting
createJwtEndpoints({ store, signingKey: "k", colour: "blue" });
`;

/** A login in a bundle, where the globals of Node and its kin may be missing. */
const bundled = `
import { createJwtEndpoints, createPasswords } from "jwt-endpoints";
import { memoryStore } from "jwt-endpoints/stores/memory";

export const logIn = async () => {
  const store = memoryStore();
  const hashing = { iterations: 100_000 };
  await store.addUser({ username: "ada", passwordHash: await createPasswords(hashing).hash("correct horse") });
  const endpoints = createJwtEndpoints({ store, signingKey: "k".repeat(32), hashing, cookies: { carry: ["refresh"] } });
  const post = async (password) => {
    const body = new URLSearchParams({ username: "ada", password });
    const response = await endpoints.fetch(new Request("http://localhost/jwt/create/", { method: "POST", body }));
    return [response.status, Object.keys(await response.json())];
  };
  return [await post("correct horse"), await post("wrong horse")];
};
export const formatsOf = async (formats) => {
  const hashes = await Promise.all(formats.map((preferred) => createPasswords({ preferred }).hash("correct horse")));
  return hashes.map((hash) => hash.split("$", 1)[0]);
};
`;
const loggedIn = [
  [200, ["access"]],
  [400, ["non_field_errors"]],
];
const formats = ["argon2", "bcrypt_sha256"];

if (runtime === "node") {
  const it = suite("package");
  let host: string;

  it.before(() => {
    ({ host } = packAndInstall());
  });

  it("contains what it needs, and no sources", () => {
    const folder = path.join(host, "node_modules/jwt-endpoints");
    assert.equal(readdirSync(folder).sort(), ["README.md", "dist", "package.json"]);
    assert.not.ok(readdirSync(path.join(host, "node_modules")).includes("tsx"));
  });

  it("is imported by JavaScript", () => {
    writeFileSync(path.join(host, "program.js"), program);
    assert.equal(JSON.parse(run(host, process.execPath, "program.js")), [200, true, true, true, true]);
  });

  const refusalOf = async (subpath: string): Promise<string> => {
    const code = `await import("jwt-endpoints/${subpath}").then(() => console.log("loaded"), (error) => console.log(error.code))`;
    writeFileSync(path.join(host, "refusal.js"), code);
    return run(host, process.execPath, "refusal.js").trim();
  };

  it("keeps its internal files to itself", async () => {
    const dist = path.join(host, "node_modules/jwt-endpoints/dist");
    const internal = ["stores/open", "stores/store", "program/key-file", "program/options", "serve/node", "cli/main"];
    for (const subpath of [...internal, "settings/schema", "dist/index.js"]) {
      assert.ok(existsSync(path.join(dist, `${subpath.replace(/^dist\/|\.js$/g, "")}.js`)), `${subpath} is a file`);
      assert.is(await refusalOf(subpath), "ERR_PACKAGE_PATH_NOT_EXPORTED", subpath);
    }
    assert.is(await refusalOf("stores/conformance"), "loaded");
  });

  it("has a store in PostgreSQL, from the package and by its command", async () => {
    const server = await startPostgres();
    if (server === undefined) return console.log("skipped: npm has no PostgreSQL binaries for this platform");
    const env = { ...process.env, JWT_STORE: server.url() };
    const options = { cwd: host, env, encoding: "utf8", timeout: 60_000 } as const;
    try {
      const migrated = spawnSync(path.join(host, "node_modules/.bin/jwt-endpoints"), ["db", "migrate"], options);
      assert.match(migrated.stdout + migrated.stderr, /^ran \d+ statements in postgres:\/\/localhost:\d+\/postgres\n$/);
      writeFileSync(path.join(host, "in-postgres.js"), inPostgres);
      const { stdout, stderr } = spawnSync(process.execPath, ["in-postgres.js"], options);
      assert.equal([stdout, stderr], ["[200,1]\n", ""]);
    } finally {
      await server.stop();
    }
  });

  it("serves as a module from the environment", () => {
    const code = `
      const { default: { fetch } } = await import("jwt-endpoints/serve/fetch");
      console.log((await fetch(new Request("http://localhost/healthz"))).status);
      process.exit();`;
    writeFileSync(path.join(host, "served.js"), code);
    const env = { ...process.env, JWT_STORE: "memory:" };
    const { stdout } = spawnSync(process.execPath, ["served.js"], {
      cwd: host,
      env,
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.match(stdout, /^200$/m);
  });

  it("finds argon2 and bcrypt on Node, Deno and Bun", () => {
    writeFileSync(path.join(host, "bundled.js"), bundled);
    const code = `import { formatsOf } from "./bundled.js"; console.log(JSON.stringify(await formatsOf(${JSON.stringify(formats)})));`;
    writeFileSync(path.join(host, "formats.js"), code);
    const bin = (name: string) => path.join(projectRoot, "node_modules/.bin", name);
    const runtimes = [[process.execPath], [bin("deno"), "run", "-A"], [bin("bun"), "run"]];
    for (const [command, ...args] of runtimes.filter(([command]) => existsSync(command!))) {
      assert.equal(JSON.parse(run(host, command!, ...args, "formats.js")), formats, command);
    }
  });

  /** Bundles a program with esbuild, without externals, and returns its size. `neutral` knows `main` only if it is named. */
  async function bundle(code: string, platform: Platform, outfile: string): Promise<number> {
    const stdin = { contents: code, resolveDir: host };
    const mainFields = platform === "neutral" ? { mainFields: ["module", "main"] } : {};
    const options = { bundle: true, format: "esm", logLevel: "silent", ...mainFields } as const;
    const { warnings } = await build({ ...options, stdin, platform, outfile: path.join(host, outfile) });
    assert.equal(warnings, []);
    return statSync(path.join(host, outfile)).size;
  }

  for (const platform of ["neutral", "browser", "node"] as const) {
    it(`is bundled for ${platform}, and loads without process`, async () => {
      assert.ok(existsSync(path.join(host, "node_modules/@node-rs/argon2")), "there is something to trip over");
      await bundle(bundled, platform, `${platform}.js`);
      const code = `
        const { process } = globalThis;
        delete globalThis.process;
        const { logIn, formatsOf } = await import("./${platform}.js");
        Object.assign(globalThis, { process }); // Node's own Request needs it
        console.log(JSON.stringify([await logIn(), await formatsOf(${JSON.stringify(formats)})]));`;
      writeFileSync(path.join(host, "bundle-user.js"), code);
      assert.equal(JSON.parse(run(host, process.execPath, "bundle-user.js")), [loggedIn, formats]);
    });
  }

  it("is bundled by Bun for browsers", () => {
    writeFileSync(path.join(host, "bundled.js"), bundled);
    const bun = path.join(projectRoot, "node_modules/.bin/bun");
    if (!existsSync(bun)) return;
    run(host, bun, "build", "--target=browser", "--outfile=by-bun.js", "bundled.js");
    const code = `const { logIn } = await import("./by-bun.js"); console.log(JSON.stringify(await logIn()));`;
    writeFileSync(path.join(host, "bundle-user.js"), code);
    assert.equal(JSON.parse(run(host, process.execPath, "bundle-user.js")), loggedIn);
  });

  it("adds nothing to a bundle that uses nothing of it", async () => {
    const names = '"jwt-endpoints"; import { memoryStore } from "jwt-endpoints/stores/memory"';
    const unused = `import { createJwtEndpoints } from ${names}; console.log(1);`;
    assert.ok((await bundle(unused, "neutral", "unused.js")) < 100);
    const whole = await bundle(bundled, "neutral", "whole.js");
    const part = await bundle('export { isFailure } from "jwt-endpoints";', "neutral", "part.js");
    assert.ok(part < whole / 5, `${part} of ${whole} bytes`); // nearly all of it @hapi/boom, which is CommonJS
  });

  it("has types for strict TypeScript projects, with the types of Node or of the DOM", () => {
    writeFileSync(path.join(host, "typed.ts"), typed);
    symlinkSync(path.join(projectRoot, "node_modules/@types"), path.join(host, "node_modules/@types"));
    const tsc = path.join(projectRoot, "node_modules/typescript/bin/tsc");
    // The library's own declarations are checked too, but not those of the language. One thread computes the least.
    const checked = "--skipLibCheck false --skipDefaultLibCheck --checkers 1";
    const strict = `--noEmit --strict --exactOptionalPropertyTypes ${checked}`.split(" ");
    const target = ["--module", "nodenext", "--target", "es2023"];
    const dom = "es2024,dom,dom.iterable,dom.asynciterable";
    for (const [types, libraries] of [
      ["node", dom],
      ["node", "es2024"],
      ["", dom],
      ["", "es2024,webworker"],
    ] as const) {
      run(host, process.execPath, tsc, ...strict, ...target, "--types", types, "--lib", libraries, "typed.ts");
    }
  });

  it("fits node:http, Express, Fastify and Koa in strict TypeScript, without a cast", () => {
    const link = (name: string) => {
      const place = path.join(host, "node_modules", name);
      if (!existsSync(place)) symlinkSync(path.join(projectRoot, "node_modules", name), place);
    };
    ["@types", "express", "fastify", "koa"].forEach(link);
    const names = ["node-http.ts", "express.ts", "fastify.ts", "koa.ts"];
    for (const name of names) {
      const text = readFileSync(path.join(projectRoot, "src/http/examples", name), "utf8");
      assert.not.match(text, /\bas (?!const)/, `${name} casts`);
      writeFileSync(path.join(host, name), text);
    }
    const tsc = path.join(projectRoot, "node_modules/typescript/bin/tsc");
    const options = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck"];
    const target = ["--module", "nodenext", "--target", "es2023", "--lib", "es2024", "--types", "node"];
    run(host, process.execPath, tsc, ...options, ...target, ...names);
  });

  it("has sources that Deno's type check passes", () => {
    const { exports } = JSON.parse(readFileSync(path.join(projectRoot, "package.json"), "utf8")) as {
      exports: Record<string, { default: string }>;
    };
    const entries = Object.values(exports).map((entry) =>
      entry.default.replace("./dist/", "src/").replace(/js$/, "ts"),
    );
    const programs = ["serve/deno", "cli/main"].map((name) => `src/${name}.ts`);
    run(projectRoot, path.join(projectRoot, "node_modules/.bin/deno"), "check", ...entries, ...programs);
  });

  it("reads a configuration file that is an ES module", () => {
    const cwd = temporaryFolder();
    const code = 'export default { prefix: await Promise.resolve("/auth") };';
    writeFileSync(path.join(cwd, "jwt-endpoints.config.mjs"), code);
    const shown = run(cwd, path.join(host, "node_modules/.bin/jwt-endpoints"), "--print-config");
    assert.match(shown, /^prefix +file jwt-endpoints\.config\.mjs +\/auth$/m);
  });

  it("has one program that serves and manages users", async () => {
    const bin = (name: string) => path.join(host, "node_modules/.bin", name);
    const environment = { ...process.env, JWT_STORE: "file:./served" };
    const options = { cwd: host, env: environment };
    const child = spawn(bin("jwt-endpoints"), ["--port", "0"], { ...options, stdio: ["ignore", "pipe", "inherit"] });
    process.on("exit", () => child.kill("SIGKILL"));
    const exit = once(child, "exit");
    let told = "";
    child.stdout.on("data", (chunk: Uint8Array) => (told += chunk.toString()));
    try {
      const body = () => /-d '(\{.*\})'/.exec(told)?.[1];
      await until(() => body() !== undefined || child.exitCode !== null, "the server tells its first user", 30_000);
      const url = `${/http:\S+\/jwt\//.exec(told)![0]}create/`;
      const headers = { "content-type": "application/json" };
      const response = await request(url, { method: "POST", headers, body: body()! });
      assert.is(response.statusCode, 200);
      assert.equal(Object.keys((await response.body.json()) as object), ["refresh", "access"]);
      const list = spawnSync(bin("jwt-endpoints"), ["user", "list"], { ...options, encoding: "utf8" });
      assert.match(list.stdout, /admin/);
    } finally {
      child.kill("SIGTERM");
      assert.equal(await exit, [0, null]);
    }
  });

  const started: ChildProcess[] = [];
  process.on("exit", () => started.forEach((child) => child.kill("SIGKILL")));

  /** A script of package.json as an operator runs it, with the local programs that npm puts on its path. */
  function startScript(folder: string, script: string, ...args: string[]) {
    const all = ["run", "--silent", script, "--", ...args];
    const child = spawn("npm", all, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    started.push(child);
    let told = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Uint8Array) => (told += String(chunk)));
    let code: number | null | undefined;
    child.once("exit", (status) => (code = status));
    return {
      pid: child.pid!,
      told: () => told,
      hasEnded: () => code !== undefined,
      async exitCode() {
        await until(() => code !== undefined, `npm run ${script} has ended`, 20_000);
        return code;
      },
    };
  }

  for (const script of ["start", "start:deno", "start:bun"]) {
    it(`ends all that npm run ${script} started when npm gets a SIGTERM`, async () => {
      const needed = script.split(":")[1];
      if (needed !== undefined && !existsSync(path.join(projectRoot, "node_modules/.bin", needed))) return;
      const npm = startScript(projectRoot, script, "--port", "0", "--store", "memory:");
      await until(() => npm.told().includes("curl") || npm.hasEnded(), "the server tells its first user", 30_000);
      const port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(npm.told())?.[1]);
      const family = familyOf(npm.pid);
      try {
        assert.ok(await isListening(port), npm.told());
        process.kill(npm.pid, "SIGTERM");
        assert.is(await npm.exitCode(), 0, npm.told());
        assert.not.ok(await isListening(port));
        await until(() => !family.some(isAlive), "no process is left");
      } finally {
        for (const pid of family.filter(isAlive)) process.kill(pid, "SIGKILL");
      }
    });
  }

  it("starts from dist where development dependencies are left out, and reports a missing build", async () => {
    const folder = temporaryFolder();
    for (const name of ["package.json", "package-lock.json", "src"]) {
      cpSync(path.join(projectRoot, name), path.join(folder, name), { recursive: true });
    }
    run(folder, "npm", "ci", "--omit=dev", "--prefer-offline", "--no-audit", "--no-fund");
    assert.not.ok(existsSync(path.join(folder, "node_modules/tsx")));
    for (const [script, program] of Object.entries({ start: "serve/node", user: "cli/main", keys: "cli/main" })) {
      const unbuilt = startScript(folder, script);
      assert.is(await unbuilt.exitCode(), 1);
      const advice = "npm ci && npm run build && npm prune --omit=dev";
      assert.is(unbuilt.told(), `jwt-endpoints: dist/${program}.js is not built; run: ${advice}\n`);
    }
    cpSync(path.join(host, "node_modules/jwt-endpoints/dist"), path.join(folder, "dist"), { recursive: true });
    const built = startScript(folder, "start", "--port", "0", "--store", "file:./data");
    await until(() => built.told().includes("curl") || built.hasEnded(), "the server tells its first user", 30_000);
    process.kill(built.pid, "SIGTERM");
    assert.is(await built.exitCode(), 0, built.told());
    const list = startScript(folder, "user", "list");
    assert.is(await list.exitCode(), 0);
    assert.match(list.told(), /admin/);
  });

  it.run();
} else console.log(`package: runs under Node only, since npm packs and installs; this is ${runtime}`);
