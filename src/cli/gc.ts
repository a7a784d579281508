import * as z from "zod";
import { bytesOf, countOf } from "../engine/kernel/amounts.ts";
import { visibleLines } from "../engine/kernel/visible.ts";
import type { GcReport } from "../engine/upkeep/gc.ts";
import { defineCommand } from "./command.ts";
import { jsonText } from "./text.ts";
import { openTicker } from "./ticker.ts";

export const gc = defineCommand({
  name: "gc",
  summary: "Show which old versions and unused files can be deleted, or delete them.",
  needsLake: true,
  usage: ["[--delete] [options]"],
  flags: {
    delete: z.boolean().default(false).describe("Delete them; else only say what would be."),
    json: z.boolean().default(false).describe("Write the report as JSON."),
  },
  notes: `Kept are --retain-versions versions of every dataset, and those of --retain-age. A dropped dataset's go by age only.
What has been of no use for less than --gc-grace stays, so that it can run beside servers that read and write. Therefore
the files of removed versions are deleted by the first gc after that time.`,
  run: async ({ flags }, context) => {
    const opened = await context.engine();
    const ticker = await openTicker(context);
    const report = await opened
      .gc({
        delete: flags.delete,
        signal: context.signal,
        onProgress: (done) => ticker.update(`${countOf(done, "dataset")} looked at`),
      })
      .finally(() => ticker.end());
    await context.out.write(`${flags.json ? jsonText(report) : visibleLines(textOf(report))}\n`);
    return 0;
  },
});

function textOf(report: GcReport): string {
  const [remove, free] = report.deleted ? ["Removed", "Deleted"] : ["Would remove", "Would delete"];
  const lines = report.changes.flatMap(({ name, versions, files, bytes, laterFiles, laterBytes, waitsUntil }) => {
    const said = [
      ...(versions
        ? [versions.count === 1 ? `version ${versions.from}` : `versions ${versions.from} to ${versions.to}`]
        : []),
      ...(files > 0 ? [`${countOf(files, "file")}, ${bytesOf(bytes)}`] : []),
      ...(laterFiles > 0 ? [`later ${countOf(laterFiles, "file")}, ${bytesOf(laterBytes)}`] : []),
      ...(waitsUntil ? [`waits for statements until ${waitsUntil}`] : []),
    ];
    return [`  ${name}: ${said.join("; ")}`];
  });
  const { snapshots, spool, jobs } = report;
  const others = [
    ...(snapshots.files > 0 ? [`${countOf(snapshots.files, "saved graph")} (${bytesOf(snapshots.bytes)})`] : []),
    ...(jobs > 0 ? [countOf(jobs, "old job record")] : []),
    ...(spool.files > 0 ? [`${countOf(spool.files, "folder")} of ended processes (${bytesOf(spool.bytes)})`] : []),
  ];
  const later =
    report.laterFiles > 0 ? [`${bytesOf(report.laterBytes)} more are freed by a gc after the grace period.`] : [];
  return [
    `${remove} ${countOf(report.versions, "old version")} and ${countOf(report.files, "unused file")} (${bytesOf(report.bytes)}) of ${countOf(report.datasets, "dataset")}.`,
    ...lines,
    ...(others.length > 0 ? [`${free} ${others.join(", ")}.`] : []),
    ...later,
    ...report.kept.map(({ name, reason }) => `Left as it is: ${name}. ${reason}`),
    ...(report.deleted ? [] : ["Nothing was changed. With --delete it is done."]),
  ].join("\n");
}
