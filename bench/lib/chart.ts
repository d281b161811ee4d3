/**
 * What `http` measured, as a chart and as the table in `bench/README.md`, and what `postgres` measured as the table in the
 * store's README, from the files in `results/`: `npm run bench -- chart` writes them, and measures nothing.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { projectRoot } from "../../test/support/runtime.ts";
import { type Kept, type Row, folder } from "./results.ts";
import { bare, ours } from "./tools.ts";

const runtimes = { node: "Node", node24: "Node", deno: "Deno", bun: "Bun" } as const;
export const chartFile = path.join(folder, "http.svg");
export const tableFile = path.join(projectRoot, "bench/README.md");

type Results = [runtime: keyof typeof runtimes, kept: Kept];

/** Returns the results in the order of `runtimes`, without those not measured yet. */
function readResults(): Results[] {
  return (Object.keys(runtimes) as (keyof typeof runtimes)[]).flatMap((runtime): Results[] => {
    const file = path.join(folder, `http.${runtime}.json`);
    return existsSync(file) ? [[runtime, JSON.parse(readFileSync(file, "utf8")) as Kept]] : [];
  });
}

/** Returns what was measured under one load. */
const tableUnder = (load: "wrk" | "undici", { tables }: Kept) =>
  tables.find(({ title }) => title.includes(` ${load} `));
/** Returns the main figures: those of wrk, which keeps servers busy, or those of undici where wrk was not installed. */
const mainTable = (kept: Kept) => tableUnder("wrk", kept) ?? tableUnder("undici", kept)!;
const rowsOf = (kept: Kept): Row[] => mainTable(kept).rows;
const casesOf = (kept: Kept): string[] => [...new Set(rowsOf(kept).map((row) => String(row.case)))];
/** Ratio to the bare server, by CPU time where that is known. */
const ratioOf = (row: Row): number => Number(row.to_bare ?? row.per_second_to_bare);
/** Two digits would show Djoser as zero. */
const ratioText = (value: number): string => (value < 0.01 ? value.toPrecision(1) : value.toFixed(2));
const nameOf = ([runtime, { versions }]: Results): string =>
  `${runtimes[runtime]} ${versions[runtime] ?? versions["node"]}`;
/** Returns all servers, ours first and the bare one last. */
function serversOf(results: Results[]): string[] {
  const all = new Set(results.flatMap(([, kept]) => rowsOf(kept).map((row) => String(row.server))));
  return [ours, ...[...all].filter((name) => name !== ours && name !== bare), bare];
}

// The table.

const between = /(<!-- bench -->\n)([\s\S]*?)(<!-- \/bench -->)/;
/** The table as `bench/README.md` has it. */
export const keptTable = (): string => between.exec(readFileSync(tableFile, "utf8"))?.[2] ?? "none";

/** Returns both tables: this server beside the best of the others, and all servers under both loads. */
export function benchTable(): string {
  const results = readResults();
  const loads = new Set(results.map(([, kept]) => mainTable(kept).title));
  const measured = `${[...loads].join("; ")}. ${[...new Set(results.map(([, kept]) => machineLine(kept)))].join("")}`;
  return `${bestTable(results)}\n${everyTable(results)}\n${measured}`;
}

function bestTable(results: Results[]): string {
  const title = ["case", `${ours}: per CPU second`, "to bare", "the best other, to bare", "to that one"];
  const lines = [["runtime", ...title], Array<string>(6).fill("---")];
  for (const each of results) {
    const [, kept] = each;
    for (const name of casesOf(kept)) {
      const rows = rowsOf(kept).filter((row) => row.case === name);
      const own = rows.find((row) => row.server === ours);
      if (own === undefined) continue;
      const peers = rows.filter((row) => row.server !== ours && row.server !== bare);
      const best = peers.reduce((a, b) => (ratioOf(b) > ratioOf(a) ? b : a));
      const rate = Number(own.per_cpu_second ?? own.per_second).toLocaleString("en");
      const factor = `${(ratioOf(own) / ratioOf(best)).toFixed(1)} ×`;
      const cells = [rate, ratioText(ratioOf(own)), `${ratioText(ratioOf(best))} (${best.server})`, factor];
      lines.push([nameOf(each), name, ...cells]);
    }
  }
  return markdownOf(lines);
}

/** Returns, per case and server, the ratios to the bare server on each runtime: under the main load, then under undici. */
function everyTable(results: Results[]): string {
  const lines = [["case", "server", ...results.map(nameOf)], Array<string>(2 + results.length).fill("---")];
  for (const name of casesOf(results[0]![1])) {
    for (const server of serversOf(results)) {
      const isIt = (row: Row): boolean => row.case === name && row.server === server;
      const cells = results.map(([, kept]) => {
        const found = [mainTable(kept), tableUnder("undici", kept)!].map(({ rows }) => rows.find(isIt));
        return found.flatMap((row) => (row === undefined ? [] : [ratioText(ratioOf(row))])).join(" · ");
      });
      lines.push([name, server, ...cells]);
    }
  }
  return markdownOf(lines);
}

const markdownOf = (lines: string[][]): string => lines.map((cells) => `| ${cells.join(" | ")} |\n`).join("");

function machineLine({ date, machine, versions }: Kept): string {
  const own = new Set([...Object.keys(runtimes), ours]);
  const others = Object.entries(versions).filter(([name]) => !own.has(name));
  const where = `${machine.cpu}, ${machine.cores} cores, ${machine.platform}`;
  return `${date}, ${where}; ${others.map((pair) => pair.join(" ")).join(", ")}.\n`;
}

