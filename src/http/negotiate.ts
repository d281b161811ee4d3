/** Content negotiation: the media types of request bodies, and whether a client accepts JSON. */

/** The media types that Django REST framework parses by default. */
export const mediaTypes: readonly string[] = [
  "application/json",
  "application/x-www-form-urlencoded",
  "multipart/form-data",
];

/** Returns whether an `Accept` header allows JSON (RFC 9110 section 12.5.1). A missing or empty header allows everything. */
export function acceptsJson(accept: string | null): boolean {
  if (accept === null || accept === "*/*" || accept.trim() === "") return true;
  return accept.split(",").some((range) => {
    const [type, ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    if (type !== "*/*" && type !== "application/*" && type !== "application/json") return false;
    return !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
  });
}
