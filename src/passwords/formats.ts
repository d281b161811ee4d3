/** The names and limits of the formats, in a file of their own: the settings need them, but not the hashers. */

/**
 * The formats, weakest first. A login replaces a stored hash by one of the preferred format if the stored format stands
 * before the preferred one, or if its work is below the minimum of OWASP's Password Storage Cheat Sheet. So a stored hash
 * is never replaced by a weaker one.
 */
export const formats = [
  "pbkdf2_sha1", // SHA-1 is faster than SHA-256 on an attacker's hardware
  "bcrypt", // ignores everything after 72 bytes
  "pbkdf2_sha256", // needs no memory, so an attacker can compute very many in parallel
  "bcrypt_sha256", // 4 KiB a hash, read at random places
  "scrypt", // 16 MiB a hash with Django's work factors
  "argon2", // 100 MiB a hash with Django's work factors
] as const;

/** A format, named as in the stored hash before the first `$`. */
export type PasswordAlgorithm = (typeof formats)[number];

/** A format in which new hashes can be made. */
export type PreferredAlgorithm = Exclude<PasswordAlgorithm, "bcrypt">;

export const preferredFormats = formats.filter((format): format is PreferredAlgorithm => format !== "bcrypt");

/** OWASP's minimum for PBKDF2 with SHA-256 and the default for new hashes. */
export const defaultIterations = 600_000;

/** Far above any real use; a damaged or hostile count must not compute for minutes. */
export const maxIterations = 20_000_000;
