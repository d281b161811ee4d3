/** Password hashes: Django's read, ours in Django's shape, and the queue in front of them. */
import { spawn } from "node:child_process";
import { createHash, scryptSync } from "node:crypto";
import { cpSync, mkdirSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type JwtEndpointsSettings,
  type PasswordAlgorithm,
  type PasswordOptions,
  type PreferredAlgorithm,
  type LogEvent,
  createJwtEndpoints,
  createPasswords,
} from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store, UserChanges } from "../../src/stores/store.ts";
import { command, projectRoot, temporaryFolder, keptIn } from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";

/** Made by Django 3.2: `make_password(password)`, and PBKDF2PasswordHasher().encode for the last ones. */
const recordings: [password: string, encoded: string][] = [
  [
    "correct horse battery staple",
    "pbkdf2_sha256$260000$dOH72by8DeUjNfhmHP1DDL$YtJgOTzhuzJ6/+qqCa+wZAAGO9v+qB2jF/StN2neul8=",
  ],
  ["pässwörd ☃ 😀", "pbkdf2_sha256$260000$1OOFIharpwMKGLcTHMPbSZ$E3OqqlOjscvE69J4QPRU2r+dl5TjCdxuLtBq9byniys="],
  [" spaces ", "pbkdf2_sha256$260000$VBwSwpcNq30IEuarpUzAWV$R7Py84lZX5cw2ulLXCGJwxqdT4aKntohj+zSEJApOM0="],
  ["e\u0301", "pbkdf2_sha256$260000$bdT5thkQRf962fXLfKYuag$ZuYeWPjMv36nkUnDFakugifNOP01yJjA2Eh78p9L39M="],
  ["x".repeat(4096), "pbkdf2_sha256$260000$FefNDEykZSUNhTJ8mgJkoP$NGpHFuG2E8P6PjQesMzvrSkgjvz+5HeN6kaISKoolJg="],
  ["admin", "pbkdf2_sha256$260000$seasalt$AB6Emd2jhgRpgZjRC3XdPLMWk0Hjd3pljOD1ZCGFGs8="],
  ["weak", "pbkdf2_sha256$1000$saltsalt$fhVxVS4ZLd3aOpjJzubC56XiIoPPiQMrTMpVXV06YsU="],
  ["weak", "pbkdf2_sha256$1$sält ☃$tfVRH1ylrdccb1FlXhR4WCbTrMQwOzWtjtDL/mXCpUs="],
];
const weak = recordings[6]![1];
const unusable = "!F8vafHWPTfTyNPifahtztr8FolMkTa1QohPC2BKo";

const iterations = 10;
const shape = (rounds: number) => new RegExp(`^pbkdf2_sha256\\$${rounds}\\$[A-Za-z0-9]{22}\\$[A-Za-z0-9+/]{43}=$`);
const turn = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Runs something while each derivation of key bits passes through `through`; puts WebCrypto back after. */
async function watchingHashes<T>(
  through: (
    iterations: number,
    derive: () => Promise<ArrayBuffer>,
    digest: "SHA-256" | "SHA-1",
  ) => Promise<ArrayBuffer>,
  run: () => Promise<T>,
): Promise<T> {
  const { subtle } = crypto;
  const real = subtle.deriveBits;
  const value = (algorithm: Pbkdf2Params, key: CryptoKey, length: number) =>
    through(
      algorithm.iterations,
      () => real.call(subtle, algorithm, key, length),
      algorithm.hash as "SHA-256" | "SHA-1",
    );
  Object.defineProperty(subtle, "deriveBits", { value, configurable: true, writable: true });
  try {
    return await run();
  } finally {
    delete (subtle as { deriveBits?: unknown }).deriveBits;
    if (subtle.deriveBits !== real) Object.defineProperty(subtle, "deriveBits", { value: real, configurable: true });
  }
}

/** Work that engines were asked for, and did, in units of each. */
type Work = Partial<Record<"SHA-256" | "SHA-1" | "argon2" | "bcrypt" | "scrypt", number>>;
let work: Work = {};
const count = (engine: keyof Work, units: number): void => void (work[engine] = (work[engine] ?? 0) + units);

