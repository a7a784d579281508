import { type Trace, untraced } from "../kernel/trace.ts";
import type { Ingest } from "./ingest.ts";

/** `ingest` with a span around each call, from the wait for the limiter on. */
export function traced(ingest: Ingest, trace: Trace = untraced): Ingest {
  return {
    ...ingest,
    ingest: (request, options) =>
      trace("ingest", {}, async (span) => {
        const result = await ingest.ingest(request, options);
        span.note({ "lakehouse.rows": result.rows_written, "lakehouse.unchanged": result.unchanged });
        return result;
      }),
  };
}
