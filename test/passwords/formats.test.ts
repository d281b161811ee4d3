/** Each format of password hashes, and how logins pass from one to another. */
import { spawn } from "node:child_process";
import { createHash, scryptSync } from "node:crypto";
import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type PasswordAlgorithm,
  type PreferredAlgorithm,
  createJwtEndpoints,
  createPasswords,
} from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { command, projectRoot, temporaryFolder } from "../support/runtime.ts";
import { finished } from "../support/processes.ts";
import { randomFrom, roundsHere, seedFrom } from "../support/random.ts";
import { weak, unusable, iterations, shape, turn, require, workOf, password, byDjango } from "./engines.ts";

const formats = suite("formats");

const shapes: Record<PreferredAlgorithm, RegExp> = {
  pbkdf2_sha256: shape(iterations),
  pbkdf2_sha1: /^pbkdf2_sha1\$10\$[A-Za-z0-9]{22}\$[A-Za-z0-9+/]{27}=$/,
  argon2: /^argon2\$argon2id\$v=19\$m=102400,t=2,p=8\$[A-Za-z0-9+/]{30}\$[A-Za-z0-9+/]{43}$/,
  bcrypt_sha256: /^bcrypt_sha256\$\$2b\$12\$[./A-Za-z0-9]{53}$/,
  scrypt: /^scrypt\$16384\$[A-Za-z0-9]{22}\$8\$5\$[A-Za-z0-9+/]{86}==$/,
};

for (const [name, encoded] of Object.entries(byDjango)) {
  formats(`${name} made by Django is verified, and reported as weak for its low work factor`, async () => {
    const passwords = createPasswords({ iterations });
    assert.ok(passwords.isHash(encoded));
    const isAsStrong = name === "pbkdf2_sha256";
    assert.equal(await passwords.check(password, encoded), isAsStrong ? { ok: true } : { ok: true, isWeak: true });
    for (const wrong of [`${password} `, password.normalize("NFD"), "x"]) {
      assert.equal(await passwords.check(wrong, encoded), { ok: false });
    }
  });
}

for (const [preferred, wanted] of Object.entries(shapes) as [PreferredAlgorithm, RegExp][]) {
  formats(`${preferred} is made in Django's shape where it is preferred`, async () => {
    const passwords = createPasswords({ iterations, preferred });
    await passwords.ready();
    const encoded = await passwords.hash(password);
    assert.match(encoded, wanted);
    assert.equal(await passwords.check(password, encoded), { ok: true });
    assert.equal(await passwords.check(`${password}x`, encoded), { ok: false });
    assert.is((await passwords.check(password, undefined)).ok, false);
  });
}

formats("of weaker work factors are weak within their algorithm", async () => {
  for (const [preferred, weaker] of [
    ["argon2", "argon2id"],
    ["bcrypt_sha256", "bcrypt_sha256"],
    ["scrypt", "scrypt"],
  ] as const) {
    const checked = await createPasswords({ preferred }).check(password, byDjango[weaker]);
    assert.equal(checked, { ok: true, isWeak: true });
  }
});

/** Weakest first, as the README has it. */
const byStrength: PasswordAlgorithm[] = ["pbkdf2_sha1", "bcrypt", "pbkdf2_sha256", "bcrypt_sha256", "scrypt", "argon2"];

