/** Random interleavings of refreshes, logouts and revocations, against a model. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { randomFrom, seedFrom } from "../support/random.ts";
import { type OpenStore, forge, setUp, stores } from "../support/sessions.ts";

for (const [name, openStore] of stores) {
  const it = suite(`sessions, ${name} store`);

  it("agrees with a small model through hundreds of random interleavings", () => interleave(openStore));

  it.run();
}

/** One lineage of tokens as the model sees it. */
interface Lineage {
  user: string;
  /** Refresh tokens in their order, each with the time of its first use. */
  tokens: { text: string; usedAt?: number }[];
  access: string[];
  /** `undefined` after a login beside a revocation of its user: either may have been first. */
  ended: boolean | undefined;
}

/**
 * Runs batches of concurrent operations, each checked against the outcomes that the model allows. Over the three runtimes
 * they are a thousand, each runtime with its own seed.
 */
async function interleave(openStore: OpenStore): Promise<void> {
  const seed = seedFrom();
  const { below, pick } = randomFrom(seed);
  const names = ["ada", "bea", "cid"];
  for (let round = 0; round < 14; round++) {
    const grace = pick([0, 5, 10, "until-used"] as const);
    const here = await setUp({ refreshGrace: grace, refreshTokenLifetime: "1d", accessTokenLifetime: "1d" }, openStore);
    const explain = (what: string) => `${what} (SEED=${seed}, round ${round})`;
    const begun = async (user: string): Promise<Lineage> => {
      const { refresh, access } = await here.logIn(user);
      return { user, tokens: [{ text: refresh }], access: [access], ended: false };
    };
    const lineages = [await begun(pick(names)), await begun(pick(names))];
    for (let batch = 0; batch < 25; batch++) {
      here.clock.seconds += pick([0, 0, 0.001, 1, 4, 6, 11]);
      const now = Math.round(here.clock.seconds * 1000) / 1000;
      const revoked = below(12) === 0 ? pick(names) : undefined;
      const logins = below(4) === 0 ? [pick(names), pick(names)] : [];
      const asked: { lineage: Lineage; index: number; kind: "refresh" | "logout" | "forged"; text: string }[] = [];
      for (let i = 1 + below(6); i > 0; i--) {
        const lineage = pick(lineages);
        const index = below(3) === 0 ? below(lineage.tokens.length) : lineage.tokens.length - 1;
        const kind = pick([
          "refresh",
          "refresh",
          "refresh",
          "refresh",
          "refresh",
          "refresh",
          "logout",
          "forged",
        ] as const);
        const { text } = lineage.tokens[index]!;
        asked.push({ lineage, index, kind, text: kind === "forged" ? await forge(text, below(4)) : text });
      }
      // What must end: logouts, reuse after the grace. What may, as the order has it: a token used again beside the
      // first use of its successor (until-used).
      const ends = new Set<Lineage>(lineages.filter(({ user }) => user === revoked));
      const mayEnd = new Set<Lineage>();
      const seen = new Set<string>();
      for (const { lineage, index, kind, text } of asked) {
        if (kind === "logout") ends.add(lineage);
        if (kind !== "refresh") continue;
        const { usedAt } = lineage.tokens[index]!;
        const successor = lineage.tokens[index + 1];
        if (grace === "until-used") {
          if (successor?.usedAt !== undefined) ends.add(lineage);
          else if (asked.some((other) => other.kind === "refresh" && other.text === successor?.text))
            mayEnd.add(lineage);
        } else if (usedAt === undefined ? grace === 0 && seen.has(text) : now - usedAt >= grace) ends.add(lineage);
        seen.add(text);
      }
      const [answers, fresh] = await Promise.all([
        Promise.all(asked.map(({ kind, text }) => here.post(kind === "logout" ? kind : "refresh", { refresh: text }))),
        Promise.all(logins.map(begun)),
        revoked !== undefined && here.endpoints.revokeUser(String(names.indexOf(revoked) + 1)),
      ]);
      for (const [i, { lineage, index, kind }] of asked.entries()) {
        const { status, text, body } = answers[i]!;
        if (kind === "forged") {
          assert.is(status, 400, explain("forged"));
          assert.ok(["Token is invalid or expired", "Token has wrong type"].includes(text!), explain(text!));
        } else if (kind === "logout") assert.equal([status, body], [200, {}], explain("logout"));
        else if (status === 400) {
          assert.is(text, "Token is blacklisted", explain("text"));
          assert.ok(lineage.ended || ends.has(lineage) || mayEnd.has(lineage), explain("refused, though alive"));
          ends.add(lineage);
        } else {
          assert.equal([status, lineage.ended], [200, false], explain("an ended session came back"));
          lineage.access.push(body.access);
          lineage.tokens[index]!.usedAt ??= now;
          const successor = (lineage.tokens[index + 1] ??= { text: body.refresh });
          assert.is(body.refresh, successor.text, explain("two successors of one token"));
        }
      }
      for (const lineage of ends) lineage.ended = true;
      for (const lineage of fresh) {
        if (lineage.user === revoked) lineage.ended = undefined;
        lineages.push(lineage);
      }
      const touched = asked.map(({ lineage }) => lineage);
      for (const lineage of new Set([...touched, ...ends, ...fresh, pick(lineages)])) {
        const [newest, access] = [lineage.tokens.at(-1)!.text, lineage.access.at(-1)!];
        lineage.ended ??= (await here.verify(newest)) !== 200;
        const wanted = lineage.ended ? 400 : 200;
        assert.is(await here.verify(newest), wanted, explain("the newest refresh token"));
        assert.is(await here.verify(access), wanted, explain("the newest access token"));
        assert.is(await here.guard(pick(lineage.access)), lineage.ended ? 401 : 200, explain("any access token"));
      }
    }
    assert.ok(
      here.log.every(({ code }) => code === "refresh_reuse"),
      JSON.stringify(here.log),
    );
    await here.store.close();
  }
}
