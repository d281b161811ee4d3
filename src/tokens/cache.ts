/** A bounded cache of verified tokens. Expiry and revocation are still checked at each hit. */
import type { Claims } from "./claims.ts";

/** Longer tokens are not remembered, so that the number of tokens bounds the memory too. In characters. */
const maxLength = 4096;

/**
 * Direct-mapped: the signature picks the slot. A token enters on its second sight, so tokens that are seen once, as most are
 * where each request brings another, cost one number and no memory.
 */
export class VerifiedTokens {
  readonly #slots: ({ token: string; claims: Claims } | undefined)[];
  /** For each slot the mark of the token that was seen last. */
  readonly #seen: Uint32Array;

  /** @param size number of slots. */
  constructor(size: number) {
    this.#slots = Array.from<undefined>({ length: size });
    this.#seen = new Uint32Array(size);
  }

  get(token: string): Claims | undefined {
    const found = this.#slots[markOf(token) % this.#slots.length];
    return found !== undefined && found.token === token ? found.claims : undefined;
  }

  /** Remembers a token whose signature was valid. */
  set(token: string, claims: Claims): void {
    if (token.length > maxLength) return;
    const mark = markOf(token);
    const slot = mark % this.#slots.length;
    if (this.#seen[slot] === mark) this.#slots[slot] = { token, claims };
    else this.#seen[slot] = mark;
  }
}

/** 32 bits of a token's signature, which are as good as random. */
function markOf(token: string): number {
  let mark = 0;
  for (let i = token.length - 2, last = i - 7; i > last; i--) mark = Math.imul(mark, 61) + token.charCodeAt(i);
  return mark >>> 0;
}