formats("are upgraded only to a stronger format, or to any format if their work factor is low", async () => {
  const [bcryptEngine, argon2Engine] = [require("@node-rs/bcrypt"), require("@node-rs/argon2")];
  const sha256 = createHash("sha256").update(password).digest("hex");
  const argon2With = async (memoryCost: number, timeCost: number): Promise<string> =>
    `argon2${await argon2Engine.hash(password, { memoryCost, timeCost, parallelism: 1 })}`;
  const scryptWith = (N: number, r: number, p: number): string => {
    const hash = scryptSync(password, "seasalt", 64, { N, r, p, maxmem: 1 << 30 });
    return `scrypt$${N}$seasalt$${r}$${p}$${hash.toString("base64")}`;
  };
  /** Hashes with the recommended work, and with less. */
  const made: Record<PasswordAlgorithm, [enough: string[], less: string[]]> = {
    pbkdf2_sha1: [[byDjango.pbkdf2_sha1!], []],
    bcrypt: [[`bcrypt$${await bcryptEngine.hash(password, 10)}`], [`bcrypt$${await bcryptEngine.hash(password, 9)}`]],
    pbkdf2_sha256: [[byDjango.pbkdf2_sha256!], []],
    bcrypt_sha256: [
      [`bcrypt_sha256$${await bcryptEngine.hash(sha256, 10)}`],
      [`bcrypt_sha256$${await bcryptEngine.hash(sha256, 9)}`],
    ],
    scrypt: [
      [scryptWith(16_384, 8, 1), scryptWith(8192, 8, 10)],
      [scryptWith(8192, 8, 1), scryptWith(4096, 8, 20)],
    ],
    argon2: [
      [await argon2With(19_456, 2), await argon2With(7168, 5), await argon2With(47_104, 1)],
      [await argon2With(19_456, 1), await argon2With(4096, 16)],
    ],
  };
  for (const [rank, preferred] of byStrength.entries()) {
    if (preferred === "bcrypt") continue;
    const passwords = createPasswords({ iterations, preferred });
    for (const [stored, name] of byStrength.entries()) {
      if (name === preferred) continue;
      for (const [index, all] of made[name].entries()) {
        const isEnough = index === 0;
        // What is enough does not depend on the preferred format: one of each is tried with all, the others with the weakest.
        for (const encoded of preferred === "pbkdf2_sha1" ? all : all.slice(0, 1)) {
          const { ok, isWeak = false } = await passwords.check(password, encoded);
          assert.equal([ok, isWeak], [true, stored < rank || !isEnough], `${encoded} where ${preferred} is preferred`);
        }
      }
    }
  }
});

formats("bcrypt is verified, and never made", async () => {
  const preferred = "bcrypt" as PreferredAlgorithm;
  const accepted = "accepted: pbkdf2_sha1, pbkdf2_sha256, bcrypt_sha256, scrypt, argon2";
  assert.throws(() => createPasswords({ preferred }), `preferred: bcrypt hashes are not made; ${accepted}`);
  const why = "is only verified, not made, since it ignores all of a password after 72 bytes";
  const settings = { store: memoryStore(), signingKey: "s".repeat(32), hashing: { preferred } };
  assert.throws(() => createJwtEndpoints(settings), `setting hashing.preferred: "bcrypt" ${why}; ${accepted}`);
});

formats("are padded to the most work of each format, whatever a refused login's hash is", async () => {
  const more = "bcrypt_sha256$$2b$06$cJLHIV2vZtBrOBpLPSwdjOirgKjjKTNRw3y2a145OpiCs9eYNgS/q";
  const scryptMore = byDjango.scrypt!.replace("$1024$", "$4096$");
  const argon2More = byDjango.argon2id!.replace("m=1024,t=2", "m=2048,t=3");
  const stored = [...Object.values(byDjango), more, scryptMore, argon2More];
  for (const preferred of ["pbkdf2_sha256", "pbkdf2_sha1"] as const) {
    const passwords = createPasswords({ iterations, preferred });
    await passwords.learn(stored);
    const all = { "SHA-256": 1000, "SHA-1": 1000, argon2: 6144, bcrypt: 2 ** 4 + 2 ** 6, scrypt: 32_768 };
    for (const encoded of [undefined, unusable, "damaged", ...stored]) {
      assert.equal(await workOf(() => passwords.check("wrong", encoded)), all, encoded);
    }
    for (const encoded of Object.values(byDjango)) {
      assert.equal(await workOf(() => passwords.check(password, encoded, false)), all, `right, for ${encoded}`);
    }
    const own = await workOf(() => passwords.check(password, byDjango.scrypt));
    assert.equal(own, { scrypt: 8192 }, "a login that succeeds is not held up");
  }
});

formats("of formats not announced beforehand are padded to from the first check on", async () => {
  const passwords = createPasswords({ iterations });
  assert.equal(await workOf(() => passwords.check("wrong", undefined)), { "SHA-256": iterations });
  await passwords.check(password, byDjango.pbkdf2_sha1);
  const both = { "SHA-256": iterations, "SHA-1": 1000 };
  assert.equal(await workOf(() => passwords.check("wrong", undefined)), both);
});

