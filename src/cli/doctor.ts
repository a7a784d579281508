import * as z from "zod";
import { countOf } from "../engine/kernel/amounts.ts";
import { inWords } from "../engine/kernel/next-step.ts";
import type { Diagnosis } from "../engine/upkeep/doctor/doctor.ts";
import { defineCommand } from "./command.ts";
import { jsonText, visibleLines } from "./text.ts";
import { COMMAND_WORDS } from "./words.ts";

export const doctor = defineCommand({
  name: "doctor",
  summary: "Check whether everything the lakehouse needs is here and works.",
  usage: ["[options]"],
  flags: { json: z.boolean().default(false).describe("Write the report as JSON.") },
  notes: "The exit code is 1 when something fails. The lake is not changed.",
  run: async ({ flags }, { config, cwd, log, out }) => {
    const [{ diagnose }, { engineSettings }] = await Promise.all([
      import("../engine/upkeep/doctor/doctor.ts"),
      import("../config/settings.ts"),
    ]);
    const { ok, checks } = await diagnose(engineSettings(config, cwd, config.allow ?? [], log));
    const report = { ok, checks: checks.map(worded) };
    await out.write(`${flags.json ? jsonText(report) : visibleLines(textOf(report.checks))}\n`);
    return ok ? 0 : 1;
  },
});

function worded({ fix, ...check }: Diagnosis["checks"][number]) {
  return { ...check, ...(fix !== undefined && { fix: inWords(fix, COMMAND_WORDS) }) };
}

function textOf(checks: ReturnType<typeof worded>[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, status, found, fix }) => [
    `${status.padEnd(4)}  ${name.padEnd(width)}  ${found}`,
    ...(fix !== undefined && status !== "ok" ? [`${" ".repeat(width + 8)}→ ${fix}`] : []),
  ]);
  const count = (status: string): number => checks.filter((check) => check.status === status).length;
  const failed = count("fail");
  const warned = count("warn");
  const words = [
    ...(failed > 0 ? [`${countOf(failed, "check")} failed`] : []),
    ...(warned > 0 ? [countOf(warned, "warning")] : []),
  ];
  return [...lines, "", words.length === 0 ? "All is well." : `${words.join(", ")}.`].join("\n");
}
