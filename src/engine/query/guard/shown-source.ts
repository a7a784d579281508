import type { Provenance } from "../../catalog/types.ts";
import { withoutLiterals } from "./tokens.ts";

/**
 * What a version was made from, for all who may read the catalog: of a statement without its literals, also where it was
 * committed when these were still recorded.
 */
export function shownSource({ source, options }: Provenance): string {
  return options.format === "sql" && options.literals !== false ? withoutLiterals(source) : source;
}
