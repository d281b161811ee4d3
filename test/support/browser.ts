/** Debian's Chromium for the suites of pages: what a page must not do is noted, and axe looks at it. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, type Page, chromium } from "playwright-core";
import { suite } from "uvu";

const program = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: program!, args: ["--no-sandbox"] });

/** Runs a suite where there is a Chromium, and otherwise says that there is none. */
export function runInBrowser(it: { run(): void }, name: string): void {
  if (program !== undefined) return it.run();
  console.log("skipped, as there is no Chromium: apt-get install chromium");
  const skipped = suite(name);
  skipped.skip("takes Chromium");
  skipped.run();
}

/**
 * Notes what a page and its programs do that they must not: requests to other hosts, errors, parts that the policy blocks.
 * @param hosts which the page may ask.
 */
export function noteFaults(page: Page, faults: string[], hosts = ["127.0.0.1"]): void {
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("status of 4")) faults.push(message.text());
  });
  page.on("request", (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (protocol !== "data:" && !hosts.includes(hostname)) faults.push(`requested ${request.url()}`);
  });
}

/** Returns what axe finds wrong with a page as it stands. */
export async function problemsOf(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { axe: tester } = globalThis as unknown as { axe: { run(): Promise<{ violations: object[] }> } };
    return (await tester.run()).violations as { id: string; nodes: { html: string }[] }[];
  });
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

/** Returns whether nothing on a page is wider than its window. */
export const fitsWidth = (page: Page): Promise<boolean> =>
  page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth);
