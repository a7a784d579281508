import * as z from "zod";
import { bytesOf, countOf } from "../engine/kernel/amounts.ts";
import { visibleLines } from "../engine/kernel/visible.ts";
import type { VerifyReport } from "../engine/upkeep/verify.ts";
import { defineCommand } from "./command.ts";
import { jsonText } from "./text.ts";
import { openTicker } from "./ticker.ts";

export const verify = defineCommand({
  name: "verify",
  summary: "Check every manifest, data file and saved index of the lake.",
  needsLake: true,
  usage: ["[--quick] [options]"],
  flags: {
    quick: z.boolean().default(false).describe("Look at names and sizes only; do not read the files."),
    json: z.boolean().default(false).describe("Write the report as JSON."),
  },
  notes: "The exit code is 1 when something is missing or damaged. Nothing is changed.",
  run: async ({ flags }, context) => {
    const opened = await context.engine();
    const ticker = await openTicker(context);
    const report = await opened
      .verify({
        quick: flags.quick,
        signal: context.signal,
        onProgress: ({ datasets, bytes }) =>
          ticker.update(`${countOf(datasets, "dataset")} checked, ${bytesOf(bytes)} read`),
      })
      .finally(() => ticker.end());
    await context.out.write(`${flags.json ? jsonText(report) : visibleLines(textOf(report))}\n`);
    return report.ok ? 0 : 1;
  },
});

function textOf(report: VerifyReport): string {
  const { datasets, manifests, files, bytes, snapshots, problems, problemsTotal, unused } = report;
  const checked = [
    countOf(datasets, "dataset"),
    countOf(manifests, "version"),
    `${countOf(files, "data file")} (${report.quick ? "sizes only" : `${bytesOf(bytes)} read`})`,
    countOf(snapshots, "saved graph"),
  ].join(", ");
  return [
    `${checked}: ${problemsTotal === 0 ? "all sound." : `${countOf(problemsTotal, "problem")}.`}`,
    ...problems.map(({ dataset, what, versions, kind }) => {
      const of =
        versions && (versions[0] === versions[1] ? ` version ${versions[0]}` : ` versions ${versions.join(" to ")}`);
      return `  ${dataset}${of ?? ""}: ${what}${FIXES[kind]}`;
    }),
    ...(problemsTotal > problems.length ? [`  … and ${problemsTotal - problems.length} more`] : []),
    ...(unused.files > 0
      ? [
          `${countOf(unused.files, "data file")} (${bytesOf(unused.bytes)}) belong to no version: harmless, gc deletes old ones.`,
        ]
      : []),
  ].join("\n");
}

const BACKUP = " Restore it from a backup, or bring an older version back with restore";

const FIXES: Record<VerifyReport["problems"][number]["kind"], string> = {
  manifest:
    " Restore it from a backup; or remove it, if it is the newest, which takes the dataset back to the version before.",
  gap: " Restore it from a backup.",
  missing: `${BACKUP}; in a folder, ingesting the same source again brings it back, too.`,
  // While a file of this name exists, an ingest of the same source does not write it again.
  size: `${BACKUP}; or remove it, and ingest the dataset again.`,
  hash: `${BACKUP}; or remove it, and ingest the dataset again.`,
  snapshot: " It is made again by itself.",
  unreadable: "",
};
