import type { CommandContext } from "./command.ts";
import type { TableColumn } from "./table.ts";
import type { Json } from "./text.ts";

/** Writes a table as wide as the terminal, and notes on stderr what was left out or cut. */
export async function writeTable(
  columns: readonly TableColumn[],
  rows: readonly Json[][],
  { out, err }: Pick<CommandContext, "out" | "err">,
): Promise<void> {
  // Loaded here: the library that measures text takes longer to load than a short command runs.
  const { renderTable } = await import("./table.ts");
  const { text, hidden, cut } = renderTable(columns, rows, out.isTTY ? out.columns : undefined);
  await out.write(text);
  if (hidden > 0) {
    const shown = columns.length - hidden;
    await err.write(`${shown} of ${columns.length} columns fit; select fewer, or use --output csv, ndjson or json.\n`);
  }
  if (cut && !out.isTTY) await err.write("Long values are cut; --output csv, ndjson or json has all of them.\n");
}
