/** What is shared by all that is made for one object, since some hosts create store and handler for each request. It lives as long as the object. */
const shared = new WeakMap<object, Map<string, object>>();

/**
 * Returns what an object's users share under a name.
 * @param owner the object, such as a store.
 * @param create makes it for the first one.
 */
export function sharedBy<T extends object>(owner: object, name: string, create: () => T): T {
  let named = shared.get(owner);
  if (named === undefined) shared.set(owner, (named = new Map()));
  let value = named.get(name) as T | undefined;
  if (value === undefined) named.set(name, (value = create()));
  return value;
}
