/** The files that hold keys: damage, permissions and owners. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { decodeProtectedHeader, exportJWK, exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { environment, program, ran, refusedStart, run, serve, serveAs } from "../support/key-command.ts";
import { secret } from "../support/key-fixtures.ts";
import { command as runtimeCommand, temporaryFolder } from "../support/runtime.ts";
import { until } from "../support/processes.ts";

const keyFile = suite("the file of keys");

keyFile("is reported as damaged in one line without its content, by command and server", async () => {
  const numbered = '{"keys":[{"alg":"HS256","status":"active","kid":5,"created":"2026-01-01","jwk":{"kty":"oct"}}]}';
  const files: [name: string, text: string][] = [
    ["signing.key", '{"kty":"oct","k":"hunter2hunter2hunter2"x}'],
    ["signing.key", '{"k":"hunter2", "kty":hunter2}'],
    ["signing.key", '{"k":"hunter2"}'],
    ["signing.key", "\n"],
    ["keys.json", numbered],
  ];
  for (const [name, text] of files) {
    const folder = temporaryFolder();
    fs.writeFileSync(path.join(folder, name), text, { mode: 0o600 });
    const server = refusedStart(folder);
    for (const { code, stdout, stderr } of await Promise.all([run(folder, "list"), run(folder, "generate"), server])) {
      assert.is(code, 1, text);
      assert.is(stdout, "");
      assert.match(
        stderr,
        /^(jwt-endpoints: )?setting keys: \S+(signing\.key|keys\.json) is damaged; bring back a copy of it\n$/,
      );
    }
    assert.equal(fs.readdirSync(folder), [name]);
  }
});

keyFile("is refused while it is open to others, until the chmod that the error names was run", async () => {
  for (const [name, modes] of [
    ["signing.key", [0o640, 0o777]],
    ["keys.json", [0o604, 0o620]],
  ] as const) {
    const folder = path.join(temporaryFolder(), "it's a store");
    if (name === "keys.json") await ran(folder, "generate");
    else {
      fs.mkdirSync(folder, { mode: 0o700 });
      fs.writeFileSync(path.join(folder, name), `${secret}\n`, { mode: 0o600 });
    }
    const file = path.join(folder, name);
    for (const mode of modes) {
      fs.chmodSync(file, mode);
      const server = refusedStart(folder);
      const commands = ["list", "rotate"].map((name) => run(folder, name));
      let chmod: string | undefined;
      for (const { code, stdout, stderr } of await Promise.all([server, ...commands])) {
        assert.is(code, 1);
        assert.is(stdout, "");
        const [, told, line] = /^(?:jwt-endpoints: )?setting keys: (.+); run: (chmod 600 .+)\n$/.exec(stderr) ?? [];
        assert.is(told, `${file} is open to others (mode ${mode.toString(8)})`, stderr);
        chmod = line;
      }
      assert.is(spawnSync("sh", ["-c", chmod!]).status, 0);
      assert.is(fs.statSync(file).mode & 0o777, 0o600);
    }
    assert.match(await ran(folder, "list"), /active/);
    fs.chmodSync(folder, 0o755);
    assert.match(
      (await run(folder, "generate")).stderr,
      /^setting keys: .* is open to others \(mode 755\); run: chmod 700 /,
    );
  }
});

keyFile("is refused with a public key in it, by command and server", async () => {
  const { publicKey } = await generateKeyPair("ES256", { extractable: true });
  const spki = await exportSPKI(publicKey);
  const jwk = await exportJWK(publicKey);
  const isPublic =
    /^jwt-endpoints: setting (signingKey|keys\.active) is a public key, but algorithm HS256 needs a secret\n$/;
  const oct = { kty: "oct", k: Buffer.from(JSON.stringify(jwk)).toString("base64url") };
  const set = { keys: [{ kid: "a", alg: "HS256", status: "active", created: "2026-01-01", jwk: oct }] };
  const files: [name: string, text: string, RegExp][] = [
    ["signing.key", `\n ${spki.replaceAll("\n", "\r")}`, isPublic],
    ["signing.key", `"${spki}"`, isPublic],
    ["signing.key", spki.split("-----")[2]!, isPublic],
    ["signing.key", JSON.stringify(jwk), isPublic],
    ["keys.json", JSON.stringify(set), isPublic],
  ];
  for (const [name, text, message] of files) {
    const folder = temporaryFolder();
    fs.writeFileSync(path.join(folder, name), text, { mode: 0o600 });
    const { code, stderr } = await refusedStart(folder);
    assert.is(code, 1, text);
    assert.match(stderr, message);
  }
  const folder = temporaryFolder();
  fs.writeFileSync(path.join(folder, "signing.key"), spki, { mode: 0o600 });
  for (const args of [["list"], ["rotate"]]) {
    const { code, stderr } = await run(folder, ...args);
    assert.is(code, 1);
    assert.match(
      stderr,
      /^setting keys: signing\.key holds no private key that can be read; bring back a copy of it\n$/,
    );
  }
});

const asRoot = process.getuid?.() === 0 ? keyFile : keyFile.skip;

asRoot("leaves the keys that root makes to the user whose folder it is (needs root)", async () => {
  const folder = temporaryFolder();
  const uid = 54_321;
  fs.chownSync(folder, uid, uid);
  const server = await serveAs(uid, folder);
  await until(() => server.output().includes("shown only once"), "the first user is introduced");
  const password = /only once: (\S+)/.exec(server.output())![1]!;
  const algorithms = async (url: typeof server) => {
    const { body } = await url.post("create", { username: "admin", password });
    return decodeProtectedHeader(body.access!).alg;
  };
  assert.is(await algorithms(server), "HS256");
  await ran(folder, "rotate", "--algorithm", "ES256"); // as root
  await until(async () => (await algorithms(server)) === "ES256", "the server reads what root wrote");
  const { uid: owner, gid, mode } = fs.statSync(path.join(folder, "keys.json"));
  assert.equal([owner, gid, mode & 0o777], [uid, uid, 0o600]);
  assert.is(server.errors(), "");
  server.child.kill();
  await new Promise((resolve) => server.child.once("close", resolve));
  const again = await serveAs(uid, folder);
  assert.is(await algorithms(again), "ES256");
  again.child.kill();
  // A server that root started once must not keep the user from starting one.
  const fresh = temporaryFolder();
  fs.chownSync(fresh, uid, uid);
  const first = await serve(fresh);
  first.child.kill();
  assert.is(fs.statSync(path.join(fresh, "signing.key")).uid, uid);
  (await serveAs(uid, fresh)).child.kill();
});

const withoutChown = ["--bounding-set=-chown", "--inh-caps=-chown"];
const hasSetpriv = spawnSync("setpriv", [...withoutChown, "true"]).status === 0;
(process.getuid?.() === 0 && hasSetpriv ? keyFile : keyFile.skip)(
  "refuses to make keys that the user whose folder it is could not read (needs root and setpriv)",
  async () => {
    const folder = temporaryFolder();
    fs.chownSync(folder, 54_321, 54_321);
    const [runs, args] = runtimeCommand(program, ["generate", "--store", `file:${folder}`]);
    const { status, stderr } = spawnSync("setpriv", [...withoutChown, runs, ...args], {
      encoding: "utf8",
      env: environment,
    });
    assert.is(status, 1);
    assert.is(stderr, `setting keys: ${folder} belongs to another user; run this as that user\n`);
    assert.equal(fs.readdirSync(folder), []);
  },
);

keyFile.run();
