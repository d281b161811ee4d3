/** The console: one self-contained page that tries the endpoints of the server it comes from. */
import { type ConsoleConfig, startConsole } from "./app.ts";
import { createExchanges } from "./exchanges.ts";
import { startFigures } from "./figures.ts";

export interface ConsolePage {
  readonly html: string;
  /** The `Content-Security-Policy` under which nothing but this page's own style and program is run, and only the server is called. */
  readonly policy: string;
}

/** Makes the page. It is the same for every visitor and holds nothing that is secret. */
export async function makeConsolePage(config: ConsoleConfig): Promise<ConsolePage> {
  const settings = JSON.stringify(config).replaceAll("<", "\\u003c");
  // tsx gives functions their names by a helper of that name, which the page lacks.
  const program = `"use strict";const __name=(target)=>target;
(${startFigures.toString()})(${JSON.stringify(config.metricsUrl)?.replaceAll("<", "\\u003c")});
(${startConsole.toString()})(${settings},${createExchanges.toString()});`.replaceAll("</script", "<\\/script");
  const [styleHash, programHash] = await Promise.all([hashOf(style), hashOf(program)]);
  const connect = config.metricsUrl === undefined ? "'self'" : `'self' ${new URL(config.metricsUrl).origin}`;
  const policy = [
    "default-src 'none'",
    "img-src data:", // the empty icon, without which browsers request /favicon.ico
    `style-src '${styleHash}'`,
    `script-src '${programHash}'`,
    `connect-src ${connect}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  return { html: `${head}<style>${style}</style></head>${body}<script>${program}</script></body></html>\n`, policy };
}

/** Returns the hash of an inline style or script, as CSP names it (Content Security Policy Level 3, section 2.3.1). */
async function hashOf(text: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return `sha256-${btoa(String.fromCharCode(...hash))}`;
}

const head = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>jwt-endpoints: console</title>`;

const style = `
:root { color-scheme: light dark; --back: #fff; --room: #f5f6f8; --text: #1c2027; --dim: #545c69; --line: #cdd2da;
  --accent: #0b57b7; --on-accent: #fff; --bad: #b3261e; --good: #11693a; --one: #a0280f; --two: #6b2fa0; --three: #0b5f87 }
@media (prefers-color-scheme: dark) { :root { --back: #14171c; --room: #1d2128; --text: #e7eaef; --dim: #a5aebb; --line: #3b424d;
  --accent: #8ab8ff; --on-accent: #10233f; --bad: #ff8f85; --good: #7fd6a0; --one: #ff9a85; --two: #d0a8ff; --three: #7fcbf2 } }
* { box-sizing: border-box }
[hidden] { display: none !important }
body { margin: 0 auto; padding: 1rem 1.25rem 3rem; max-width: 82rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 1rem }
h1 { font-size: 1.35rem; margin: .25rem 0 } h2 { font-size: 1.05rem; margin: 1.25rem 0 .5rem } h3 { font-size: .95rem; margin: 0 0 .35rem }
p { margin: .35rem 0 } header p, .note { color: var(--dim) } a { color: var(--accent) }
[role=tablist] { display: flex; gap: .25rem; border-bottom: 1px solid var(--line); margin-top: .5rem }
[role=tab] { border: 0; border-bottom: 3px solid transparent; border-radius: 0; background: none; color: var(--dim); padding: .5rem .9rem }
[role=tab][aria-selected=true] { border-color: var(--accent); color: var(--text); font-weight: 600 }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 2rem }
@media (max-width: 60rem) { .columns { grid-template-columns: minmax(0, 1fr) } }
label { display: block; margin: .5rem 0 }
input { display: block; width: 100%; max-width: 22rem; padding: .45rem .6rem; font: inherit; color: inherit; background: var(--back);
  border: 1px solid var(--dim); border-radius: .35rem }
button { font: inherit; padding: .35rem .8rem; border: 1px solid var(--dim); border-radius: .35rem; background: var(--room); color: var(--text);
  cursor: pointer }
button:hover { border-color: var(--accent) } button:disabled { opacity: .5; cursor: default }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); font-weight: 600 }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.buttons { display: flex; flex-wrap: wrap; gap: .5rem }
article { background: var(--room); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem .9rem; margin: 0 0 .75rem }
.countdown { float: right; font-weight: 600; font-variant-numeric: tabular-nums; color: var(--good) } .countdown.expired { color: var(--bad) }
.token, pre { font: .82rem/1.45 ui-monospace, monospace; overflow-wrap: anywhere }
.token span:nth-child(1) { color: var(--one) } .token span:nth-child(2) { color: var(--two) } .token span:nth-child(3) { color: var(--three) }
pre { margin: 0 0 .5rem; padding: .6rem .7rem; white-space: pre-wrap; background: var(--room); border: 1px solid var(--line); border-radius: .35rem;
  max-height: 26rem; overflow: auto }
article pre { background: var(--back); max-height: 16rem }
.beside { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: .75rem }
@media (max-width: 34rem) { .beside { grid-template-columns: minmax(0, 1fr) } }
#problem { color: var(--bad); font-weight: 600 } #status { color: var(--good) } #status, #problem { min-height: 0 }
#title-history { margin-top: 1.25rem } #history { padding-left: 1.4rem; color: var(--dim) } #history button { border: 0; background: none; color: var(--text); padding: .1rem .3rem;
  font: .82rem ui-monospace, monospace; text-align: left; overflow-wrap: anywhere }
.scroll { overflow-x: auto; margin: 1rem 0 } table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); font-weight: 400 } thead th { color: var(--dim) }
#charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem } figure { margin: 0 }
figcaption { color: var(--dim); font-size: .9rem } svg { display: block; width: 100%; background: var(--room); border-bottom: 1px solid var(--line) }
polyline { fill: none; stroke: var(--accent); stroke-width: 2 }
@media (prefers-reduced-motion: no-preference) { button { transition: border-color .12s } }
`;

const body = `<body>
<header><h1>jwt-endpoints</h1><p id="about"></p></header>
<main>
<div role="tablist" aria-label="Views">
<button type="button" role="tab" id="tab-tokens" aria-controls="tokens" aria-selected="true">Tokens</button>
<button type="button" role="tab" id="tab-figures" aria-controls="figures" aria-selected="false" tabindex="-1">Metrics</button>
</div>
<div role="tabpanel" id="tokens" aria-labelledby="tab-tokens" class="columns">
<section aria-labelledby="title-tokens"><h2 id="title-tokens">Log in, and use the tokens</h2>
<form id="login">
<label><span id="username-label">Username</span> <input id="username" autocomplete="username" autocapitalize="none" spellcheck="false" required></label>
<label>Password <input id="password" type="password" autocomplete="current-password" required></label>
<p><button class="main">Log in</button></p>
</form>
<div id="actions" hidden class="buttons" role="group" aria-label="Actions">
<button type="button" class="main" id="refresh">Refresh</button>
<button type="button" id="me">Who am I?</button>
<button type="button" id="list-sessions">Sessions</button>
<button type="button" id="log-out">Log out</button>
</div>
<p id="status" role="status"></p><p id="problem" role="alert"></p>
<p class="note" id="no-tokens">The server's first start prints a user and a password in its terminal. Tokens stay in this page's memory:
reloading it forgets them.</p>
<p class="note" id="cookie-note" hidden>This server keeps a token in a cookie that pages can't read.</p>
<div id="sessions" hidden class="scroll"><h2 id="title-sessions">Sessions</h2>
<table aria-labelledby="title-sessions"><thead><tr><th scope="col">Session</th><th scope="col">Logged in</th><th scope="col">Last used</th>
<th scope="col">Address</th><th scope="col">Action</th></tr></thead><tbody id="session-rows"></tbody></table></div>
<div id="cards"></div>
</section>
<section aria-labelledby="title-exchange"><h2 id="title-exchange">Request and response</h2>
<div class="beside">
<div><h3 id="title-request">Request</h3><pre id="request" tabindex="0" role="region" aria-labelledby="title-request">None yet.</pre></div>
<div><h3 id="title-response">Response</h3><pre id="response" tabindex="0" role="region" aria-labelledby="title-response">None yet.</pre></div>
</div>
<p><button type="button" id="copy-curl" disabled>Copy as curl</button></p>
<h3 id="title-history" hidden>Earlier</h3><ol id="history" aria-labelledby="title-history"></ol>
</section>
</div>
<div role="tabpanel" id="figures" aria-labelledby="tab-figures" hidden>
<h2>Metrics</h2>
<p class="note" id="figures-note">This server serves no figures. Start it with --metrics 127.0.0.1:9464 to see them here.</p>
<div id="charts"></div>
<div class="scroll" id="figure-table" hidden><table aria-label="Requests by endpoint"><thead><tr><th scope="col">Endpoint</th><th scope="col">Requests</th>
<th scope="col">Refused</th><th scope="col">A second</th><th scope="col">95 % answered in</th></tr></thead><tbody id="figure-rows"></tbody></table></div>
</div>
</main>`;
