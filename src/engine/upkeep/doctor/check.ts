import type { NextStep } from "../../kernel/next-step.ts";
import type { Scope } from "../../kernel/scope.ts";
import type { EngineSettings } from "../../settings.ts";
export interface Finding {
  /** `warn`: it works, but less well than it could. */
  status: "ok" | "warn" | "fail";
  /** What was found: one sentence. */
  found: string;
  /** What to do about it. */
  fix?: NextStep | undefined;
}

export interface Check {
  name: string;
  /** What it opens is closed with the scope. What it throws is a finding, too. */
  run(settings: EngineSettings, scope: Scope): Promise<Finding>;
}