formats("of far more work than a new hash are no measure for others", async () => {
  const passwords = createPasswords({ iterations });
  const stored = ["pbkdf2_sha256$2400001$s", "pbkdf2_sha1$20000000$s", "scrypt$2097152$s$8$1", "bcrypt_sha256$$2b$15"];
  const tails = [
    byDjango.pbkdf2_sha256!.split("$")[3],
    byDjango.pbkdf2_sha1!.split("$")[3],
    byDjango.scrypt!.split("$")[5],
    byDjango.bcrypt_sha256!.split("$")[4],
  ];
  const hostile = [
    ...stored.map((head, i) => `${head}$${tails[i]}`),
    "pbkdf2_sha256$5000$damaged",
    "scrypt$9$$",
    "argon2$$m=9,t=9,",
  ];
  await passwords.learn(hostile);
  assert.equal(await workOf(() => passwords.check("wrong", undefined)), { "SHA-256": iterations });
});

formats("are learnt from a long list a little at a time", async () => {
  const passwords = createPasswords({ iterations });
  let turns = 0;
  const counting = setInterval(() => turns++, 0);
  async function* late() {
    for (let i = 0; i < 3; i++) yield weak;
    await turn();
    yield byDjango.pbkdf2_sha1!;
  }
  function* many() {
    for (let i = 0; i < 200_000; i++) yield weak;
  }
  await passwords.learn(many());
  clearInterval(counting);
  assert.ok(turns > 0, "something else had its turn");
  await passwords.learn(late());
  assert.equal(await workOf(() => passwords.check("wrong", undefined)), { "SHA-256": 1000, "SHA-1": 1000 });
});

formats("cause an error when their engine fails, not a wrong password", async () => {
  const passwords = createPasswords({ iterations });
  const noText = 5 as unknown as string; // which no engine takes
  for (const name of ["argon2id", "bcrypt"] as const) {
    const failure = await passwords.check(noText, byDjango[name]).catch((error: unknown) => error);
    assert.instance(failure, Error, name);
    assert.match((failure as Error).message, /none? of these types/);
  }
});

formats("cause a 500 when their engine is out of memory, with the cause in the log", async () => {
  if (process.platform !== "linux") return; // elsewhere nothing limits a process to so much memory
  const hash = byDjango.argon2id!.replace("m=1024,t=2,p=2", "m=1048576,t=1,p=1"); // takes 1 GiB
  const [runner, args] = command("test/fixtures/passwords-memory.ts", [hash]);
  const limited = ["-c", 'ulimit -d 1000000; exec "$0" "$@"', runner, ...args]; // in KiB
  const { code, stdout, stderr } = await finished(spawn("/bin/sh", limited, { cwd: projectRoot }));
  assert.is(code, 0, stderr);
  assert.equal(JSON.parse(stdout), {
    status: 500,
    body: { detail: "Internal server error." },
    log: [{ code: "internal_error", cause: "Memory allocation error" }],
  });
});

formats("bcrypt goes by the first 72 bytes, as Django's does, bcrypt_sha256 by all", async () => {
  const long = "bcrypt$$2b$04$lCDCnm1SL1v927sI371sZu8M8/hRT6Oh07fSqHAdsPpBrQ6DfbliC"; // of 100 times x
  assert.is((await createPasswords().check("x".repeat(72), long)).ok, true);
  assert.is((await createPasswords().check("x".repeat(71), long)).ok, false);
  const passwords = createPasswords({ preferred: "bcrypt_sha256" });
  const encoded = await passwords.hash("x".repeat(100));
  assert.is((await passwords.check("x".repeat(72), encoded)).ok, false);
});

