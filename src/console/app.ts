/**
 * The program of the console, in the browser. The page holds its source as `toString()` returns it, so that the console needs
 * no build step and no second request: everything it calls is inside the function or a global of the browser.
 */

import type { Page, createExchanges as CreateExchanges } from "./exchanges.ts";

/** What the console is told about its server. */
export interface ConsoleConfig {
  /** In front of the routes: "" or such as `/auth`. */
  readonly prefix: string;
  readonly usernameField: string;
  /** The field of the token that is renewed: `refresh`, or `token` for sliding tokens. */
  readonly renewedField: "refresh" | "token";
  /** Whether the renewed token travels in a cookie, so that the page never sees it. */
  readonly inCookie: boolean;
  readonly hasMe: boolean;
  readonly hasSessions: boolean;
  /** Whether the page `/docs` is served. */
  readonly hasDocs: boolean;
  /** Where `/metrics` is served; `undefined` while it is off. */
  readonly metricsUrl?: string | undefined;
}

/**
 * Starts the console in the page that `page.ts` makes.
 * @param createExchanges of `exchanges.ts`, which the page holds too.
 */
export function startConsole(config: ConsoleConfig, createExchanges: typeof CreateExchanges): void {
  interface Held {
    text: string;
    claims: Record<string, unknown>;
    /** When it was received, by the page's own clock in milliseconds: the server's clock may differ. */
    since: number;
  }

  const find: Page["find"] = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;
  const held: Record<string, Held | undefined> = {};
  let isLoggedIn = false;
  function element(name: string, text: string, attributes: Record<string, string> = {}): HTMLElement {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function say(text: string, isError = false): void {
    find("status").textContent = isError ? "" : text;
    find("problem").textContent = isError ? text : "";
  }

  const { send, copyText } = createExchanges(config.prefix, { find, element, say });
  const accessToken = (): string | undefined => (held["access"] ?? held["token"])?.text;

  function decode(segment: string): Record<string, unknown> {
    const binary = atob(segment.replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(binary, (char) => char.charCodeAt(0))));
  }

  function keep(name: string, text: unknown): void {
    if (typeof text !== "string") return;
    held[name] = { text, claims: decode(text.split(".")[1]!), since: performance.now() };
  }

  /** Returns the seconds that a token has left, by its own lifetime and the time since it was received. */
  const secondsLeft = ({ claims, since }: Held): number =>
    Number(claims["exp"]) - Number(claims["iat"]) - (performance.now() - since) / 1000;

  function duration(seconds: number): string {
    if (seconds <= 0) return "expired";
    const whole = Math.floor(seconds);
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const two = (value: number): string => String(value).padStart(2, "0");
    return `${hours > 0 ? `${hours}:${two(minutes)}` : minutes}:${two(rest)} left`;
  }

  /** Shows the tokens that are held, and offers what can be done with them. */
  function showTokens(): void {
    const cards = Object.entries(held).flatMap(([name, token]) => (token === undefined ? [] : [cardOf(name, token)]));
    find("cards").replaceChildren(...cards);
    find("no-tokens").hidden = cards.length > 0;
    find("actions").hidden = !isLoggedIn;
    find("login").hidden = isLoggedIn;
    find("sessions").hidden = true;
  }

  function cardOf(name: string, { text, claims }: Held): HTMLElement {
    const card = document.createElement("article");
    const title = element("h3", `${name[0]!.toUpperCase()}${name.slice(1)}${name === "token" ? "" : " token"} `);
    title.append(element("span", "", { class: "countdown", "data-token": name }));
    const [head = "", payload = "", signature = ""] = text.split(".");
    const raw = element("p", "", { class: "token" });
    raw.append(element("span", head), ".", element("span", payload), ".", element("span", signature));
    const details = element("pre", `${JSON.stringify(decode(head))}\n${JSON.stringify(claims, undefined, 2)}`, {
      tabindex: "0",
      role: "region",
      "aria-label": `Header and claims of the ${name} token`,
    });
    const verify = element("button", `Verify`, { type: "button", "aria-label": `Verify the ${name} token` });
    verify.addEventListener("click", () => {
      void run(async () => {
        await send("POST", "/jwt/verify/", { token: text });
        say(`The ${name} token is valid.`);
      });
    });
    const copy = element("button", "Copy", { type: "button", "aria-label": `Copy the ${name} token` });
    copy.addEventListener("click", () => void copyText(text, `The ${name} token is on the clipboard.`));
    const buttons = element("p", "", { class: "buttons" });
    buttons.append(verify, copy);
    card.append(title, raw, details, buttons);
    return card;
  }

  function tick(): void {
    for (const place of document.querySelectorAll<HTMLElement>("[data-token]")) {
      const token = held[place.dataset["token"]!];
      if (token === undefined) continue;
      const seconds = secondsLeft(token);
      place.textContent = duration(seconds);
      place.classList.toggle("expired", seconds <= 0);
    }
  }

  /** Runs an action, and shows why it was refused. */
  async function run(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      say((error as Error).message, true);
    }
    tick();
  }

  async function logIn(): Promise<void> {
    const [name, password] = [find<HTMLInputElement>("username"), find<HTMLInputElement>("password")];
    const body = { [config.usernameField]: name.value, password: password.value };
    const data = await send("POST", "/jwt/create/", body);
    isLoggedIn = true; // also where cookies carry all tokens
    receive(data);
    password.value = "";
    say(`Logged in as ${name.value}.`);
    find("refresh").focus();
  }

  function receive(data: unknown): void {
    for (const name of ["access", "refresh", "token"]) keep(name, (data as Record<string, unknown>)[name]);
    showTokens();
  }

  /** Returns the body that names the token to renew; empty where a cookie carries it. */
  function renewed(): Record<string, string> {
    const token = held[config.renewedField];
    return token === undefined ? {} : { [config.renewedField]: token.text };
  }

  async function renew(): Promise<void> {
    receive(await send("POST", "/jwt/refresh/", renewed()));
    say("Refreshed.");
  }

  async function logOut(): Promise<void> {
    try {
      await send("POST", "/jwt/logout/", renewed());
      say("Logged out: the refresh token and its session are revoked.");
    } finally {
      // Forgotten also where the server refuses the token: it has expired, or its session has ended already.
      for (const name of Object.keys(held)) held[name] = undefined;
      isLoggedIn = false;
      showTokens();
      find("username").focus();
    }
  }

  async function showUser(): Promise<void> {
    const user = (await send("GET", "/users/me/", undefined, accessToken())) as Record<string, unknown>;
    say(
      Object.entries(user)
        .map(([name, value]) => `${name}: ${String(value)}`)
        .join(", "),
    );
  }

  const localTime = (time: unknown): string => new Date(String(time)).toLocaleString();

  async function showSessions(): Promise<void> {
    const list = (await send("GET", "/jwt/sessions/", undefined, accessToken())) as Record<string, unknown>[];
    const rows = list.map((session) => {
      const row = document.createElement("tr");
      row.append(
        element("td", session["current"] === true ? "this one" : "another"),
        element("td", localTime(session["created_at"])),
        element("td", localTime(session["last_used_at"])),
        element("td", String(session["ip"] ?? "unknown")),
      );
      const end = element("button", "End", {
        type: "button",
        "aria-label": `End the session of ${localTime(session["created_at"])}`,
      });
      end.addEventListener("click", () => {
        void run(async () => {
          await send("DELETE", `/jwt/sessions/${encodeURIComponent(String(session["id"]))}/`, undefined, accessToken());
          await showSessions();
        });
      });
      const cell = document.createElement("td");
      cell.append(end);
      row.append(cell);
      return row;
    });
    find("session-rows").replaceChildren(...rows);
    find("sessions").hidden = false;
    say(`${list.length} ${list.length === 1 ? "session" : "sessions"}.`);
  }

  function chooseTab(chosen: HTMLElement): void {
    for (const tab of document.querySelectorAll<HTMLElement>("[role=tab]")) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      find(tab.getAttribute("aria-controls")!).hidden = !isChosen;
    }
    chosen.focus();
  }

  for (const tab of document.querySelectorAll<HTMLElement>("[role=tab]")) {
    tab.addEventListener("click", () => chooseTab(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const other = (key === "ArrowLeft" ? tab.previousElementSibling : tab.nextElementSibling) as HTMLElement | null;
      if ((key === "ArrowLeft" || key === "ArrowRight") && other !== null) chooseTab(other);
    });
  }
  const actions: [id: string, action: () => Promise<void>, isThere: boolean][] = [
    ["refresh", renew, true],
    ["me", showUser, config.hasMe],
    ["list-sessions", showSessions, config.hasSessions],
    ["log-out", logOut, true],
  ];
  for (const [id, action, isThere] of actions) {
    find(id).hidden = !isThere;
    find(id).addEventListener("click", () => void run(action));
  }
  find("login").addEventListener("submit", (event) => {
    event.preventDefault();
    void run(logIn);
  });
  const label = config.usernameField.replaceAll("_", " ");
  find("username-label").textContent = label[0]!.toUpperCase() + label.slice(1);
  find("about").textContent = `${location.origin}${config.prefix}/jwt/ `;
  if (config.hasDocs) find("about").append(element("a", "All endpoints", { href: "/docs" }));
  find("cookie-note").hidden = !config.inCookie;
  setInterval(tick, 500);
}
