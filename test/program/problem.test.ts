/** Errors as the programs print them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SettingError, StoreError } from "../../src/index.ts";
import { problemOf } from "../../src/program/problem.ts";
import { openStore } from "../../src/stores/open.ts";

const it = suite("problems");

it("are one line, and for an error that only a bug can cause the stack", async () => {
  const coded = (code: string, message = "refused") => Object.assign(new Error(message), { code });
  const { message: unreadable } = coded("EACCES", "EACCES: permission denied, open '/srv/x'");
  const lines: [Error, string][] = [
    [new SettingError("setting port: x"), "setting port: x"],
    [new StoreError("STORE_DAMAGED", "line 7\nis damaged"), "line 7 is damaged"],
    [new StoreError("STORE_UNAVAILABLE", "can't write", { cause: coded("ENOSPC") }), "can't write"],
    [coded("EACCES", unreadable), unreadable],
    [
      (await openStore("nowhere").catch((error: Error) => error)) as Error,
      "setting store is not a URL; accepted: memory:, file:./folder or postgres://…",
    ],
  ];
  for (const [error, line] of lines) assert.is(problemOf(error), line);
  const bugs = [
    new TypeError("x is not a function"),
    coded("ERR_INVALID_ARG_TYPE"),
    coded("EBADF"),
    new StoreError("STORE_UNAVAILABLE", "can't read", { cause: new TypeError("x is not a function") }),
  ];
  for (const error of bugs) {
    assert.match(problemOf(error), error.message);
    assert.match(problemOf(error), /\n\s*at .*problem\.test\.ts/, error.message);
  }
  assert.match(problemOf(bugs.at(-1)!), "caused by: TypeError: x is not a function");
});

it.run();
