/** A value as JSON has it. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Values for the parameters of a statement, by position or by name: JSON values, and `ExactNumber`s. */
export type Params = readonly unknown[] | Readonly<Record<string, unknown>>;

/** Whether a text is one JSON value. */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