/** Counts each call of an engine's function, and makes it. */
function counted(engine: keyof Work, module: object, name: string, units: (args: unknown[]) => number): void {
  const functions = module as Record<string, (...args: unknown[]) => unknown>;
  const real = functions[name]!;
  functions[name] = (...args) => (count(engine, units(args)), real(...args));
}
// Before they are imported: what is exported by then is what the hashers get.
const require = createRequire(import.meta.url);
counted("bcrypt", require("@node-rs/bcrypt"), "hash", ([, cost]) => 2 ** Number(cost));
counted("bcrypt", require("@node-rs/bcrypt"), "verify", ([, hash]) => 2 ** Number((hash as string).slice(4, 6)));
counted("argon2", require("@node-rs/argon2"), "hash", ([, options]) => {
  const { memoryCost, timeCost } = options as { memoryCost: number; timeCost: number };
  return memoryCost * timeCost;
});
counted("argon2", require("@node-rs/argon2"), "verify", ([hash]) => {
  const [, memory, passes] = /m=(\d+),t=(\d+)/.exec(hash as string)!;
  return Number(memory) * Number(passes);
});
counted("scrypt", process.getBuiltinModule("node:crypto"), "scrypt", ([, , , options]) => {
  const { N, r, p } = options as { N: number; r: number; p: number };
  return N * r * p;
});

/** What the engines do while something runs. */
async function workOf(run: () => Promise<unknown>): Promise<Work> {
  work = {};
  await watchingHashes((rounds, derive, digest) => {
    count(digest, rounds);
    return derive();
  }, run);
  return work;
}

/** Passwords whose hashes all wait until they are let go, one by one, oldest first. */
async function gated(options: PasswordOptions, run: (gate: Gate) => Promise<void>): Promise<void> {
  const held: (() => Promise<unknown>)[] = [];
  const gate: Gate = {
    passwords: createPasswords({ iterations, ...options }),
    most: 0,
    running: 0,
    held,
    async letGo(count = 1) {
      for (let i = 0; i < count; i++) {
        for (let tries = 0; held.length === 0 && tries < 1000; tries++) await turn();
        await held.shift()!();
        await turn();
      }
    },
    async settle(count) {
      for (let tries = 0; held.length < count && tries < 1000; tries++) await turn();
      await turn();
    },
  };
  await watchingHashes(
    async (_, derive) => {
      gate.most = Math.max(gate.most, ++gate.running);
      return new Promise<ArrayBuffer>((resolve) => {
        held.push(() => {
          gate.running--;
          const derived = derive();
          resolve(derived);
          return derived;
        });
      });
    },
    () => run(gate),
  );
}

interface Gate {
  passwords: ReturnType<typeof createPasswords>;
  most: number;
  running: number;
  held: (() => Promise<unknown>)[];
  /** Lets this many go, one after the other is done. */
  letGo(count?: number): Promise<void>;
  /** Waits until this many are held. */
  settle(count: number): Promise<void>;
}

const hashes = suite("hashes");

hashes("made by Django verify, with the right password only", async () => {
  const passwords = createPasswords({ iterations: 1 });
  for (const [password, encoded] of recordings) {
    assert.ok(passwords.isHash(encoded), encoded);
    assert.equal(await passwords.check(password, encoded), { ok: true }, encoded);
    const wrong = `${password.slice(0, -1)}y`;
    assert.is((await passwords.check(wrong, encoded)).ok, false, encoded);
  }
});

hashes("of ours have Django's exact shape, a new salt each, and verify", async () => {
  const passwords = createPasswords({ iterations });
  const made = await Promise.all(Array.from({ length: 40 }, () => passwords.hash("pässwörd ☃ 😀")));
  for (const encoded of made) {
    assert.match(encoded, shape(iterations));
    assert.ok(passwords.isHash(encoded));
  }
  assert.is(new Set(made.map((encoded) => encoded.split("$")[2])).size, made.length);
  assert.equal(await passwords.check("pässwörd ☃ 😀", made[0]), { ok: true });
  assert.equal(await passwords.check("passwörd ☃ 😀", made[0]), { ok: false });
});

hashes("have 600,000 iterations unless something else is said", async () => {
  const seen: number[] = [];
  const encoded = await watchingHashes(
    async (rounds) => {
      seen.push(rounds);
      return new ArrayBuffer(32);
    },
    () => createPasswords().hash("x"),
  );
  assert.match(encoded, shape(600_000));
  assert.equal(seen, [600_000]);
});

