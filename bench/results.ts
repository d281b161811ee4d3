/** What a bench found: a table on the terminal, and the same figures with the versions as `bench/results/<bench>.<runtime>.json`. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import path from "node:path";
import process from "node:process";
import { projectRoot, runtime } from "../test/runtime.ts";
import { print, quick } from "./tools.ts";

/** A figure of a row: `key` names it in the file, `text` says how the table shows it. */
export interface Column {
  key: string;
  title: string;
  text?: (value: number) => string;
}

/** `undefined` is what could not be measured here. */
export type Row = Record<string, string | number | undefined>;

export interface Table {
  title: string;
  columns: Column[];
  rows: Row[];
}

const folder = path.join(projectRoot, "bench/results");

/** Prints the tables of a bench and, unless they are a quick run's, keeps their figures. */
export function report(bench: string, tables: Table[], versions: Record<string, string> = {}): void {
  for (const { title, columns, rows } of tables) {
    const header = columns.map((column) => column.title);
    print(
      title,
      header,
      rows.map((row) => columns.map((column) => cellOf(row[column.key], column))),
    );
  }
  if (quick) return;
  mkdirSync(folder, { recursive: true });
  const machine = { cores: availableParallelism(), cpu: cpus()[0]?.model ?? "unknown", platform: process.platform };
  const all = { [runtime]: process.versions[runtime], ...versions };
  const kept = tables.map(({ title, rows }) => ({ title, rows }));
  const data = { bench, date: new Date().toISOString().slice(0, 10), versions: all, machine, tables: kept };
  writeFileSync(path.join(folder, `${bench}.${runtime}.json`), `${JSON.stringify(data, undefined, 2)}\n`);
}

/** Of packages in `node_modules`. */
export function versionsOf(names: readonly string[]): Record<string, string> {
  const read = (file: string) => (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
  return Object.fromEntries(
    names.map((name) => [name, read(path.join(projectRoot, "node_modules", name, "package.json"))]),
  );
}

function cellOf(value: string | number | undefined, { text = String }: Column): string {
  if (value === undefined) return "-";
  return typeof value === "number" ? text(value) : value;
}
