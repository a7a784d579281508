import * as z from "zod";
import { countOf } from "../engine/kernel/amounts.ts";
import { inWords } from "../engine/kernel/next-step.ts";
import { visibleLines } from "../engine/kernel/visible.ts";
import type { Checked } from "../engine/upkeep/doctor/doctor.ts";
import { defineCommand } from "./command.ts";
import { jsonText } from "./text.ts";
import { COMMAND_WORDS } from "./words.ts";

export const doctor = defineCommand({
  name: "doctor",
  summary: "Check whether everything the lakehouse needs is here and works.",
  usesWorker: true,
  usage: ["[options]"],
  flags: { json: z.boolean().default(false).describe("Write the report as JSON.") },
  notes: "The exit code is 1 when something fails. The lake is not changed.",
  run: async ({ flags }, { config, cwd, log, out }) => {
    const [{ CHECKS, diagnose }, { engineSettings }] = await Promise.all([
      import("../engine/upkeep/doctor/doctor.ts"),
      import("../config/settings.ts"),
    ]);
    const settings = engineSettings(config, cwd, config.allow ?? [], log);
    const width = Math.max(...CHECKS.map(({ name }) => name.length));
    // Line by line: the embedding service alone may take seconds to answer.
    const { ok, checks } = await diagnose(settings, CHECKS, async (checked) => {
      if (!flags.json) await out.write(visibleLines(linesOf(checked, width)));
    });
    await out.write(
      flags.json ? `${jsonText({ ok, checks: checks.map(inCommandWords) })}\n` : `\n${summaryOf(checks)}\n`,
    );
    return ok ? 0 : 1;
  },
});

function inCommandWords({ fix, ...checked }: Checked) {
  return { ...checked, ...(fix !== undefined && { fix: inWords(fix, COMMAND_WORDS) }) };
}

function linesOf(checked: Checked, width: number): string {
  const { name, status, found, fix } = inCommandWords(checked);
  const line = `${status.padEnd(4)}  ${name.padEnd(width)}  ${found}\n`;
  return fix === undefined || status === "ok" ? line : `${line}${" ".repeat(width + 8)}→ ${fix}\n`;
}

function summaryOf(checks: readonly Checked[]): string {
  const count = (status: string): number => checks.filter((check) => check.status === status).length;
  const failed = count("fail");
  const warned = count("warn");
  const words = [
    ...(failed > 0 ? [`${countOf(failed, "check")} failed`] : []),
    ...(warned > 0 ? [countOf(warned, "warning")] : []),
  ];
  return words.length === 0 ? "All is well." : `${words.join(", ")}.`;
}
