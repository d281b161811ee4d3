/**
 * Status, body and challenge of every error in both profiles, frozen in `fixtures/answers.json`. A change there changes the
 * protocol; `npx tsx test/http/texts.test.ts --write` makes it on purpose.
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, errorTable, fail } from "../../src/errors.ts";
import { renderError } from "../../src/http/render.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { makeToken } from "../support/contract-client.ts";
import { endpointsWith } from "../support/endpoints.ts";
import { projectRoot, runtime } from "../support/runtime.ts";

const file = path.join(projectRoot, "test/fixtures/answers.json");
const profiles = ["djoser", "simplejwt"] as const;

/** The details that some errors carry. */
const details: Partial<Record<ErrorCode, Parameters<typeof fail>[1]>> = {
  field_errors: { fields: { username: ["This field is required."], password: ["This field may not be blank."] } },
  access_token_invalid: { reasons: [["access", "token_wrong_type"]] },
  throttled: { text: "Request was throttled. Expected available in 5 seconds.", retryAfter: 5 },
  login_queue_full: { retryAfter: 2 },
  store_unavailable: { retryAfter: 5 },
  keys_unavailable: { retryAfter: 5 },
};

function responsesNow(): Record<string, unknown> {
  const frozen: Record<string, unknown> = {};
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    const error = fail(code, details[code]);
    const entry: Record<string, unknown> = {};
    for (const responses of profiles) {
      const settings = parseSettings({ store: memoryStore(), signingKey: "k".repeat(32), responses });
      for (const atEndpoint of [true, false]) {
        const { status, headers, body } = renderError(error, settings, "POST, OPTIONS", atEndpoint);
        const challenge = headers["www-authenticate"];
        const retryAfter = headers["retry-after"];
        entry[atEndpoint ? responses : `guard, ${responses}`] = {
          status,
          body: JSON.parse(body),
          ...(challenge && { challenge }),
          ...(retryAfter && { retryAfter }),
        };
      }
    }
    assert.equal(
      entry["guard, djoser"],
      entry["guard, simplejwt"],
      "a host's own resource gets the same in both profiles",
    );
    entry.guard = entry["guard, djoser"];
    delete entry["guard, djoser"];
    delete entry["guard, simplejwt"];
    frozen[code] = entry;
  }
  return frozen;
}

if (process.argv.includes("--write")) writeFileSync(file, `${JSON.stringify(responsesNow(), null, 2)}\n`);

const it = suite("texts and codes");

it("equal the frozen ones", () => {
  const frozen = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  const now = responsesNow();
  assert.equal(Object.keys(now), Object.keys(frozen));
  for (const code of Object.keys(frozen)) assert.equal(now[code], frozen[code], code);
});

it("are those of the setting texts where it has one, in both profiles", async () => {
  const texts = {
    token_invalid: "Ungültig",
    access_token_invalid: "Nein",
    token_wrong_type: "Art",
    no_active_account: "–",
  };
  for (const responses of profiles) {
    const settings = parseSettings({ store: memoryStore(), signingKey: "k".repeat(32), responses, texts });
    const bodyOf = (code: ErrorCode, atEndpoint = true) =>
      JSON.parse(renderError(fail(code, details[code]), settings, undefined, atEndpoint).body);
    const isDjoser = responses === "djoser";
    assert.equal(
      bodyOf("token_invalid"),
      isDjoser ? { non_field_errors: ["Ungültig"] } : { detail: "Ungültig", code: "token_not_valid" },
    );
    assert.is(
      isDjoser ? bodyOf("token_expired").non_field_errors[0] : bodyOf("token_expired").detail,
      {
        djoser: "Token is invalid or expired",
        simplejwt: "Token is expired",
      }[responses],
    );
    assert.equal(bodyOf("access_token_invalid", false), {
      detail: "Nein",
      code: "token_not_valid",
      messages: [{ token_class: "AccessToken", token_type: "access", message: "Art" }],
    });
    for (const code of Object.keys(errorTable) as ErrorCode[]) {
      const { headers } = renderError(fail(code, details[code]), settings, undefined, false);
      assert.match(headers["www-authenticate"] ?? "", /^[ -~]*$/, "a header holds ASCII alone");
    }
  }
});

it("of 5.4 and older come back with two lines of texts", async () => {
  const text = "Token is invalid or expired";
  const { post } = await endpointsWith({ responses: "simplejwt", texts: { token_invalid: text, token_expired: text } });
  for (const token of ["a", await makeToken({ exp: 1 })]) {
    const { status, text: body } = await post("/jwt/verify/", { token });
    assert.equal([status, body], [401, `{"detail":"${text}","code":"token_not_valid"}`]);
  }
});

it("have non_field_errors in every 400 of the djoser profile", () => {
  for (const [code, entry] of Object.entries(responsesNow())) {
    const { status, body } = (entry as { djoser: { status: number; body: Record<string, unknown> } }).djoser;
    assert.is.not(status, 401, code);
    if (status === 400) assert.ok(Array.isArray(body.non_field_errors), code);
  }
});

it("are made without a change to the stacks of other errors", () => {
  const before = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit");
  const { stack = "" } = fail("token_invalid");
  assert.equal(Object.getOwnPropertyDescriptor(Error, "stackTraceLimit"), before);
  assert.match(new Error("another").stack!, /texts\.test/);
  if (runtime !== "bun") assert.is(stack.split("\n").length, 1, stack); // Bun records a stack all the same
});

it.run();
