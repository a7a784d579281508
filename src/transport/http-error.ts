import { LakeError } from "../engine/kernel/errors.ts";
import type { Log } from "../engine/settings.ts";
import { sentences } from "../tools/error-text.ts";
import type { Refusal } from "./gates/refusal.ts";
import { busy } from "./http-answer.ts";

const STATUS: Partial<Record<LakeError["kind"], number>> = {
  invalid: 400,
  corrupt: 400,
  denied: 403,
  not_found: 404,
  conflict: 409,
  limit: 413,
  closed: 503,
};
const RETRY_S = 60;

/** The answer to a request that failed with `error`. The details of an unexpected error go to the log only. */
export function refusalOf(error: unknown, log: Log): Refusal {
  if (!(error instanceof LakeError) || error.kind === "internal") {
    log("error", "request failed", { error: error instanceof Error ? error.stack : String(error) });
    return { status: 500, message: "Internal error; the server's log has the details." };
  }
  const message = sentences(error);
  if (error.code === "disk_full") return { status: 507, message };
  if (error.code === "own_share") return { status: 429, message };
  if (error.kind === "unavailable") return busy(message, RETRY_S);
  return { status: STATUS[error.kind] ?? 500, message };
}
