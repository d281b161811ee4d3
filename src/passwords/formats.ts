/** What the settings and the hashers share, apart from the hashers, so that settings load none. */

/**
 * The formats, weakest first. At a login a hash gives way to a new one of the preferred format when its own format stands
 * before that one, or when it was made with less work than OWASP's Password Storage Cheat Sheet asks of its format. So no
 * stored hash is ever replaced by a weaker one.
 */
export const formats = [
  "pbkdf2_sha1", // SHA-1 runs faster on an attacker's hardware than SHA-256
  "bcrypt", // ignores all of a password after 72 bytes
  "pbkdf2_sha256", // needs no memory, so that attackers compute very many at once
  "bcrypt_sha256", // 4 KiB for each, at random places
  "scrypt", // 16 MiB for each, as Django makes it
  "argon2", // 100 MiB for each, as Django makes it
] as const;

/** The formats, by the names in front of the hashes. */
export type PasswordAlgorithm = (typeof formats)[number];

/** A format of new hashes. */
export type PreferredAlgorithm = Exclude<PasswordAlgorithm, "bcrypt">;

export const preferredFormats = formats.filter((format): format is PreferredAlgorithm => format !== "bcrypt");

/** OWASP's least for PBKDF2 with SHA-256, and what new hashes have by default. */
export const defaultIterations = 600_000;

/** Ten times what anybody uses; a damaged or hostile count must not hold a place for minutes. */
export const maxIterations = 20_000_000;