hashes("that are damaged or unknown never match, never throw, and are reported", async () => {
  const passwords = createPasswords({ iterations: 1 });
  const [, encoded] = recordings[7]!;
  const [name, rounds, salt, hash] = encoded.split("$") as [string, string, string, string];
  const damaged = [
    "",
    "$",
    "$$$",
    "$$$$",
    "x",
    "weak",
    name,
    `${name}$`,
    `${name}$1`,
    `${name}$1$${salt}`,
    `${name}$1$${salt}$`,
    `${encoded}$`,
    `${encoded}\n`,
    ` ${encoded}`,
    `${encoded} `,
    `${encoded}=`,
    encoded.slice(0, -1),
    encoded.slice(1),
    ...[
      "0",
      "-1",
      "01",
      "1.0",
      "1e0",
      "+1",
      " 1",
      "0x1",
      "NaN",
      "",
      "2147483648",
      "4294967296",
      "99999999999",
      "9".repeat(400),
    ].map((bad) => `${name}$${bad}$${salt}$${hash}`),
    `${name}$${rounds}$$${hash}`,
    ...[hash.slice(4), hash + hash, `AAAA${hash}`, hash.replace("=", "A"), hash.replace("t", "%")].map(
      (bad) => `${name}$${rounds}$${salt}$${bad}`,
    ),
    `${name}$${rounds}$${salt}$${"=".repeat(44)}`,
    `PBKDF2_SHA256$${rounds}$${salt}$${hash}`,
    `__proto__$${rounds}$${salt}$${hash}`,
    `constructor$1$${salt}$${hash}`,
    `pbkdf2_sha512$1$${salt}$${hash}`,
    `md5$${salt}$900150983cd24fb0d6963f7d28e17f72`,
    "\0",
    "\ud800$1$a$b",
    "é$".repeat(999),
  ];
  for (const bad of damaged) {
    assert.not.ok(passwords.isHash(bad), bad);
    for (const password of ["weak", "", bad.slice(0, 99)]) {
      assert.equal(await passwords.check(password, bad), { ok: false, unknownFormat: true }, bad);
    }
  }
});

hashes("with one changed character never match", async () => {
  const passwords = createPasswords({ iterations: 1 });
  const [password, encoded] = recordings[7]!;
  for (let i = 0; i < encoded.length; i++) {
    const changed = encoded.slice(0, i) + (encoded[i] === "B" ? "C" : "B") + encoded.slice(i + 1);
    assert.is((await passwords.check(password, changed)).ok, false, changed);
  }
});

hashes("that Django calls unusable never match, and are no damage", async () => {
  const passwords = createPasswords({ iterations });
  for (const encoded of [unusable, "!", "!x", `!${recordings[6]![1]}`]) {
    assert.ok(passwords.isHash(encoded));
    for (const password of ["", "!", unusable, unusable.slice(1), "weak"]) {
      const { ok, unknownFormat = false } = await passwords.check(password, encoded);
      assert.equal([ok, unknownFormat], [false, false], encoded);
    }
  }
});

hashes("that are weaker are said to be so when the password is right, stronger or equal ones never", async () => {
  for (const [rounds, isWeak] of [
    [999, false],
    [1000, false],
    [1001, true],
    [5000, true],
  ] as const) {
    const passwords = createPasswords({ iterations: rounds });
    assert.equal(await passwords.check("weak", weak), isWeak ? { ok: true, isWeak } : { ok: true }, String(rounds));
    assert.equal(await passwords.check("wrong", weak), { ok: false });
  }
});

hashes("cost the same for wrong passwords, unknown users, unusable and weak hashes", async () => {
  const passwords = createPasswords({ iterations: 5000 });
  for (const encoded of [undefined, unusable, "damaged", weak, await passwords.hash("right")]) {
    assert.equal(await workOf(() => passwords.check("wrong", encoded)), { "SHA-256": 5000 }, String(encoded));
  }
});

hashes.run();

const formats = suite("formats");

