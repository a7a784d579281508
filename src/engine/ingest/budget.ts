import { LakeError } from "../kernel/errors.ts";
import { next, setting } from "../kernel/next-step.ts";
import type { Scope } from "../kernel/scope.ts";
import { folderBytes } from "../kernel/spool-folders.ts";
import type { EngineSettings } from "../settings.ts";

const WATCH_MS = 200;

/** Hint for a source with more rows than `max_ingest_rows`. */
export const FEWER_ROWS = next`Ingest part of it, or raise ${setting("max_ingest_rows")}.`;

/** A signal that aborts with the caller's, and with a `limit` error when the ingest takes too long or too much disk. */
export function openBudget(
  scope: Scope,
  folder: string,
  { ingestTimeoutMs, maxTempBytes }: Pick<EngineSettings, "ingestTimeoutMs" | "maxTempBytes">,
  signal: AbortSignal | undefined,
): AbortSignal {
  const over = new AbortController();
  const timeout = setTimeout(() => {
    over.abort(
      new LakeError("limit", `The ingest took longer than ${ingestTimeoutMs} ms. Nothing was changed.`, {
        hint: next`Ingest a part of the source, or raise ${setting("ingest_timeout")}.`,
        facts: { limit: ingestTimeoutMs, setting: "ingest_timeout" },
      }),
    );
  }, ingestTimeoutMs);
  const watch = setInterval(() => void check(), WATCH_MS);
  let busy = false;
  async function check(): Promise<void> {
    if (busy) return;
    busy = true;
    const bytes = await folderBytes(folder);
    busy = false;
    if (bytes <= maxTempBytes) return;
    over.abort(
      new LakeError("limit", `The ingest needs more than ${maxTempBytes} bytes of disk. Nothing was changed.`, {
        hint: next`Ingest a part of the source, or raise ${setting("max_temp_bytes")}.`,
        facts: { limit: maxTempBytes, setting: "max_temp_bytes" },
      }),
    );
  }
  scope.defer(() => {
    clearTimeout(timeout);
    clearInterval(watch);
  });
  return AbortSignal.any([over.signal, ...(signal ? [signal] : [])]);
}
