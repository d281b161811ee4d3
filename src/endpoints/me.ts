import type { MaybePromise } from "../maybe-promise.ts";
import type { UserEndpoint } from "./authenticate.ts";

/**
 * Returns the bearer's fields in Djoser's order: `email`, `id` and the username under the name of `usernameField`. The hook
 * `userFields` replaces them.
 */
export const me: UserEndpoint = ({ settings }, { user }): MaybePromise<object> => {
  const { userFields, usernameField } = settings;
  if (userFields !== undefined) return userFields(user);
  const id = asDjangoWrites(user.id);
  // Where users log in with an email, Django's field of that name is the one they log in with.
  if (usernameField === "email") return { id, email: user.username };
  return { email: user.email, id, [usernameField]: user.username };
};

/**
 * Returns an id that is a whole number in its only spelling as a number, which clients of Django expect: stores keep ids as
 * text, and those of an import from Django are numbers. A number too large for JavaScript stays text.
 */
function asDjangoWrites(id: string): string | number {
  return /^(0|[1-9]\d{0,15})$/.test(id) && Number.isSafeInteger(Number(id)) ? Number(id) : id;
}
