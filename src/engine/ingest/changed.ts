import { LakeError } from "../kernel/errors.ts";

export function changedMeanwhile(label: string): LakeError {
  return new LakeError("conflict", `${label} changed while it was read. Nothing was ingested.`, {
    code: "source_changed",
    hint: "Call again when it is no longer written to.",
  });
}
