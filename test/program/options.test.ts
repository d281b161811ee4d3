/** Flags and variables of the server. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { listOptions, readOptions } from "../../src/program/options.ts";
import { finished } from "../support/processes.ts";
import { start } from "../support/runtime.ts";
import { entry } from "../support/server.ts";

const it = suite("options");

it("refuse misspelt flags and variables and empty keys, naming the nearest and no value", () => {
  const cases: [args: string[], env: Record<string, string>, message: string][] = [
    [["--colour", "hunter2"], {}, "setting --colour is not a flag of the server; see --help"],
    [["--stoer=hunter2"], {}, "setting --stoer is not a flag of the server; did you mean --store?"],
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

it("are read from flags before variables, and from variables before defaults", () => {
  const env = { HOST: "::1", JWT_STORE: "memory:", JWT_LEEWAY: "1s", JWT_CORS: "https://a.example, https://b.example" };
  const options = readOptions(["--store", "file:./other", "--leeway=2s", "--hashing-queue", "7"], env);
  assert.equal(options, {
    host: "::1",
    port: 8000,
    store: "file:./other",
    requestLog: true,
    workers: 1,
    settings: { leeway: "2s", cors: ["https://a.example", "https://b.example"], hashing: { queue: 7 } },
  });
});

it("are each shown by --help, with flag, variable and default", async () => {
  const { code, stdout, stderr } = await finished(start(entry, ["--port", "1", "--help"]));
  assert.equal([code, stderr], [0, ""]);
  for (const { flag, env } of listOptions()) {
    assert.match(stdout, new RegExp(`^ +--${flag}=<[^>]+> .* \\[${env}\\]( \\(Default: .+\\))?$`, "m"));
  }
  assert.match(stdout, /--access-token-lifetime=<duration> .* \[JWT_ACCESS_TOKEN_LIFETIME\] \(Default: 5m\)$/m);
});

it.run();
