import type { FormatSpec } from "../types.ts";

const shared = { isInferred: true, takesCsvOptions: true, isColumnar: false, isOneThread: true } as const;

export const csv: FormatSpec = {
  ...shared,
  title: "CSV",
  extensions: ["csv"],
  converter: async () => (await import("./csv.ts")).convertCsv,
};

export const tsv: FormatSpec = {
  ...shared,
  title: "TSV",
  extensions: ["tsv", "tab"],
  converter: async () => (await import("./csv.ts")).convertTsv,
};
