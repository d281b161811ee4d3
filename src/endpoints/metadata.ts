import type { ApiRoute } from "../settings/types.ts";

/**
 * Returns what `OPTIONS` tells of a route: DRF's SimpleMetadata of the view.
 * @param parses the media types of the bodies that the route reads; without any, it has no fields.
 */
export function metadataOf({ name, description, fields = [] }: ApiRoute, parses: readonly string[]): object {
  const common = { name, description, renders: ["application/json"], parses };
  if (parses.length === 0) return common;
  const field = (label: string) => ({ type: "string", required: true, read_only: false, label });
  const described = fields.map((key) => [key, field(key[0]!.toUpperCase() + key.slice(1).replaceAll("_", " "))]);
  return { ...common, actions: { POST: Object.fromEntries(described) } };
}
