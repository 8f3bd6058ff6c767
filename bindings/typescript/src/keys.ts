import * as c from "./native/functions.js";
import { check, outError, outPointer, takeText } from "./native/memory.js";

export interface SigningKey {
  /** 32 bytes, secret: ClientOptions.tenant. */
  seed: Buffer;
  /** base64, for the daemon's configuration. */
  publicKey: string;
}

/** A new Ed25519 key for requests that a tenant signs. */
export function generateSigningKey(): SigningKey {
  const seed = Buffer.alloc(32);
  check(c.signingKeyGenerate(seed, outPointer, outError));
  return { seed, publicKey: takeText() ?? "" };
}

/** Of the library, "0.1.0". */
export const version: string = c.version();