/** Made by Django 3.2 with argon2-cffi and bcrypt, with low work factors; scrypt by hashlib in the format of Django 4.2. */
const password = "pässwörd 🦊";
const byDjango: Record<string, string> = {
  pbkdf2_sha256: "pbkdf2_sha256$1000$seasalt2seasalt2seasal$fiszM05Z3IrxW0Pop4Q8Ib6ii4b+LwNf9MNPIkaiL0M=",
  pbkdf2_sha1: "pbkdf2_sha1$1000$seasalt2seasalt2seasal$d1tPVELWcAzg0YYFuBYU7gdGJYc=",
  argon2id: "argon2$argon2id$v=19$m=1024,t=2,p=2$bGxyMTJCQnVUSGpuNk1iMXhkTE56ZA$2FnLzwVeb6JTwiMzSexNuQ",
  argon2i: "argon2$argon2i$v=19$m=512,t=2,p=1$c29tZXNhbHQtc29tZXNhbHQ$yvGXALttWP+IxIrfi0Jx0XwI7a5U5TcLMUlncjC3Afk",
  argon2d: "argon2$argon2d$v=19$m=512,t=2,p=1$c29tZXNhbHQtc29tZXNhbHQ$JzBddtFk10XgGGfh617SIoLICc6qiZxUFrl+diiBzrE",
  bcrypt_sha256: "bcrypt_sha256$$2b$04$cJLHIV2vZtBrOBpLPSwdjOirgKjjKTNRw3y2a145OpiCs9eYNgS/q",
  bcrypt: "bcrypt$$2b$04$i6LyatCLIsuSFrImDBhinO/v0E1x3qRiD/EZGz/NZ4BSpVfHkQtRm",
  scrypt:
    "scrypt$1024$seasalt2seasalt2seasal$8$1$cR6gr0caUxEzsXbwSiQ0kTiCCg8sK2rcEGa6X0aqWiFyd+B37dHyVZE7RqqHKj2uH22cXqQajR7SwxJr05HrDw==",
};
const shapes: Record<PreferredAlgorithm, RegExp> = {
  pbkdf2_sha256: shape(iterations),
  pbkdf2_sha1: /^pbkdf2_sha1\$10\$[A-Za-z0-9]{22}\$[A-Za-z0-9+/]{27}=$/,
  argon2: /^argon2\$argon2id\$v=19\$m=102400,t=2,p=8\$[A-Za-z0-9+/]{30}\$[A-Za-z0-9+/]{43}$/,
  bcrypt_sha256: /^bcrypt_sha256\$\$2b\$12\$[./A-Za-z0-9]{53}$/,
  scrypt: /^scrypt\$16384\$[A-Za-z0-9]{22}\$8\$5\$[A-Za-z0-9+/]{86}==$/,
};

