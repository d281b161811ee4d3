/** What the program prints instead of serving: `--help`, `--version`, `--print-config`. It is loaded for that alone. */
import { SettingError } from "../index.ts";
import { shownUrl } from "../stores/open.ts";
import { loadConfig } from "./config-file.ts";
import { renderHelp, serverHelp } from "./help.ts";
import { type GivenOption, giveOption, guards, listOptions, readOptions, readServerFlags } from "./options.ts";
import { secretOptions } from "./server-flags.ts";
import { version } from "./version.ts";

/**
 * Returns the text that flags of the server's command line ask for.
 * @throws {SettingError} as the start of the server would.
 */
export async function informationFor(args: string[], env: Record<string, string | undefined>): Promise<string> {
  if (args.some((arg) => /^(-h|--help)$/.test(arg))) return renderHelp(serverHelp());
  if (args.includes("--version")) return version;
  const flag = args.find((arg) => arg.startsWith("--print-config"))!;
  const form = flag.split("=")[1];
  if (form !== undefined && form !== "json") throw new SettingError("setting --print-config is not json or alone");
  const rows = await givenOptions(
    args.filter((arg) => arg !== flag),
    env,
  );
  return form === "json" ? JSON.stringify(rows, undefined, 2) : tableOf(rows);
}

interface Row {
  name: string;
  value: unknown;
  kind: GivenOption["kind"];
  source: string;
}

async function givenOptions(args: string[], env: Record<string, string | undefined>): Promise<Row[]> {
  const flags = readServerFlags(args);
  const config = await loadConfig(flags["config"]);
  const { docs, console } = readOptions(args, env, config); // their defaults depend on the host
  const options = listOptions();
  const names = new Set(options.map(({ name }) => name.split(".", 1)[0]!));
  const hooks = Object.entries(config?.values ?? {}).filter(([name]) => !names.has(name));
  return [
    ...options.map((option): Row => {
      const { name, value, kind, source } = giveOption(option, flags, env, config);
      const fallback = ({ ...guards, docs, console } as Record<string, unknown>)[name] ?? option.default;
      return { name, value: shownValue(option.flag, kind === "default" ? fallback : value), kind, source };
    }),
    ...hooks.map(([name, value]): Row => ({
      name,
      value: shownValue(name, value),
      kind: "file",
      source: config!.path,
    })),
  ];
}

/** Returns a value as it may be printed: no secret, and no code. */
function shownValue(flag: string, value: unknown): unknown {
  if (typeof value === "function") return "(code)";
  if (!secretOptions.includes(flag) || value === undefined) return value;
  if (flag === "store") return shownUrl(String(value));
  return typeof value === "string" && value.startsWith("-----BEGIN PUBLIC KEY") ? value : "(secret)";
}

/** Lays rows out as a table. Values come last, since some of them are long. */
function tableOf(rows: Row[]): string {
  const cells = rows.map(({ name, value, kind, source }) => {
    const text = typeof value === "string" ? value.replaceAll("\n", "\\n") : JSON.stringify(value);
    return [name, kind === "file" ? `file ${source}` : source, text || "-"] as const;
  });
  const table = [["SETTING", "FROM", "VALUE"] as const, ...cells];
  const widthOf = (column: 0 | 1): number => Math.max(...table.map((row) => row[column].length));
  const widths = [widthOf(0), widthOf(1)] as const;
  return table
    .map(([name, from, value]) => `${name.padEnd(widths[0])}  ${from.padEnd(widths[1])}  ${value}`)
    .join("\n");
}
