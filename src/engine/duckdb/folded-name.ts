/** A name of a column as DuckDB compares it: without the case of ASCII letters. */
export function foldedName(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