for (const [name, encoded] of Object.entries(byDjango)) {
  formats(`${name} of Django's making is verified, and is weak by the low work that it has`, async () => {
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

formats("give way to a stronger one alone, and only theirs of little work to any", async () => {
  const [bcryptEngine, argon2Engine] = [require("@node-rs/bcrypt"), require("@node-rs/argon2")];
  const sha256 = createHash("sha256").update(password).digest("hex");
  const argon2With = async (memoryCost: number, timeCost: number): Promise<string> =>
    `argon2${await argon2Engine.hash(password, { memoryCost, timeCost, parallelism: 1 })}`;
  const scryptWith = (N: number, r: number, p: number): string => {
    const hash = scryptSync(password, "seasalt", 64, { N, r, p, maxmem: 1 << 30 });
    return `scrypt$${N}$seasalt$${r}$${p}$${hash.toString("base64")}`;
  };
  /** As much work as is asked for, and less. */
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
      for (const [isEnough, encoded] of [true, false].flatMap((is, i) =>
        made[name][i]!.map((one) => [is, one] as const),
      )) {
        const { ok, isWeak = false } = await passwords.check(password, encoded);
        assert.equal([ok, isWeak], [true, stored < rank || !isEnough], `${encoded} where ${preferred} is preferred`);
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

formats("that nothing was told of are padded to from the first check on", async () => {
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

formats("whose engine fails are an error, not a wrong password", async () => {
  const passwords = createPasswords({ iterations });
  const noText = 5 as unknown as string; // which no engine takes
  for (const name of ["argon2id", "bcrypt"] as const) {
    const failure = await passwords.check(noText, byDjango[name]).catch((error: unknown) => error);
    assert.instance(failure, Error, name);
    assert.match((failure as Error).message, /none? of these types/);
  }
});

formats("that their engine has no memory for are a 500, and the cause is in the log", async () => {
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

formats("that would take the machine's memory, or minutes, are of no known format", async () => {
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
  const seed = Number(process.env.SEED || crypto.getRandomValues(new Uint32Array(1))[0]);
  console.log(`SEED=${seed}`);
  let state = seed;
  const below = (n: number): number => ((state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 12) % n;
  const characters = "$,=.+/-_ 0189azAZé\0";
  for (const [name, encoded] of Object.entries(byDjango)) {
    for (let i = 0; i < 40; i++) {
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
    // A copy of the project without node_modules, but for what everything needs.
    const folder = temporaryFolder();
    cpSync(path.join(projectRoot, "src"), path.join(folder, "src"), { recursive: true });
    for (const file of ["package.json", "tsconfig.json", "deno.json"]) {
      cpSync(path.join(projectRoot, file), path.join(folder, file));
    }
    mkdirSync(path.join(folder, "node_modules"));
    for (const name of ["@hapi", "@noble", "cookie", "jose", "valibot"]) {
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

const limits = suite("limits");

limits("a password has at most 4096 bytes, not characters", async () => {
  const passwords = createPasswords({ iterations });
  for (const longest of ["x".repeat(4096), "é".repeat(2048), "☃".repeat(1365) + "x", "😀".repeat(1024)]) {
    const encoded = await passwords.hash(longest);
    assert.equal(await passwords.check(longest, encoded), { ok: true });
    for (const longer of [`${longest}x`, `${longest}é`]) {
      const error = await passwords.hash(longer).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      assert.instance(error, RangeError);
      assert.not.match((error as Error).message, longest.slice(0, 20));
      assert.equal(await passwords.check(longer, encoded), { ok: false });
    }
  }
});

limits("a longer password is refused without being hashed", async () => {
  const passwords = createPasswords({ iterations });
  let hashed = 0;
  const count = (_: number, derive: () => Promise<ArrayBuffer>) => {
    hashed++;
    return derive();
  };
  await watchingHashes(count, async () => {
    for (const encoded of [undefined, weak, unusable]) await passwords.check("é".repeat(2049), encoded);
  });
  assert.is(hashed, 0);
});

limits("of a full queue throw PasswordQueueFull with retryAfter", async () => {
  await gated({ concurrency: 2, queue: 3 }, async ({ passwords, letGo, settle, held }) => {
    const waiting = Array.from({ length: 5 }, () => passwords.hash("x"));
    await settle(2);
    assert.is(held.length, 2);
    const { hash, check } = passwords;
    for (const late of [() => hash("x"), () => check("x", weak), () => check("x", undefined)]) {
      const error = (await late().then(
        () => undefined,
        (reason: unknown) => reason,
      )) as {
        name: string;
        code: string;
        retryAfter: number;
      };
      assert.equal([error.name, error.code], ["PasswordQueueFull", "PASSWORD_QUEUE_FULL"]);
      assert.ok(Number.isInteger(error.retryAfter) && error.retryAfter >= 1, String(error.retryAfter));
    }
    await letGo(1);
    await settle(2);
    const next = passwords.hash("x"); // a place is free again
    await letGo(5);
    for (const encoded of await Promise.all([...waiting, next])) assert.match(encoded, shape(iterations));
  });
});

limits("without a queue let as many in as run at once", async () => {
  await gated({ concurrency: 1, queue: 0 }, async ({ passwords, letGo }) => {
    const first = passwords.hash("x");
    assert.is(await passwords.hash("x").catch((error: Error) => error.name), "PasswordQueueFull");
    await letGo();
    await first;
    const again = passwords.hash("x");
    await letGo();
    await again;
  });
});

limits("never let more than `concurrency` run at once, and keep the order", async () => {
  for (const concurrency of [1, 2, 3]) {
    await gated({ concurrency, queue: 50 }, async (gate) => {
      const ended: number[] = [];
      const all: Promise<number>[] = [];
      for (let i = 0; i < 20; i++) {
        all.push(gate.passwords.hash(`${i}`).then(() => ended.push(i)));
        if (i < concurrency) await gate.settle(i + 1); // else the first ones, which start together, might pass each other
      }
      for (let i = 0; i < 20; i++) {
        await gate.settle(Math.min(concurrency, 20 - i)); // so that none that started later passes another
        await gate.letGo();
        assert.ok(gate.running <= concurrency);
      }
      await Promise.all(all);
      assert.is(gate.most, concurrency);
      assert.equal(
        ended,
        Array.from({ length: 20 }, (_, i) => i),
      );
    });
  }
});

limits("of iterations are the same for hashes that are made and that are verified", async () => {
  const [most, tail] = [20_000_000, weak.split("$").slice(2).join("$")];
  const passwords = createPasswords({ iterations: most });
  assert.is(passwords.isHash(`pbkdf2_sha256$${most}$${tail}`), true);
  assert.is(passwords.isHash(`pbkdf2_sha256$${most + 1}$${tail}`), false);
  const settings = { store: memoryStore(), signingKey: "s".repeat(32) };
  createJwtEndpoints({ ...settings, hashing: { iterations: most } });
  const problem = `is out of range; accepted: a whole number from 1 to ${most}`;
  for (const wrong of [most + 1, 100_000_000, 0, -1, 1.5, Number.NaN, Infinity]) {
    assert.throws(() => createPasswords({ iterations: wrong }), `iterations: ${wrong} ${problem}`);
    assert.throws(
      () => createJwtEndpoints({ ...settings, hashing: { iterations: wrong } }),
      (error: Error) => error.name === "SettingError" && /^setting hashing\.iterations.* is /.test(error.message),
    );
  }
  assert.throws(
    () => createJwtEndpoints({ ...settings, hashing: { iterations: most + 1 } }),
    `setting hashing.iterations: ${most + 1} ${problem}`,
  );
});

limits("give a place back after a failure", async () => {
  const passwords = createPasswords({ iterations, concurrency: 1, queue: 5 });
  const failing = () => Promise.reject(new Error("no entropy"));
  const results = await watchingHashes(failing, () => Promise.allSettled([1, 2, 3].map(() => passwords.hash("x"))));
  assert.equal(
    results.map(({ status }) => status),
    ["rejected", "rejected", "rejected"],
  );
  assert.match(await passwords.hash("x"), shape(iterations));
  assert.match(await passwords.hash("x"), shape(iterations));
});

limits.run();

const logins = suite("logins");

async function open(users: Record<string, string>, more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore();
  for (const [username, passwordHash] of Object.entries(users)) await store.addUser({ username, passwordHash });
  const log: LogEvent[] = [];
  const settings = { store, signingKey: "s".repeat(32), hashing: { iterations } };
  const endpoints = createJwtEndpoints({ ...settings, log: keptIn(log), ...more });
  const send = (body: BodyInit, type: string) =>
    endpoints.fetch(
      new Request("http://localhost/jwt/create/", { method: "POST", headers: { "content-type": type }, body }),
    );
  const login = async (username: string, password: string) =>
    (await send(JSON.stringify({ username, password }), "application/json")).status;
  const hashOf = async (username: string) => (await store.findUserByUsername(username))!.passwordHash;
  return { store, log, send, login, hashOf };
}

logins("on a full queue are answered 503 with Retry-After, and the rest as ever", async () => {
  const encoded = await createPasswords({ iterations }).hash("right");
  const { send, log } = await open({ ada: encoded }, { hashing: { iterations, concurrency: 1, queue: 1 } });
  await gated({}, async ({ letGo, settle }) => {
    const body = JSON.stringify({ username: "ada", password: "right" });
    const post = () => send(body, "application/json");
    const [first, second] = [post(), post()];
    await settle(1);
    for (let tries = 0; tries < 20; tries++) await turn(); // the second has its place in the queue
    const nobody = JSON.stringify({ username: "nobody", password: "x" });
    for (const late of [await post(), await send(nobody, "application/json")]) {
      assert.is(late.status, 503);
      assert.ok(Number(late.headers.get("retry-after")) >= 1);
      assert.equal(await late.json(), { detail: "Too many logins are waiting. Try again later." });
    }
    await letGo(2);
    assert.equal([(await first).status, (await second).status], [200, 200]);
  });
  assert.is((await send(JSON.stringify({ username: "ada", password: "right" }), "application/json")).status, 200);
  assert.equal(log, []);
});

logins("upgrade a weak stored hash, once, and only with the right password", async () => {
  const { login, hashOf } = await open({ ada: weak }, { hashing: { iterations: 2000 } });
  assert.is(await login("ada", "wrong"), 400);
  assert.is(await hashOf("ada"), weak);
  assert.is(await login("ada", "weak"), 200);
  const upgraded = await hashOf("ada");
  assert.match(upgraded, shape(2000));
  assert.is(await login("ada", "weak"), 200);
  assert.is(await hashOf("ada"), upgraded);
  assert.is(await login("ada", "wrong"), 400);
});

logins(
  "of a user who may not log in do the same work with the right password, and leave a weak hash alone",
  async () => {
    const rules: Partial<JwtEndpointsSettings>[] = [{}, { userAuthenticationRule: (user) => user.isActive }];
    for (const rule of rules) {
      for (const old of [weak, byDjango.pbkdf2_sha1!]) {
        const right = old === weak ? "weak" : password;
        const { login, hashOf, store } = await open({ ada: old }, { hashing: { iterations: 2000 }, ...rule });
        const { id } = (await store.findUserByUsername("ada"))!;
        await store.updateUser(id, { isActive: false });
        const refused = { "SHA-256": 2000, ...(old !== weak && { "SHA-1": 1000 }) };
        for (const [name, given] of [
          ["ada", right],
          ["ada", "wrong"],
          ["nobody", right],
        ] as const) {
          assert.equal(await workOf(() => login(name, given)), refused, `${name}, ${given}`);
        }
        assert.is(await hashOf("ada"), old);
        await store.updateUser(id, { isActive: true });
        assert.is(await login("ada", right), 200);
        assert.match(await hashOf("ada"), shape(2000));
      }
    }
  },
);

logins("do the same work from the first on, for whatever hashes are stored", async () => {
  const files = await openFileStore(temporaryFolder());
  for (const store of [memoryStore(), files]) {
    for (const name of ["pbkdf2_sha1", "scrypt", "bcrypt_sha256"]) {
      await store.addUser({ username: name, passwordHash: byDjango[name]! });
    }
    const all = { "SHA-256": iterations, "SHA-1": 1000, bcrypt: 16, scrypt: 8192 };
    for (const [username, given] of [
      ["nobody", "wrong"],
      ["scrypt", "wrong"],
      ["pbkdf2_sha1", "wrong"],
      ["bcrypt_sha256", "wrong"],
    ] as const) {
      const { login } = await open({}, { store }); // which has seen no login yet
      assert.equal(await workOf(() => login(username, given)), all, username);
    }
  }
  await files.close();
});

logins("go on where the stored hashes can't be listed, which is logged once", async () => {
  const encoded = await createPasswords({ iterations }).hash("right");
  const store = memoryStore();
  await store.addUser({ username: "ada", passwordHash: encoded });
  async function* passwordHashes() {
    yield weak;
    throw new Error("connection lost");
  }
  const { login, log } = await open({}, { store: { ...store, passwordHashes } });
  for (let i = 0; i < 3; i++) assert.is(await login("ada", "right"), 200);
  assert.equal(
    log.map((event) => [(event as LogEvent).code, ((event as LogEvent).error as Error).message]),
    [["password_formats_unread", "connection lost"]],
  );
});

logins("succeed though the queue has filled up meanwhile, and leave a weak hash to a later one", async () => {
  const answers: ((may: boolean) => void)[] = [];
  const userAuthenticationRule = () => new Promise<boolean>((resolve) => void answers.push(resolve));
  const hashing = { iterations: 2000, concurrency: 1, queue: 0 };
  const { login, hashOf, log } = await open({ ada: weak }, { hashing, userAuthenticationRule });
  await gated({}, async ({ letGo, held }) => {
    const first = login("ada", "weak");
    await letGo(2);
    const second = login("ada", "weak"); // while the rule thinks about the first
    await until(() => held.length > 0, "the second is computed");
    answers.shift()!(true);
    assert.is(await first, 200);
    assert.is(await hashOf("ada"), weak);
    await letGo(2);
    await until(() => answers.length > 0, "the rule is asked of the second");
    answers.shift()!(true);
    await letGo(1);
    assert.is(await second, 200);
  });
  assert.match(await hashOf("ada"), shape(2000));
  assert.equal(log, []);
});

logins("leave a stronger stored hash alone", async () => {
  const { login, hashOf } = await open({ ada: weak }, { hashing: { iterations: 10 } });
  assert.is(await login("ada", "weak"), 200);
  assert.is(await hashOf("ada"), weak);
});

logins("never bring back a password that was changed meanwhile", async () => {
  const changed = await createPasswords({ iterations: 2000 }).hash("new password");
  const inner = memoryStore();
  const { id } = await inner.addUser({ username: "ada", passwordHash: weak });
  let updates = 0;
  const store: Store = {
    ...inner,
    // Between the check and the upgrade, another request changes the password.
    async updateUser(user: string, changes: UserChanges, expected?: UserChanges) {
      updates++;
      await inner.updateUser(id, { passwordHash: changed });
      return inner.updateUser(user, changes, expected);
    },
  };
  const { login } = await open({}, { store, hashing: { iterations: 2000 } });
  assert.is(await login("ada", "weak"), 200);
  assert.is(updates, 1);
  assert.is((await inner.findUserByUsername("ada"))!.passwordHash, changed);
  assert.is(await login("ada", "weak"), 400);
  assert.is(await login("ada", "new password"), 200);
});

logins("that race for the upgrade all succeed", async () => {
  const { login, hashOf } = await open({ ada: weak }, { hashing: { iterations: 2000 } });
  assert.equal(await Promise.all(Array.from({ length: 8 }, () => login("ada", "weak"))), Array(8).fill(200));
  assert.match(await hashOf("ada"), shape(2000));
  assert.is(await login("ada", "weak"), 200);
});

logins("succeed though the upgrade can't be stored, which is logged without the hash", async () => {
  const inner = memoryStore();
  await inner.addUser({ username: "ada", passwordHash: weak });
  const store: Store = {
    ...inner,
    updateUser() {
      throw new Error("disk full");
    },
  };
  const { login, log } = await open({}, { store, hashing: { iterations: 2000 } });
  assert.is(await login("ada", "weak"), 200);
  assert.is(log.length, 1);
  assert.is((log[0] as { code: string }).code, "rehash_failed");
  assert.not.match(JSON.stringify(log), "pbkdf2");
});

logins("hash once, whoever they name", async () => {
  const encoded = await createPasswords({ iterations }).hash("right");
  const { login, store, log } = await open({ ada: encoded, una: unusable, dan: "damaged" });
  await store.addUser({ username: "ian", passwordHash: encoded, isActive: false });
  for (const [username, password, status] of [
    ["ada", "right", 200],
    ["ada", "wrong", 400],
    ["nobody", "wrong", 400],
    ["una", "wrong", 400],
    ["dan", "wrong", 400],
    ["ian", "right", 400],
    ["ian", "wrong", 400],
  ] as const) {
    const seen: number[] = [];
    const count = (rounds: number, derive: () => Promise<ArrayBuffer>) => {
      seen.push(rounds);
      return derive();
    };
    assert.is(await watchingHashes(count, () => login(username, password)), status, username);
    assert.equal(seen, [iterations], username);
  }
  assert.equal(
    log.map((event) => (event as { code: string }).code),
    ["password_format_unknown"],
  );
  assert.not.match(JSON.stringify(log), 'damaged"');
});

logins("take the password as it is: not trimmed, not normalized, not folded", async () => {
  const passwords = createPasswords({ iterations });
  const users = { spacey: " x ", composed: "\u00e9", decomposed: "e\u0301", ligature: "ﬁ", tab: "\t", zero: "\u200bx" };
  const stored = await Promise.all(
    Object.entries(users).map(async ([username, password]) => [username, await passwords.hash(password)]),
  );
  const { login, send } = await open(Object.fromEntries(stored));
  const others: Record<keyof typeof users, string[]> = {
    spacey: ["x", " x", "x ", "  x  ", "\u00a0x\u00a0", " X "],
    composed: ["e\u0301", "e", "\u00c9"],
    decomposed: ["\u00e9", "e"],
    ligature: ["fi", "FI"],
    tab: [" ", "\t\t"],
    zero: ["x"],
  };
  for (const [username, password] of Object.entries(users)) {
    assert.is(await login(username, password), 200, username);
    const form = new FormData();
    form.set("username", username);
    form.set("password", password);
    assert.is((await send(new URLSearchParams({ username, password }).toString(), urlencoded)).status, 200, username);
    const { body, type } = await multipart(form);
    assert.is((await send(body, type)).status, 200, username);
    for (const other of others[username as keyof typeof users]) {
      assert.is(await login(username, other), 400, JSON.stringify([username, other]));
    }
  }
});

const urlencoded = "application/x-www-form-urlencoded";

async function multipart(form: FormData): Promise<{ body: ArrayBuffer; type: string }> {
  const response = new Response(form);
  return { type: response.headers.get("content-type")!, body: await response.arrayBuffer() };
}

logins("with a password over 4096 bytes fail as any wrong one", async () => {
  const { send } = await open({ ada: weak });
  const answer = await send(JSON.stringify({ username: "ada", password: "x".repeat(4097) }), "application/json");
  assert.is(answer.status, 400);
  assert.equal(await answer.json(), { non_field_errors: ["Unable to log in with provided credentials."] });
});

logins.run();
