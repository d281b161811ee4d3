/**
 * Completes the command line of `jwt-endpoints` in a shell: `completion bash` prints a script, which calls `complete` with
 * the words typed so far. No library: @bomb.sh/tab's scripts run what is typed (`eval`), offer no file names, and in bash need
 * a package of its own.
 */
import process from "node:process";
import { type Flag, type Flags, wantsHelp } from "../program/command-line.ts";
import { commandTexts, renderHelp } from "../program/help.ts";
import { listOptions } from "../program/options.ts";
import { fileFlags, serverFlags } from "../program/server-flags.ts";
import { type Program, flagsOf, textOf } from "./command.ts";

/** Where `complete` prints nothing, each script offers file names. */
const scripts: Record<string, string> = {
  bash: `_jwt_endpoints() {
  local IFS=$'\\n'
  COMPREPLY=($(jwt-endpoints complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1))
}
complete -o default -F _jwt_endpoints jwt-endpoints`,
  zsh: `#compdef jwt-endpoints
_jwt_endpoints() {
  local -a lines
  lines=("\${(@f)$(jwt-endpoints complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -z "\${lines[1]}" ]]; then
    _files
    return
  fi
  lines=("\${(@)lines//:/\\\\:}")
  lines=("\${(@)lines//$'\\t'/:}")
  _describe jwt-endpoints lines
}
compdef _jwt_endpoints jwt-endpoints`,
  fish: `function __jwt_endpoints
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l found (jwt-endpoints complete -- $words[2..] "$current" 2>/dev/null)
  if test (count $found) -gt 0
    printf '%s\\n' $found
  else
    __fish_complete_path "$current"
  end
end
complete -c jwt-endpoints -f -a '(__jwt_endpoints)'`,
};

/** How each shell loads its script. */
const loading = {
  bash: "source <(jwt-endpoints completion bash) in ~/.bashrc",
  zsh: "source <(jwt-endpoints completion zsh) in ~/.zshrc, behind compinit",
  fish: "jwt-endpoints completion fish > ~/.config/fish/completions/jwt-endpoints.fish",
};

/**
 * Prints the script for a shell, or the words that may follow.
 * @param word `completion` or `complete`.
 * @param args the shell, or `--` and the words typed so far, the last of them cut at the cursor.
 */
export function runCompletion(word: "completion" | "complete", args: string[], programs: Program[]): void {
  const [shell = ""] = args;
  if (word === "complete") {
    for (const { value, text } of candidates(args.slice(1), programs)) console.log(`${value}\t${text}`);
  } else if (wantsHelp(args)) {
    const usage = [`jwt-endpoints completion ${Object.keys(scripts).join("|")}`];
    const sections = [{ title: "To load it", rows: Object.entries(loading) }];
    console.log(renderHelp({ usage, description: commandTexts.completion, sections }));
  } else if (args.length === 1 && Object.hasOwn(scripts, shell)) console.log(scripts[shell]);
  else {
    console.error(`jwt-endpoints: completion needs the name of a shell; accepted: ${Object.keys(scripts).join(", ")}`);
    process.exitCode = 1;
  }
}

interface Candidate {
  value: string;
  /** In a few words, for shells that show it. */
  text: string;
}

const listed = (values: Iterable<string>): Candidate[] => Array.from(values, (value) => ({ value, text: "" }));

/** Returns what the last of the words may become. */
function candidates(typed: string[], programs: Program[]): Candidate[] {
  const words = joined(typed);
  const current = words.pop() ?? "";
  const flags = flagsFor(words, programs);
  const [, before = "", name] = /^(--([^=]+)=)/.exec(current) ?? [];
  const previous = words.at(-1)?.slice(2) ?? "";
  let found: Candidate[];
  if (name !== undefined) found = valuesOf(flags[name]).map(({ value, text }) => ({ value: before + value, text }));
  else if (takesValue(flags[previous]) && words.at(-1)!.startsWith("--")) found = valuesOf(flags[previous]);
  else if (current.startsWith("-")) found = flagCandidates(flags);
  else found = wordCandidates(words, programs);
  const inBash = typed.includes("="); // bash breaks words at "=" and replaces what comes behind
  return found
    .filter(({ value }) => value.startsWith(current))
    .map(({ value, text }) => ({ value: inBash ? value.slice(before.length) : value, text }));
}

/** Joins `--flag`, `=` and `value`, as bash hands them over. */
function joined(typed: string[]): string[] {
  const words: string[] = [];
  typed.forEach((word, index) => {
    if (index > 0 && (word === "=" || typed[index - 1] === "=")) words[words.length - 1] += word;
    else words.push(word);
  });
  return words;
}

/** Returns the flags of the command in front, or those of the server. */
function flagsFor([word, name = ""]: string[], programs: Program[]): Flags {
  const command = programs.find((each) => each.name === word)?.commands[name];
  if (command !== undefined) return flagsOf(command);
  if (word !== undefined && Object.hasOwn(commandTexts, word) && word !== "serve") return {};
  const options = listOptions();
  const own = { "print-config": { type: "boolean" }, version: { type: "boolean" } } as const;
  return { ...serverFlags(options), ...fileFlags(options), ...own };
}

const takesValue = (flag: Flag | undefined): boolean =>
  flag !== undefined && flag.type !== "positional" && flag.type !== "boolean" && flag.isSwitch !== true;

function valuesOf(flag: Flag | undefined): Candidate[] {
  if (flag?.isSwitch) return listed(["true", "false"]);
  return flag?.type === "enum" ? listed(flag.options ?? []) : [];
}

const flagCandidates = (flags: Flags): Candidate[] => [
  ...Object.entries(flags).flatMap(([name, { type, hasNegation, description = "" }]) => {
    if (type === "positional") return [];
    const text = description.split(/[.;:] |\s[[(]/, 1)[0]!.replaceAll("`", "");
    const negated = hasNegation === true ? [{ value: `--no-${name}`, text: `Off: ${text}` }] : [];
    return [{ value: `--${name}`, text }, ...negated];
  }),
  { value: "--help", text: "Print the help" },
];

function wordCandidates(words: string[], programs: Program[]): Candidate[] {
  if (words.length === 0) return Object.entries(commandTexts).map(([value, text]) => ({ value, text }));
  if (words.length > 1) return [];
  if (words[0] === "completion") return listed(Object.keys(scripts));
  const commands = programs.find(({ name }) => name === words[0])?.commands ?? {};
  return Object.entries(commands).map(([value, command]) => ({ value, text: textOf(command).split(/[;:,.]/, 1)[0]! }));
}
