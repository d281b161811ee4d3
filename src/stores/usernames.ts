/** How names of users compare, under either {@link UsernameMatching}. */

/**
 * Returns a name with differences of case taken out: two names that fold alike are one under `case-insensitive`.
 * A name that is its own fold is returned as the same string, so that a map of both holds its text once.
 */
export function foldUsername(username: string): string {
  if (/^[ -@[-~]*$/.test(username)) return username; // ASCII without capitals: most names
  // Lower case first: the capital ẞ has no other upper case form, but its small form ß becomes SS.
  const folded = username.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC");
  return folded === username ? username : folded;
}

/**
 * Returns 53 bits of a name: FNV-1a over its UTF-16 units forwards and backwards. Journals hold it, so it stays as it is.
 * A collision does no harm: a user whose name collides with a former one gets an issued-before mark without need.
 */
export function usernameDigest(username: string): number {
  let [forwards, backwards] = [0x811c9dc5, 0x811c9dc5];
  for (let i = 0; i < username.length; i++) {
    forwards = Math.imul(forwards ^ username.charCodeAt(i), 0x01000193);
    backwards = Math.imul(backwards ^ username.charCodeAt(username.length - 1 - i), 0x01000193);
  }
  return 2 ** 21 * (forwards >>> 0) + (backwards >>> 11);
}