// The table of the stores.

export const storesFile = path.join(projectRoot, "src/stores/postgres/README.md");

/** The table as the store's README has it. */
export const keptStoresTable = (): string => between.exec(readFileSync(storesFile, "utf8"))?.[2] ?? "none";

/** Returns the table: per case and store, requests per second and per CPU second, with 1, 2 and 4 processes. */
export function storesTable(): string {
  const file = path.join(folder, "postgres.node.json");
  const kept = JSON.parse(readFileSync(file, "utf8")) as Kept;
  const [{ title, rows }] = kept.tables as [{ title: string; rows: Row[] }];
  const counts = [...new Set(rows.map((row) => Number(row.processes)))].sort((a, b) => a - b);
  const number = (value: unknown): string => Math.round(Number(value)).toLocaleString("en");
  const header = [
    "case",
    "store",
    `per second with ${counts.join(", ")} processes`,
    "per CPU second of one process",
    "with the database's",
    "in statements",
  ];
  const lines = [header, Array<string>(6).fill("---")];
  for (const row of rows.filter(({ processes }) => processes === counts[0])) {
    const same = rows.filter((other) => other.case === row.case && other.store === row.store);
    const rates = counts.map((count) => number(same.find(({ processes }) => processes === count)?.per_second));
    const statements = row.store === "file" ? "" : `${number(row.statements_us)} µs`;
    const perCpu = [number(row.per_cpu_second), row.store === "file" ? "" : number(row.with_database)];
    lines.push([String(row.case), String(row.store), rates.join(" · "), ...perCpu, statements]);
  }
  return `${markdownOf(lines)}\n${title}. ${nameOf(["node", kept])}, ${machineLine(kept)}`;
}

// The chart: a column for each runtime, a row for each case, a bar for each server.

const colours = { ours: "#c2410c", bare: "#374151", other: "#9ca3af", text: "#111827", faint: "#6b7280" };

export async function drawChart(): Promise<string> {
  const results = readResults();
  const echarts = await import("echarts");
  const cases = casesOf(results[0]![1]);
  const order = serversOf(results);
  const [left, top, right, width, gap] = [180, 96, 16, 190, 24];
  const [barHeight, caseGap] = [20, 44];
  const height = order.length * barHeight;
  const widest = Math.max(...results.flatMap(([, kept]) => rowsOf(kept).map(ratioOf)));
  const total = { width: left + results.length * (width + gap) - gap + right, height: 0 };
  total.height = top + cases.length * (height + caseGap) - caseGap + 32;

  const words: object[] = [];
  const write = (text: string, x: number, y: number, font: string, fill = colours.text) =>
    words.push({ type: "text", x, y, style: { text, font: `${font} sans-serif`, fill } });
  write("Requests per second of the server's CPU time, to the runtime's bare server (= 1.00)", 16, 16, "bold 16px");
  const { title } = mainTable(results[0]![1]);
  const load = title.slice(title.indexOf("load by"));
  write(`More is better. All were given the same requests: ${load}.`, 16, 40, "12px", colours.faint);
  results.forEach((each, column) => write(nameOf(each), left + column * (width + gap), 66, "bold 14px"));

  const panels = results.flatMap(([, kept], column) =>
    cases.map((name, row) => {
      const x = left + column * (width + gap);
      const y = top + row * (height + caseGap);
      if (column === 0) write(name, 16, y - 2, "bold 13px");
      const values = order.map((server) => {
        const found = rowsOf(kept).find((each) => each.case === name && each.server === server);
        return found === undefined ? undefined : ratioOf(found);
      });
      return { isFirst: column === 0, grid: { left: x, top: y + 16, width, height }, values };
    }),
  );
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, ...total });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    graphic: words,
    grid: panels.map(({ grid }) => grid),
    xAxis: panels.map((_, index) => ({ gridIndex: index, type: "value", min: 0, max: widest * 1.2, show: false })),
    yAxis: panels.map(({ isFirst }, index) => ({
      gridIndex: index,
      type: "category",
      data: order,
      inverse: true,
      axisTick: { show: false },
      axisLine: { lineStyle: { color: colours.faint } },
      axisLabel: {
        show: isFirst,
        interval: 0,
        color: colours.text,
        formatter: (name: string) => (name === ours ? `{ours|${name}}` : name),
        rich: { ours: { color: colours.ours, fontWeight: "bold" } },
      },
    })),
    series: panels.map(({ values }, index) => ({
      type: "bar",
      xAxisIndex: index,
      yAxisIndex: index,
      barWidth: 14,
      data: values.map((value, at) => {
        const server = order[at]!;
        const kind = server === ours ? "ours" : server === bare ? "bare" : "other";
        const fontWeight = kind === "ours" ? "bold" : "normal";
        const formatter = value && ratioText(value);
        const label = { show: true, position: "right", color: colours.text, fontWeight, formatter };
        return { value: value ?? "-", itemStyle: { color: colours[kind] }, label };
      }),
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

if (process.argv[1]?.endsWith("chart.ts")) {
  if (readResults().length === 0) {
    console.error("nothing is measured yet: npm run bench -- http");
    process.exit(1);
  }
  writeFileSync(chartFile, await drawChart());
  for (const [file, table] of [
    [tableFile, benchTable()],
    [storesFile, storesTable()],
  ] as const) {
    const readme = readFileSync(file, "utf8");
    writeFileSync(
      file,
      readme.replace(between, (_, before: string, __, after: string) => `${before}${table}${after}`),
    );
  }
}
