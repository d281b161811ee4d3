/** Checks every response of a target against its own OpenAPI document. */
import { Ajv2020 } from "ajv/dist/2020.js";
import * as assert from "uvu/assert";
import type { Target, TestRequest, TestResponse } from "./contract-client.ts";

type Content = Record<string, { schema: object }>;
interface OpenapiOperation {
  responses: Record<string, { content?: Content }>;
}
export interface OpenapiDocument {
  paths: Record<string, Record<string, OpenapiOperation>>;
  components: { schemas: object };
}

/** Methods that no operation describes: `HEAD` is a `GET` without its body, and `OPTIONS` describes the path itself. */
const undescribed = new Set(["HEAD", "OPTIONS"]);

/**
 * Returns a function that throws when a response is not one that the document has for the path and the method. A path or
 * method that the document does not have has to get 404 or 405.
 */
export function responseCheck(document: OpenapiDocument) {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: "api", components: document.components });
  const compile = (schema: object) => ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"api#/')));
  const validators = new Map<object, ReturnType<typeof compile>>();
  const detail = { $ref: "#/components/schemas/Detail" };

  function validate(schema: object, { text }: TestResponse, what: string): void {
    const known = validators.get(schema) ?? compile(schema);
    validators.set(schema, known);
    assert.ok(known(JSON.parse(text)), `${what}: ${text} is not documented: ${ajv.errorsText(known.errors)}`);
  }

  return (url: string, { method = "GET" }: TestRequest, response: TestResponse): void => {
    const { status, headers } = response;
    const what = `${method} ${url} ${status}`;
    const path = `${pathOf(url).replace(/\/$/, "")}/`;
    const found = Object.entries(document.paths).find(([name]) => patternOf(name).test(path))?.[1];
    if (undescribed.has(method)) return;
    const operation = found?.[method.toLowerCase()];
    if (operation === undefined) {
      assert.is(status, found === undefined ? 404 : 405, what);
      return validate(detail, response, what);
    }
    const described = operation.responses[status];
    assert.ok(described, `${what} is not documented`);
    if (described!.content === undefined) return assert.is(response.text, "", what);
    const media = described!.content[headers["content-type"]!.split(";")[0]!];
    assert.ok(media, `${what}: ${headers["content-type"]} is not documented`);
    validate(media!.schema, response, what);
  };
}

const patternOf = (name: string): RegExp =>
  new RegExp(`^${`${name.replace(/\/$/, "")}/`.replaceAll(".", "\\.").replace("{id}", "[^/]+")}$`);

/** Returns the decoded path of a URL that starts with it. */
function pathOf(url: string): string {
  const path = url.split("?")[0]!;
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Returns the target with a check of all that it sends. */
export async function documented(target: Target): Promise<Target> {
  const { status, text } = await target.send("/openapi.json", {});
  assert.is(status, 200, text);
  const check = responseCheck(JSON.parse(text) as OpenapiDocument);
  return {
    ...target,
    async send(path, request) {
      const response = await target.send(path, request);
      check(path, request, response);
      return response;
    },
  };
}
