import { LakeError } from "../../kernel/errors.ts";
import { openScope } from "../../kernel/scope.ts";
import type { EngineSettings } from "../../settings.ts";
import type { Check, Finding } from "./check.ts";
import { embeddings } from "./embed-checks.ts";
import { allowed, clock, commits, disk, folder } from "./folder-checks.ts";
import { duckdb, graphs, manifests, node } from "./library-checks.ts";

export type Checked = { name: string } & Finding;

export interface Diagnosis {
  ok: boolean;
  checks: Checked[];
}

/** In the order of the report: what others depend on comes first. */
export const CHECKS: readonly Check[] = [
  node,
  folder,
  disk,
  commits,
  clock,
  allowed,
  duckdb,
  manifests,
  graphs,
  embeddings,
];

/**
 * Looks whether everything the engine needs is there and works, without opening or changing the lake. `onChecked` gets
 * each finding at once. Throws only what that throws.
 */
export async function diagnose(
  settings: EngineSettings,
  checks: readonly Check[] = CHECKS,
  onChecked: (checked: Checked) => Promise<void> = async () => undefined,
): Promise<Diagnosis> {
  const done: Checked[] = [];
  for (const { name, run } of checks) {
    const scope = openScope();
    const finding = await run(settings, scope).catch(failed);
    await scope.close().catch(() => undefined);
    const checked = { name, ...finding };
    done.push(checked);
    await onChecked(checked);
  }
  return { ok: done.every(({ status }) => status !== "fail"), checks: done };
}

function failed(error: unknown): Finding {
  if (error instanceof LakeError) return { status: "fail", found: error.message, fix: error.hint };
  const [reason = ""] = String(error instanceof Error ? error.message : error).split("\n", 1);
  return { status: "fail", found: reason.slice(0, 500) };
}
