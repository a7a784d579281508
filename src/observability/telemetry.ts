import { AsyncLocalStorage } from "node:async_hooks";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Context,
  defaultTextMapGetter,
  type Span as OtelSpan,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace as spans,
} from "@opentelemetry/api";
import { ExportResultCode, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from "@opentelemetry/sdk-trace-base";
import { LakeError } from "../engine/kernel/errors.ts";
import { VERSION } from "../engine/kernel/package.ts";
import type { Span, Trace } from "../engine/kernel/trace.ts";
import type { Log } from "../engine/settings.ts";

export interface Telemetry {
  trace: Trace;
  /** Sends the remaining spans, for at most `ms`. */
  close(ms: number): Promise<void>;
}

const KINDS = { server: SpanKind.SERVER, client: SpanKind.CLIENT };

/**
 * Traces to an OTLP collector over HTTP, configured by the variables `OTEL_*`. Spans are sent in the background, and
 * dropped when that fails: no call is delayed or fails because of it. Registers nothing global with OpenTelemetry.
 */
export function openTelemetry(endpoint: string, log: Log): Telemetry {
  const provider = new BasicTracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ "service.name": "lakehouse-mcp", "service.version": VERSION }))
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(reporting(new OTLPTraceExporter(), endpoint, log))],
  });
  const tracer = provider.getTracer("lakehouse-mcp", VERSION);
  const propagator = new W3CTraceContextPropagator();
  const current = new AsyncLocalStorage<Context>();
  log("info", "traces are sent", { endpoint });

  return {
    trace: async (name, attributes, work, { kind, parent } = {}) => {
      const around =
        kind === "server"
          ? propagator.extract(ROOT_CONTEXT, parent ?? {}, defaultTextMapGetter)
          : (current.getStore() ?? ROOT_CONTEXT);
      const span = tracer.startSpan(name, { attributes, ...(kind && { kind: KINDS[kind] }) }, around);
      const marked = { failed: false };
      try {
        return await current.run(spans.setSpan(around, span), work, spanOf(span, marked));
      } catch (error) {
        // The kind alone: messages name datasets, columns and values.
        if (!marked.failed) fail(span, error instanceof LakeError ? error.kind : "_OTHER");
        throw error;
      } finally {
        span.end();
      }
    },
    close: async (ms) => {
      const sent = provider.shutdown().then(
        () => true,
        // Logged when it happened.
        () => true,
      );
      const late = delay(ms, false, { ref: false });
      if (!(await Promise.race([sent, late]))) log("warn", "the last traces were not sent in time", { endpoint });
    },
  };
}

function spanOf(span: OtelSpan, marked: { failed: boolean }): Span {
  return {
    traceId: span.spanContext().traceId,
    note: (attributes) => void span.setAttributes(attributes),
    fail: (type) => {
      marked.failed = true;
      fail(span, type);
    },
  };
}

function fail(span: OtelSpan, type: string): void {
  span.setAttribute("error.type", type).setStatus({ code: SpanStatusCode.ERROR });
}

/** Logs the first batch that cannot be sent, and none of the later ones. */
function reporting(exporter: SpanExporter, endpoint: string, log: Log): SpanExporter {
  let reported = false;
  return {
    export: (batch, done) =>
      exporter.export(batch, (result) => {
        if (result.code !== ExportResultCode.SUCCESS && !reported) {
          reported = true;
          log("warn", "traces cannot be sent", { endpoint, error: result.error?.message });
        }
        done(result);
      }),
    forceFlush: async () => exporter.forceFlush?.(),
    shutdown: () => exporter.shutdown(),
  };
}
