/** The second tab of the console: the server's figures as they change. Embedded in the page like `app.ts`. */

/**
 * Reads `/metrics` while its tab is shown, and draws it.
 * @param url `undefined` while the server serves no figures.
 */
export function startFigures(url: string | undefined): void {
  const [panel, note] = [document.getElementById("figures")!, document.getElementById("figures-note")!];
  const [rows, charts] = [document.getElementById("figure-rows")!, document.getElementById("charts")!];
  if (url === undefined) return;
  const [everyMs, mostSamples] = [2000, 90];

  /** The figures of one reading: counters by endpoint, and the values of gauges. */
  interface Sample {
    at: number;
    /** By endpoint and status, separated by a space. */
    counts: Map<string, number>;
    /** By endpoint: how many requests took at most so many seconds. */
    buckets: Map<string, Map<number, number>>;
    gauges: Map<string, number>;
  }
  const samples: Sample[] = [];

  /** Reads OpenMetrics text, as far as the console shows it. */
  function parse(text: string): Sample {
    const sample: Sample = { at: performance.now(), counts: new Map(), buckets: new Map(), gauges: new Map() };
    for (const line of text.split("\n")) {
      const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (match === null) continue;
      const [, name, labelText = "", value] = match;
      const labels = Object.fromEntries(
        [...labelText.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text]),
      );
      const { endpoint = "", status = "", le } = labels as Record<string, string>;
      if (name === "jwt_request_seconds_count") sample.counts.set(`${endpoint} ${status}`, Number(value));
      else if (name === "jwt_request_seconds_bucket") {
        const found = sample.buckets.get(endpoint) ?? new Map<number, number>();
        const bound = le === "+Inf" ? Infinity : Number(le);
        sample.buckets.set(endpoint, found.set(bound, (found.get(bound) ?? 0) + Number(value)));
      } else if (labelText === "") sample.gauges.set(name!, Number(value));
    }
    return sample;
  }

  const sum = (values: Iterable<number>): number => [...values].reduce((total, value) => total + value, 0);

  /** Returns the time within which 95 % of the requests between two readings were answered: the bound of their bucket. */
  function p95(endpoint: string, before: Sample, now: Sample): string {
    const earlier = before.buckets.get(endpoint);
    const found = [...(now.buckets.get(endpoint) ?? [])].map(([bound, count]) => [
      bound,
      count - (earlier?.get(bound) ?? 0),
    ]);
    const total = Math.max(0, ...found.map(([, count]) => count!));
    const bound = found.sort(([a], [b]) => a! - b!).find(([, count]) => count! >= total * 0.95)?.[0];
    if (total === 0 || bound === undefined) return "–";
    return bound === Infinity ? "over 10 s" : `≤ ${bound < 1 ? `${bound * 1000} ms` : `${bound} s`}`;
  }

  function chart(title: string, values: number[], unit: string): HTMLElement {
    const [width, height] = [320, 80];
    const top = Math.max(1, ...values);
    const latest = values.at(-1) ?? 0;
    const points = values.map((value, i) => {
      return `${((i + mostSamples - values.length) * width) / (mostSamples - 1)},${height - (value / top) * (height - 4)}`;
    });
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const shown = (value: number): string => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));
    caption.textContent = `${title}: ${shown(latest)} ${unit} (highest ${shown(Math.max(0, ...values))})`;
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("aria-hidden", "true"); // the caption says it
    const line = document.createElementNS(space, "polyline");
    line.setAttribute("points", points.join(" "));
    svg.append(line);
    figure.append(caption, svg);
    return figure;
  }

  function draw(): void {
    const now = samples.at(-1)!;
    const before = samples.at(-2) ?? now;
    const seconds = Math.max(0.001, (now.at - before.at) / 1000);
    const endpoints = [...new Set([...now.counts.keys()].map((key) => key.split(" ")[0]!))].sort();
    rows.replaceChildren(
      ...endpoints.map((endpoint) => {
        const isOf = ([key]: [string, number]): boolean => key.startsWith(`${endpoint} `);
        const all = sum([...now.counts].filter(isOf).map(([, count]) => count));
        const refused = sum(
          [...now.counts].filter((entry) => isOf(entry) && !/ [23]..$/.test(entry[0])).map(([, n]) => n),
        );
        const recent = all - sum([...before.counts].filter(isOf).map(([, count]) => count));
        const row = document.createElement("tr");
        const texts = [
          endpoint,
          String(all),
          String(refused),
          (recent / seconds).toFixed(1),
          p95(endpoint, before, now),
        ];
        for (const [i, text] of texts.entries()) {
          const cell = document.createElement(i === 0 ? "th" : "td");
          if (i === 0) cell.setAttribute("scope", "row");
          cell.textContent = text;
          row.append(cell);
        }
        return row;
      }),
    );
    document.getElementById("figure-table")!.hidden = false;
    const rates = samples.slice(1).map((sample, i) => {
      const earlier = samples[i]!;
      return (
        Math.max(0, sum(sample.counts.values()) - sum(earlier.counts.values())) / ((sample.at - earlier.at) / 1000)
      );
    });
    const gauge = (name: string): number[] => samples.map(({ gauges }) => gauges.get(name) ?? 0);
    charts.replaceChildren(
      chart("Requests", rates, "a second"),
      chart("Password hashes running", gauge("jwt_hashes_running"), ""),
      chart("Logins waiting", gauge("jwt_hashes_waiting"), ""),
    );
  }

  async function read(): Promise<void> {
    if (panel.hidden || document.hidden) return;
    try {
      const response = await fetch(url!);
      if (!response.ok) throw new Error(`${response.status}`);
      samples.push(parse(await response.text()));
      if (samples.length > mostSamples) samples.shift();
      note.textContent = `From ${url}, every ${everyMs / 1000} seconds while this tab is open.`;
      draw();
    } catch (error) {
      note.textContent = `${url} can't be read: ${(error as Error).message}`;
    }
  }
  document.getElementById("tab-figures")!.addEventListener("click", () => void read());
  setInterval(() => void read(), everyMs);
}
