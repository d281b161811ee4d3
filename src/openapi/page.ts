/** A page that shows the OpenAPI document: one HTML text without scripts, links to nothing outside, and its own strict policy. */

type Json = Record<string, any>;

/** Raw HTML, so that other texts can be told from it. */
class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text: string): string => text.replace(/[&<>"']/g, (character) => escapes[character]!);

/** Makes HTML of a template, as it stands; values are escaped unless they are HTML or lists of it. */
function markup(parts: TemplateStringsArray, ...values: (Html | Html[] | string | number | false | undefined)[]): Html {
  const shown = values.map((value) => {
    if (value === undefined || value === false) return "";
    if (Array.isArray(value)) return value.map(({ text }) => text).join("");
    return value instanceof Html ? value.text : escape(String(value));
  });
  return new Html(String.raw({ raw: parts }, ...shown));
}

const style = `:root{color-scheme:light dark;--line:light-dark(#d0d7de,#3d444d);--soft:light-dark(#f6f8fa,#151b23);--dim:light-dark(#59636e,#9198a1);
--accent:light-dark(#0550ae,#79c0ff)}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;background:light-dark(#fff,#0d1117);color:light-dark(#1f2328,#f0f6fc)}
h2{border-bottom:1px solid var(--line);margin-top:2.5rem}
h3{font-size:1rem;font-weight:400;margin:0 .5rem 0 0;display:inline}
article,details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0}
summary{padding:.5rem .75rem;cursor:pointer}
article>details{border:0;margin:0}
summary:hover{background:var(--soft)}
.in{padding:0 .75rem .75rem}
.in>:first-child{margin-top:0}
code,pre{font:.875rem/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
pre{background:var(--soft);padding:.5rem .75rem;border-radius:6px;overflow-x:auto;margin:.5rem 0}
b{color:var(--accent);display:inline-block;min-width:4.25em}
details details b{min-width:2.5em}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line)}
a{color:var(--accent)}
p,dt{color:var(--dim)}
dd{margin:0 0 .5rem}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}`;

/** What a server needs to send the page. */
export interface DocsPage {
  readonly body: string;
  /** The value of `Content-Security-Policy`. */
  readonly policy: string;
}

/**
 * Makes the page of an OpenAPI 3.1 document.
 * @see https://www.w3.org/TR/CSP3/#framework-directive-source-list
 */
export async function docsPage(document: Json): Promise<DocsPage> {
  const { info, paths, tags = [], components = {} } = document;
  const resolve = (schema: Json): Json =>
    schema.$ref === undefined ? schema : components.schemas[schema.$ref.split("/").at(-1)];
  const groups = tags.map(({ name }: Json) => {
    const rows = Object.entries<Json>(paths).flatMap(([path, methods]) =>
      Object.entries<Json>(methods)
        .filter(([, operation]) => operation.tags?.includes(name))
        .map(([method, operation]) => operationHtml(method, path, operation, resolve)),
    );
    return markup`<section aria-label="${name}"><h2>${name}</h2>${rows}</section>`;
  });
  const page = markup`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${info.title}</title>
<link rel="icon" href="data:,">
<style>${new Html(style)}</style>
<main>
<h1>${info.title}</h1>
<p>${info.description} The same for machines: <a href="/openapi.json">/openapi.json</a>, version ${info.version}.</p>
${groups}
</main>
</html>
`;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(style)));
  const sources = `style-src 'sha256-${btoa(String.fromCharCode(...hash))}'; img-src data:`;
  return {
    body: page.text,
    policy: `default-src 'none'; ${sources}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  };
}

const jsonHtml = (value: unknown): Html => markup`<pre tabindex="0">${JSON.stringify(value, undefined, 2)}</pre>`;

function operationHtml(method: string, path: string, operation: Json, resolve: (schema: Json) => Json): Html {
  const { summary, description, operationId, security = [], requestBody, responses } = operation;
  const needs = security.length > 0 && markup`<p>Needs an access token.</p>`;
  return markup`<article id="${operationId}"><details>
<summary><b>${method.toUpperCase()}</b> <h3><code>${path}</code></h3> ${summary}</summary>
<div class="in"><p>${description}</p>${needs}
${requestBody && requestHtml(requestBody, resolve)}
${Object.entries<Json>(responses).map(([status, response]) => responseHtml(status, response, resolve))}
</div></details></article>
`;
}

function requestHtml({ content }: Json, resolve: (schema: Json) => Json): Html {
  const { required = [], properties = {} } = resolve(content["application/json"].schema);
  const hasNotes = Object.values<Json>(properties).some(({ description }) => description);
  const rows = Object.entries<Json>(properties).map(([name, { type, description }]) => {
    const isNeeded = required.includes(name) ? "required" : "optional";
    const note = hasNotes && markup`<td>${description}</td>`;
    return markup`<tr><td><code>${name}</code></td><td>${String(type)}, ${isNeeded}</td>${note}</tr>`;
  });
  const note = hasNotes && markup`<th scope="col">Note</th>`;
  const head = markup`<tr><th scope="col">Field</th><th scope="col">Form</th>${note}</tr>`;
  return markup`<p>Takes a body, as ${Object.keys(content).join(", ")}:</p>
<table><thead>${head}</thead><tbody>${rows}</tbody></table>`;
}

function responseHtml(status: string, { description, content = {} }: Json, resolve: (schema: Json) => Json): Html {
  const [media] = Object.values<Json>(content);
  const examples = Object.entries<Json>(media?.examples ?? {}).map(
    ([code, { value }]) => markup`<dt><code>${code}</code></dt><dd>${jsonHtml(value)}</dd>`,
  );
  const shown =
    examples.length > 0 ? markup`<dl>${examples}</dl>` : media && jsonHtml(exampleOf(media.schema, resolve));
  return markup`<details><summary><b>${status}</b> ${description}</summary><div class="in">${shown}</div></details>`;
}

/** Returns a value of the form that a schema describes. */
function exampleOf(schema: Json, resolve: (schema: Json) => Json): unknown {
  const { type, properties = {}, items, const: only, format } = resolve(schema);
  if (only !== undefined) return only;
  switch ([type].flat()[0]) {
    case "object":
      return Object.fromEntries(
        Object.entries<Json>(properties).map(([name, member]) => [name, exampleOf(member, resolve)]),
      );
    case "array":
      return [exampleOf(items, resolve)];
    case "integer":
      return 1;
    case "boolean":
      return true;
    default:
      return format === "date-time" ? "2026-01-01T00:00:00.000Z" : "…";
  }
}