formats("that would take gigabytes of memory, or minutes, count as an unknown format", async () => {
  const [salt, tail] = ["c29tZXNhbHQtc29tZXNhbHQ", "JzBddtFk10XgGGfh617SIoLICc6qiZxUFrl+diiBzrE"];
  const scryptTail = byDjango.scrypt!.split("$")[5];
  for (const hostile of [
    `argon2$argon2id$v=19$m=4194304,t=1,p=1$${salt}$${tail}`,
    `argon2$argon2id$v=19$m=102400,t=4000000000,p=1$${salt}$${tail}`,
    `argon2$argon2id$v=19$m=8,t=1,p=200$${salt}$${tail}`,
    `argon2$argon2id$v=19$m=512,t=2,p=1$${salt}$${tail.slice(0, -1)}F`,
    `argon2$argon2id$v=19$m=512,t=2,p=1$${salt.slice(0, 13)}$${tail}`,
    `argon2$argon2x$v=19$m=512,t=2,p=1$${salt}$${tail}`,
    `argon2$argon2id$v=20$m=512,t=2,p=1$${salt}$${tail}`,
    byDjango.bcrypt!.replace("$04$", "$31$"),
    byDjango.bcrypt!.replace("$04$", "$03$"),
    byDjango.bcrypt!.slice(0, -1),
    `scrypt$1073741824$salt$8$1$${scryptTail}`,
    `scrypt$1023$salt$8$1$${scryptTail}`,
    `scrypt$1024$salt$8$100000$${scryptTail}`,
    `scrypt$1024$salt$0$1$${scryptTail}`,
    `scrypt$65536$salt$1$1$${scryptTail}`,
    `scrypt$2097152$salt$8$1$${scryptTail}`,
    `scrypt$2$salt$8$999999$${scryptTail}`,
    `scrypt$2$salt$999999$8$${scryptTail}`,
  ]) {
    const passwords = createPasswords({ iterations });
    assert.not(passwords.isHash(hostile), hostile);
    assert.equal(await passwords.check(password, hostile), { ok: false, unknownFormat: true }, hostile);
  }
});

formats("with any one character changed never match, and never throw", async () => {
  const passwords = createPasswords({ iterations });
  const { below } = randomFrom(seedFrom());
  const characters = "$,=.+/-_ 0189azAZé\0";
  for (const [name, encoded] of Object.entries(byDjango)) {
    for (let i = 0; i < roundsHere(40); i++) {
      const at = below(encoded.length);
      const changed = encoded.slice(0, at) + characters[below(characters.length)]! + encoded.slice(at + 1);
      if (changed === encoded || (/bcrypt.*\$2[aby]\$/.test(changed) && at < 20)) continue; // $2a$ and $2y$ are the same
      const { ok } = await passwords.check(password, changed);
      // A base64 character's spare bits may change: the bytes are the same then.
      if (ok) assert.ok(/[$=]?.$/.test(encoded.slice(at)) && at >= encoded.length - 3, `${name} at ${at}: ${changed}`);
    }
  }
});

formats(
  "whose package is not there are refused with its name, and stop a start that prefers them; scrypt needs no node:crypto",
  async () => {
    // A copy of the project with only the required packages in node_modules.
    const folder = temporaryFolder();
    cpSync(path.join(projectRoot, "src"), path.join(folder, "src"), { recursive: true });
    for (const file of ["package.json", "tsconfig.json", "deno.json"]) {
      cpSync(path.join(projectRoot, file), path.join(folder, file));
    }
    mkdirSync(path.join(folder, "node_modules"));
    for (const name of ["@hapi", "@noble", "cookie", "ipaddr.js", "jose", "valibot"]) {
      symlinkSync(path.join(projectRoot, "node_modules", name), path.join(folder, "node_modules", name));
    }
    const program = "test/fixtures/passwords-bare.ts";
    cpSync(path.join(projectRoot, program), path.join(folder, program));
    const { argon2id, bcrypt, scrypt } = byDjango;
    const [runner, args] = command(path.join(folder, program), [password, argon2id!, bcrypt!, scrypt!]);
    const { code, stdout, stderr } = await finished(spawn(runner, args, { cwd: folder }));
    assert.is(code, 0, stderr);
    const { checks, start, hasNodeCrypto } = JSON.parse(stdout);
    assert.equal(checks, [
      { ok: false, missingPackage: "@node-rs/argon2" },
      { ok: false, missingPackage: "@node-rs/bcrypt" },
      { ok: true },
    ]);
    assert.is(hasNodeCrypto, false, "scrypt had to do without");
    const missing = "argon2 hashes need the package @node-rs/argon2, which is not installed or can't be loaded";
    assert.is(start, `setting hashing.preferred can't be used: ${missing}`);
  },
);

formats.run();
