import { parseExactInSlices } from "../engine/exact-json.ts";

const LIMITS = {
  /** Deeper than any argument of ours, and shallow enough for everything that walks a message recursively. */
  maxDepth: 100,
  /** As many as a statement takes parameters. The SDK goes through the keys of a message several times, and copies them. */
  maxKeys: 10_000,
  argumentsOnly: true,
};

/** A message of the protocol; numbers in the arguments of a call stay what they are. Throws when it is none. */
export async function parseMessage(bytes: Buffer): Promise<unknown> {
  return parseExactInSlices(new TextDecoder("utf-8", { fatal: true }).decode(bytes), LIMITS);
}
