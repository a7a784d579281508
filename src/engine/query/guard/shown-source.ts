import type { Provenance } from "../../catalog/types.ts";
import { withoutLiterals } from "./tokens.ts";

/**
 * The source of a version, for everybody who may read the catalog: a statement without its literals, which old versions
 * still have.
 */
export function shownSource({ source, options }: Provenance): string {
  return options.format === "sql" && options.literals !== false ? withoutLiterals(source) : source;
}
