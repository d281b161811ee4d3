/** What clients do with the tokens of a login, step by step. */
import * as assert from "uvu/assert";
import {
  type Case,
  type Dialect,
  type Endpoint,
  bodyOf,
  takesBearer,
  tokenOf,
  tokenType,
} from "../fixtures/djoser/cases.ts";
import type { SiteResponse } from "../fixtures/djoser/site.ts";
import { type Random, randomFrom } from "../support/random.ts";
import type { Both, Side } from "./both.ts";
import { compare, withoutTokens } from "./compare.ts";
import { fieldOf, pathOf } from "./requests.ts";
import { password } from "./users.ts";

const token = async (dialect: Dialect): Promise<string> =>
  tokenOf({ dialect, random: randomFrom(0), blacklisted: [] }, "valid", tokenType(dialect, "refresh"));

/** Returns a plain, valid request with a token. */
export function withToken({ dialect }: Both, endpoint: Endpoint, token: string, ...marks: string[]): Case {
  const known = { endpoint, path: pathOf(endpoint), marks: new Set(marks) };
  if (takesBearer(endpoint)) {
    return { ...known, method: "GET", headers: [["Authorization", `Bearer ${token}`]], body: new Uint8Array(0) };
  }
  const { body, contentType } = bodyOf("json", [[fieldOf(dialect, endpoint), token]]);
  return { ...known, method: "POST", headers: [["Content-Type", contentType]], body };
}

export function withLogin(username: string, known = password, ...marks: string[]): Case {
  const { body, contentType } = bodyOf("json", [
    ["username", username],
    ["password", known],
  ]);
  const headers = [["Content-Type", contentType]] as const;
  return { endpoint: "create", path: pathOf("create"), method: "POST", headers, body, marks: new Set(marks) };
}

/** Blacklists some tokens on both sides. */
export async function blacklistSome(both: Both, count: number): Promise<string[]> {
  const made: string[] = [];
  while (made.length < count) {
    const one = await token(both.dialect);
    const { theirs, ours } = await compare(both, withToken(both, "blacklist", one));
    for (const { status } of [theirs, ...ours]) assert.is(status, 200);
    made.push(one);
  }
  return made;
}

type Issued = Record<string, string>;

/** An endpoint, and which of the tokens so far it is given: by number, or from the last one back. */
type Step = readonly [endpoint: Endpoint, token: number];

/** A login issues tokens 0 and 1; token 0 is used, verified and used again, then its successors are tried. */
export const reuse: Step[] = [
  ["refresh", 0],
  ["verify", 0],
  ["refresh", 0],
  ...[1, 2, 3].flatMap((token): Step[] =>
    (["refresh", "verify", "whoami"] as const).map((endpoint) => [endpoint, token]),
  ),
];
/** Logs out twice, then tries both tokens. */
export const logout: Step[] = [
  ["blacklist", 0],
  ["blacklist", 0],
  ...[0, 1].flatMap((token): Step[] => (["refresh", "verify", "whoami"] as const).map((endpoint) => [endpoint, token])),
];

function* arbitrarySteps({ chance, pick, below }: Random, count: number): Generator<Step> {
  while (count-- > 0) {
    const endpoint = chance(0.1) ? "blacklist" : pick(["refresh", "refresh", "refresh", "verify", "whoami"] as const);
    yield [endpoint, chance(0.5) ? -1 - below(2) : below(1000)];
  }
}

/**
 * One login and what a client, or two, may do with its tokens, in any order; each side with the tokens it has issued
 * itself, so that a step goes by what the steps before it have left on either side.
 */
export async function journey(both: Both, random: Random, start: readonly Step[], steps: number): Promise<void> {
  const { sliding } = both.dialect;
  const isReuseDetected = both.variant.ours.blacklistAfterRotation === true;
  const held: { theirs: string; ours: string[]; isAccess: boolean; marks: Set<string> }[] = [];
  const keep = (theirs: SiteResponse, ours: SiteResponse[]) => {
    if ([theirs, ...ours].some(({ status }) => status !== 200)) return;
    const [a, ...all] = [theirs, ...ours].map(({ text }) => JSON.parse(text) as Issued);
    for (const [name, token] of Object.entries(a!)) {
      const own = all.map((issued) => issued[name]!);
      if (!own.includes(undefined!))
        held.push({ theirs: token, ours: own, isAccess: name === "access", marks: new Set() });
    }
  };
  const first = await compare(both, withLogin("ada"));
  keep(first.theirs, first.ours);
  let trail = "login";
  let hasEnded = false;
  for (const [endpoint, at] of [...start, ...arbitrarySteps(random, steps)]) {
    const index = at < 0 ? Math.max(0, held.length + at) : at % held.length;
    const { theirs, ours, isAccess, marks } = held[index]!;
    trail += `, ${endpoint} ${index}`;
    const request = withToken(both, endpoint, theirs, ...marks, ...(hasEnded ? ["session ended"] : []));
    const ourRequest = (side: number) => withToken(both, endpoint, ours[side]!);
    const result = await compare(both, request, ourRequest, `\n    after ${trail}`);
    if (isAccess) continue;
    keep(result.theirs, result.ours);
    if (endpoint === "refresh" && isReuseDetected) {
      hasEnded ||= marks.has("token: used");
      marks.add("token: used");
    } else if (endpoint === "blacklist" && result.ours.every(({ status }) => status === 200)) {
      hasEnded = true;
      // A sliding token keeps its id.
      for (const one of sliding ? held : [held[index]!]) one.marks.add("token: blacklisted");
    }
  }
}

/** Tokens of each side are valid on the other: refreshed, verified, blacklisted and accepted as a bearer. */
export async function exchange(both: Both, { send: ours }: Side): Promise<void> {
  const { theirs, dialect } = both;
  const main = dialect.sliding ? "token" : "refresh";
  for (const [issuer, taker, who] of [
    [theirs, ours, "Django's token here"],
    [ours, theirs, "our token at Django"],
  ] as const) {
    const ask = async (endpoint: Endpoint, one: string, status: number): Promise<Issued> => {
      const response = await taker(withToken(both, endpoint, one));
      assert.is(
        response.status,
        status,
        `${who}: ${endpoint} returns ${response.status} ${withoutTokens(response.text)}`,
      );
      return JSON.parse(response.text) as Issued;
    };
    const issued = JSON.parse((await issuer(withLogin("ömer😀"))).text) as Issued;
    for (const one of Object.values(issued)) await ask("verify", one, 200);
    const refreshed = await ask("refresh", issued[main]!, 200);
    for (const one of [issued, refreshed]) {
      assert.is((await ask("whoami", one.access ?? one.token!, 200)).username, "ömer😀");
    }
    const last = refreshed[main] ?? issued[main]!;
    await ask("blacklist", last, 200);
    const refusal = await ask("refresh", last, 401);
    assert.is(refusal.detail, "Token is blacklisted", who);
  }
}
