/** The requests of the console, each shown beside its response. Embedded in the page like `app.ts`. */

/** What the parts of the page's program share. */
export interface Page {
  find<E extends HTMLElement>(id: string): E;
  element(name: string, text: string, attributes?: Record<string, string>): HTMLElement;
  /** Tells the user what has happened, or why it has not. */
  say(text: string, isError?: boolean): void;
}

interface Exchange {
  request: string;
  response: string;
  curl: string;
  line: string;
}

/**
 * Creates the part of the console that sends requests.
 * @param prefix what stands in front of the routes.
 */
export function createExchanges(prefix: string, { find, element, say }: Page) {
  const exchanges: Exchange[] = [];
  const mostExchanges = 12;
  const hiddenPassword = "••••••••";

  const quoteForShell = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

  /** Sends a request, shows it beside its response, and returns the response's data. */
  async function send(method: string, path: string, body?: Record<string, string>, access?: string): Promise<unknown> {
    const url = prefix + path;
    const headers: Record<string, string> = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (access !== undefined) headers["Authorization"] = `Bearer ${access}`;
    const shownBody =
      body && JSON.stringify({ ...body, ...(body["password"] !== undefined && { password: hiddenPassword }) });
    const headerLines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    const start = performance.now();
    let [ok, data, response, status]: [boolean, unknown, string, string] = [false, undefined, "", "no response"];
    try {
      const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
      const received = await fetch(url, init);
      const text = await received.text();
      status = `${received.status} ${received.statusText}`.trim();
      const lines = [...received.headers].map(([name, value]) => `${name}: ${value}`);
      data = text === "" ? undefined : JSON.parse(text);
      response = [status, ...lines, "", data === undefined ? "" : JSON.stringify(data, undefined, 2)].join("\n");
      ok = received.ok;
    } catch (error) {
      response = `No response: ${(error as Error).message}`;
    }
    const ms = Math.round(performance.now() - start);
    const curlHeaders = headerLines.map((line) => ` \\\n  -H ${quoteForShell(line)}`).join("");
    const curlBody = shownBody === undefined ? "" : ` \\\n  -d ${quoteForShell(shownBody)}`;
    show({
      request: [`${method} ${url}`, ...headerLines, "", shownBody ?? ""].join("\n").trimEnd(),
      response: response.trimEnd(),
      curl: `curl -X ${method} ${location.origin}${url}${curlHeaders}${curlBody}`,
      line: `${method} ${url}: ${status}, ${ms} ms`,
    });
    if (!ok) throw new Error(wordsOf(data) ?? response.split("\n", 1)[0]);
    return data;
  }

  /** Returns the server's own words for a refusal. */
  function wordsOf(data: unknown): string | undefined {
    if (typeof data !== "object" || data === null) return undefined;
    const { detail, non_field_errors: general } = data as { detail?: unknown; non_field_errors?: unknown };
    if (typeof detail === "string") return detail;
    if (Array.isArray(general)) return general.join(" ");
    return Object.entries(data)
      .map(([field, texts]) => `${field}: ${String(texts)}`)
      .join(" ");
  }

  function show(exchange: Exchange): void {
    exchanges.unshift(exchange);
    exchanges.length = Math.min(exchanges.length, mostExchanges);
    select(exchange);
    const items = exchanges.map((each) => {
      const button = element("button", each.line, { type: "button" });
      button.addEventListener("click", () => select(each));
      const item = document.createElement("li");
      item.append(button);
      return item;
    });
    find("title-history").hidden = false;
    find("history").replaceChildren(...items);
  }

  function select({ request, response, curl }: Exchange): void {
    find("request").textContent = request;
    find("response").textContent = response;
    const copy = find<HTMLButtonElement>("copy-curl");
    copy.disabled = false;
    copy.onclick = () => void copyText(curl, "The curl command is on the clipboard.");
  }

  async function copyText(text: string, done: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      say(done);
    } catch {
      say("The browser does not let this page write to the clipboard.", true);
    }
  }

  return { send, copyText };
}
