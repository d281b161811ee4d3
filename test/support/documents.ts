/** The blocks of commands in the READMEs. */
import { readFileSync } from "node:fs";
import path from "node:path";
import * as assert from "uvu/assert";
import { projectRoot } from "./runtime.ts";

export interface Block {
  /** File and line. */
  place: string;
  language: "sh" | "console";
  text: string;
  /** Why it is not run by `project/documents`. */
  reason: string | undefined;
}

const fence =
  /(?:<!-- not run: (?<reason>.+?) -->\s*\n+)?(?<indent> *)```(?<language>sh|console)\n(?<text>[^]*?)^ *```$/gm;

/** Returns the blocks of commands in a document. */
export function blocksOf(file: string): Block[] {
  const document = readFileSync(path.join(projectRoot, file), "utf8");
  return [...document.matchAll(fence)].map(({ index, groups }) => {
    const { indent, language, text, reason } = groups as Record<string, string>;
    return {
      place: `${file}:${document.slice(0, index).split("\n").length}`,
      language: language as Block["language"],
      text: text!.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
      reason,
    };
  });
}

/** Returns the commands of the one block in a document that a pattern matches. */
export function commandsIn(file: string, pattern: RegExp): string {
  const found = blocksOf(file).filter(({ text }) => pattern.test(text));
  assert.is(found.length, 1, `${found.length} blocks of ${file} match ${pattern}`);
  return found[0]!.text;
}
