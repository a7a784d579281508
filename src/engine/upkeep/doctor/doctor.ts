import { LakeError } from "../../kernel/errors.ts";
import { openScope, type Scope } from "../../kernel/scope.ts";
import type { EngineSettings } from "../../settings.ts";
import { embeddings } from "./embed-checks.ts";
import { allowed, clock, commits, disk, folder } from "./folder-checks.ts";
import { duckdb, graphs, manifests, node } from "./library-checks.ts";

export interface Finding {
  /** `warn`: it works, but less well than it could. */
  status: "ok" | "warn" | "fail";
  /** What was found: one sentence. */
  found: string;
  /** What to do about it. */
  fix?: string | undefined;
}

export interface Check {
  name: string;
  /** What it opens is closed with the scope. What it throws is a finding, too. */
  run(settings: EngineSettings, scope: Scope): Promise<Finding>;
}

export interface Diagnosis {
  ok: boolean;
  checks: ({ name: string } & Finding)[];
}

/** In the order of the report: what others depend on comes first. */
const CHECKS: readonly Check[] = [node, folder, disk, commits, clock, allowed, duckdb, manifests, graphs, embeddings];

/** Looks whether everything the engine needs is there and works, without opening or changing the lake. Never throws. */
export async function diagnose(settings: EngineSettings, checks: readonly Check[] = CHECKS): Promise<Diagnosis> {
  const done: Diagnosis["checks"] = [];
  for (const { name, run } of checks) {
    const scope = openScope();
    const finding = await run(settings, scope).catch(failed);
    await scope.close().catch(() => undefined);
    done.push({ name, ...finding });
  }
  return { ok: done.every(({ status }) => status !== "fail"), checks: done };
}

function failed(error: unknown): Finding {
  if (error instanceof LakeError) return { status: "fail", found: error.message, fix: error.hint };
  const [reason = ""] = String(error instanceof Error ? error.message : error).split("\n", 1);
  return { status: "fail", found: reason.slice(0, 500) };
}
