/** Reports a bench: a table on the terminal, and the figures with versions in `bench/results/<bench>.<runtime>.json`. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import path from "node:path";
import process from "node:process";
import { node24, projectRoot, runtime } from "../../test/support/runtime.ts";
import { median } from "../../test/support/statistics.ts";
import { quick, tidy } from "./tools.ts";

/** A column of a table: `key` names the figure in the file, `text` formats it for the table. */
export interface Column {
  key: string;
  title: string;
  text?: (value: number) => string;
}

/** Formats a figure with `count` digits after the point. */
export const digits =
  (count: number) =>
  (value: number): string =>
    value.toFixed(count);

/** The columns of {@link timeFigures}. */
export const timeColumns = (text: (value: number) => string): Column[] => [
  { key: "median_ms", title: "median ms", text },
  { key: "fastest_ms", title: "fastest", text },
  { key: "slowest_ms", title: "slowest", text },
];

/** Returns the figures of measured times in ms. */
export const timeFigures = (times: readonly number[]) => ({
  median_ms: tidy(median(times)),
  fastest_ms: tidy(Math.min(...times)),
  slowest_ms: tidy(Math.max(...times)),
});

/** The figures of a row; undefined if one could not be measured here. */
export type Row = Record<string, string | number | undefined>;

export interface Table {
  title: string;
  columns: Column[];
  rows: Row[];
}

/** The content of a file of results. */
export interface Kept {
  bench: string;
  date: string;
  /** Versions of the runtime and of what was measured. */
  versions: Record<string, string>;
  machine: { cores: number; cpu: string; platform: string };
  tables: { title: string; rows: Row[] }[];
}

/** Returns the versions of packages in `node_modules`. */
export function versionsOf(names: readonly string[]): Record<string, string> {
  const read = (file: string) => (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
  return Object.fromEntries(
    names.map((name) => [name, read(path.join(projectRoot, "node_modules", name, "package.json"))]),
  );
}

/** The cores of the machine; read now, because a bench may pin itself to some of them later. */
const cores = availableParallelism();

/** Names the runtime in the files of results: `node`, `node24` for the one of `.ci/node24`, `deno`, `bun`. */
export const label = process.execPath === node24 ? "node24" : runtime;

export const folder = path.join(projectRoot, "bench/results");

/**
 * Prints the tables of a bench and keeps their figures, except those of a quick run.
 * @param bench names the file; without it nothing is kept.
 */
export function report(bench: string | undefined, tables: Table[], versions: Record<string, string> = {}): void {
  for (const table of tables) print(table);
  if (quick || bench === undefined) return;
  mkdirSync(folder, { recursive: true });
  const machine = { cores, cpu: cpus()[0]?.model ?? "unknown", platform: process.platform };
  const all = { [runtime]: process.versions[runtime]!, ...versions };
  const kept = tables.map(({ title, rows }) => ({ title, rows }));
  const data: Kept = { bench, date: new Date().toISOString().slice(0, 10), versions: all, machine, tables: kept };
  writeFileSync(path.join(folder, `${bench}.${label}.json`), `${JSON.stringify(data, undefined, 2)}\n`);
}

function print({ title, columns, rows }: Table): void {
  const cell = (value: string | number | undefined, { text = String }: Column): string =>
    value === undefined ? "-" : typeof value === "number" ? text(value) : value;
  const all = [
    columns.map((column) => column.title),
    ...rows.map((row) => columns.map((column) => cell(row[column.key], column))),
  ];
  const widths = columns.map((_, index) => Math.max(...all.map((cells) => cells[index]!.length)));
  const isText = columns.map(({ key }) => rows.some((row) => typeof row[key] === "string"));
  const name = runtime[0]!.toUpperCase() + runtime.slice(1);
  console.log(`\n${title} (${name} ${process.versions[runtime]}, ${cores} cores)`);
  for (const cells of all) {
    const padded = cells.map((text, i) => (isText[i] ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)));
    console.log(`  ${padded.join("  ")}`.trimEnd());
  }
}
