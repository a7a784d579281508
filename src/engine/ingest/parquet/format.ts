import { startsWithName } from "../magic.ts";
import type { FormatSpec } from "../types.ts";

export const parquet: FormatSpec = {
  title: "Parquet",
  extensions: ["parquet"],
  isStart: (start) => startsWithName(start, "PAR1"),
  isInferred: false,
  takesCsvOptions: false,
  isColumnar: true,
  isOneThread: false,
  converter: async () => (await import("./parquet.ts")).convertParquet,
};
