/**
 * The error texts of Python's `json` module ("Expecting value: line 1 column 1 (char 0)"), which a Django site sends. They
 * name the position of an error, never the text there. Own code: no package has these texts.
 */

const literals: Record<string, string> = { n: "null", t: "true", f: "false" };
const nonFinite = ["NaN", "Infinity", "-Infinity"];

/**
 * Returns the text for the first error in what is no JSON, which it finds as Python's scanner does. A loop, since a body may
 * nest deeply.
 */
export function describeJsonError(text: string): string {
  const at = (message: string, position: number): string => {
    // Python counts code points, JavaScript UTF-16 units.
    const before = Array.from(text.slice(0, position));
    const line = before.filter((char) => char === "\n").length + 1;
    const column = before.length - before.lastIndexOf("\n");
    return `${message}: line ${line} column ${column} (char ${before.length})`;
  };
  if (text.startsWith("\ufeff")) return at("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0);
  let i = 0;
  const skipSpace = () => {
    while (i < text.length && " \t\n\r".includes(text[i]!)) i++;
  };
  /** Moves past a string. Returns the text of an error in it. */
  const readString = (): string | undefined => {
    const start = i++;
    for (; i < text.length; i++) {
      const char = text[i]!;
      if (char === '"') return void i++;
      if (char < " ") return at("Invalid control character at", i);
      if (char !== "\\") continue;
      const escape = text[++i];
      if (escape === undefined) break;
      if (escape === "u") {
        if (!/^[0-9a-fA-F]{4}$/.test(text.slice(i + 1, i + 5))) return at("Invalid \\uXXXX escape", i);
        i += 4;
      } else if (!'"\\/bfnrt'.includes(escape)) return at("Invalid \\escape", i - 1);
    }
    return at("Unterminated string starting at", start);
  };
  const open: ("[" | "{")[] = [];
  /** Moves past a key and its colon. Returns the text of an error in them. */
  const readKey = (): string | undefined => {
    if (text[i] !== '"') return at("Expecting property name enclosed in double quotes", i);
    const problem = readString();
    if (problem !== undefined) return problem;
    skipSpace();
    if (text[i] !== ":") return at("Expecting ':' delimiter", i);
    i++;
    skipSpace();
    return undefined;
  };
  skipSpace();
  for (;;) {
    // a value
    const char = text[i];
    if (char === "[" || char === "{") {
      i++;
      skipSpace();
      if (text[i] === (char === "[" ? "]" : "}")) i++;
      else {
        open.push(char);
        const problem = char === "{" ? readKey() : undefined;
        if (problem !== undefined) return problem;
        continue;
      }
    } else if (char === '"') {
      const problem = readString();
      if (problem !== undefined) return problem;
    } else {
      const rest = text.slice(i, i + 9);
      const word = literals[char ?? ""] ?? nonFinite.find((name) => rest.startsWith(name));
      const number = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/.exec(text.slice(i))?.[0];
      if (word !== undefined && rest.startsWith(word)) {
        if (nonFinite.includes(word))
          return `Out of range float values are not JSON compliant: ${JSON.stringify(word).replaceAll('"', "'")}`;
        i += word.length;
      } else if (number !== undefined) i += number.length;
      else return at("Expecting value", i);
    }
    // what may follow a value
    for (;;) {
      skipSpace();
      const container = open.at(-1);
      if (container === undefined) return i < text.length ? at("Extra data", i) : "Malformed JSON";
      if (text[i] === (container === "[" ? "]" : "}")) {
        open.pop();
        i++;
        continue;
      }
      if (text[i] !== ",") return at("Expecting ',' delimiter", i);
      i++;
      skipSpace();
      const problem = container === "{" ? readKey() : undefined;
      if (problem !== undefined) return problem;
      break;
    }
  }
}
