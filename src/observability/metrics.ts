import { monitorEventLoopDelay } from "node:perf_hooks";
import { VERSION } from "../engine/kernel/package.ts";
import type { EngineStats } from "../engine/stats.ts";
import type { UploadUsage } from "../engine/uploads/upload-quota.ts";
import type { Uploads } from "../engine/uploads/uploads.ts";
import { UNKNOWN } from "../mcp/rejected-calls.ts";
import type { OnCall } from "../mcp/serve-call.ts";
import { tools } from "../tools/index.ts";
import type { HttpStatus, Route } from "../transport/http.ts";
import {
  CONTENT_TYPE,
  type Family,
  type Histogram,
  openCounter,
  openHistogram,
  render,
  type Sample,
} from "./prometheus.ts";

export interface MetricsSources {
  engine: { stats(): EngineStats; uploads: Pick<Uploads, "usage"> };
  /** Undefined before the server listens. */
  http: () => HttpStatus | undefined;
}

export interface Metrics {
  onCall: OnCall;
  /** Cheap: reads counters, opens and loads nothing. */
  render(): Promise<string>;
  close(): void;
}

/** Bounds of the histogram: from a cached statement to an index build that its client waits for. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const LOOP_RESOLUTION_MS = 10;
const NS = 1e-9;

/** Labels are names of ours, such as tools and kinds of errors, never text of a client: their number is bounded. */
export function openMetrics({ engine, http }: MetricsSources): Metrics {
  const calls = { tool: openCounter(), resource: openCounter(), prompt: openCounter() };
  const errors = { tool: openCounter(), resource: openCounter(), prompt: openCounter() };
  const seconds = new Map<string, Histogram>();
  // For a rate, each counter needs a value before the first call.
  for (const { name } of tools) {
    calls.tool.add({ tool: name }, 0);
    seconds.set(name, openHistogram(SECONDS));
  }
  calls.tool.add({ tool: UNKNOWN }, 0);
  const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  loop.enable();

  const ofCalls = (): Family[] => [
    counter("lakehouse_tool_calls_total", "Tool calls that have ended.", calls.tool.samples()),
    counter("lakehouse_tool_errors_total", "Tool calls that failed, by kind of error.", errors.tool.samples()),
    {
      name: "lakehouse_tool_duration_seconds",
      type: "histogram",
      help: "How long tool calls took.",
      samples: [...seconds].flatMap(([tool, histogram]) => histogram.samples({ tool })),
    },
    counter("lakehouse_resource_reads_total", "Reads of resources that have ended.", calls.resource.samples()),
    counter("lakehouse_resource_errors_total", "Reads of resources that failed.", errors.resource.samples()),
    counter("lakehouse_prompts_total", "Prompts that were asked for.", calls.prompt.samples()),
  ];

  /** Since the last scrape: over the life of the process, short delays would vanish. */
  const ofLoop = (): Family[] => {
    // The histogram has the time between two samples, which without any delay is the resolution.
    const at = (quantile: number): number => Math.max(0, loop.percentile(quantile) * NS - LOOP_RESOLUTION_MS / 1000);
    const families = [
      gauge("nodejs_eventloop_lag_p50_seconds", "Delay of the event loop since the last scrape, median.", at(50)),
      gauge(
        "nodejs_eventloop_lag_p99_seconds",
        "Delay of the event loop since the last scrape, 99th percentile.",
        at(99),
      ),
      gauge("nodejs_eventloop_lag_max_seconds", "Delay of the event loop since the last scrape, longest.", at(100)),
    ];
    loop.reset();
    return families;
  };

  return {
    onCall: ({ kind, name, outcome, seconds: took }) => {
      calls[kind].add({ [kind]: name });
      if (outcome !== "ok") errors[kind].add({ [kind]: name, kind: outcome });
      if (kind === "tool") seconds.get(name)?.observe(took);
    },
    render: async () => {
      const uploads = await engine.uploads.usage();
      const stats = engine.stats();
      const served = http();
      return render([
        gauge("lakehouse_info", "The version that runs.", [
          { labels: { version: VERSION, node: process.version }, value: 1 },
        ]),
        ...ofCalls(),
        ...(served ? ofHttp(served) : []),
        ...ofEngine(stats),
        ...ofUploads(uploads),
        ...ofResults(stats),
        ...ofCopies(stats),
        ...ofEmbedding(stats),
        ...ofProcess(),
        ...ofLoop(),
      ]);
    },
    close: () => loop.disable(),
  };
}

/** `GET /metrics`, for callers that have passed the gates. */
export function metricsRoute(metrics: Pick<Metrics, "render">): Route {
  return {
    methods: ["GET"],
    access: "caller",
    handle: async (_, response) => {
      const text = await metrics.render();
      response.writeHead(200, { "content-type": CONTENT_TYPE, "cache-control": "no-store" }).end(text);
    },
  };
}

function ofHttp({ responses, refused, running, sessions, subscriptions, connections }: HttpStatus): Family[] {
  return [
    counter(
      "lakehouse_http_requests_total",
      "HTTP requests that have ended, by class of status.",
      by("code", responses),
    ),
    counter("lakehouse_http_refused_total", "HTTP requests that were refused, by gate.", by("gate", refused)),
    gauge("lakehouse_http_requests_in_flight", "Requests of clients that are being served.", running),
    gauge("lakehouse_http_sessions", "Sessions of 2025 clients that are open.", sessions),
    gauge("lakehouse_http_subscriptions", "Subscriptions of 2026 clients that are open.", subscriptions),
    gauge("lakehouse_http_connections", "Connections that are open.", connections),
  ];
}

function ofEngine({ catalog, queries, ingests, jobs, buildsWaiting, vectors, embed }: EngineStats): Family[] {
  return [
    ...(catalog
      ? [
          gauge("lakehouse_datasets", "Live datasets, by kind.", [
            { labels: { kind: "table" }, value: catalog.tables },
            { labels: { kind: "vectors" }, value: catalog.indexes },
          ]),
          gauge("lakehouse_datasets_unreadable", "Datasets whose newest version cannot be read.", catalog.unreadable),
          gauge("lakehouse_dataset_rows", "Rows of all tables, newest versions.", catalog.rows),
          gauge("lakehouse_dataset_size_bytes", "Data files of all datasets, newest versions.", catalog.bytes),
          gauge("lakehouse_vector_items", "Items of all vector indexes.", catalog.items),
        ]
      : []),
    gauge("lakehouse_vector_indexes_in_memory", "Vector indexes in memory.", vectors.indexes),
    gauge("lakehouse_vector_memory_bytes", "What the vector indexes in memory take, as accounted.", vectors.bytes),
    gauge("lakehouse_running", "Work under way, by kind.", [
      { labels: { work: "query" }, value: queries.running },
      { labels: { work: "ingest" }, value: ingests.running },
      { labels: { work: "job" }, value: jobs },
    ]),
    gauge("lakehouse_queued", "Work that waits for its turn, by kind.", [
      { labels: { work: "query" }, value: queries.waiting },
      { labels: { work: "ingest" }, value: ingests.waiting },
      { labels: { work: "build" }, value: buildsWaiting },
      { labels: { work: "embed" }, value: embed.waiting },
    ]),
  ];
}

function ofUploads({ running, bytes, quotaBytes }: UploadUsage): Family[] {
  return [
    gauge("lakehouse_uploads_running", "Uploads that are being received.", running),
    gauge("lakehouse_upload_bytes", "What uploads take, with room for those that are being received.", bytes),
    gauge("lakehouse_upload_quota_bytes", "What they may take.", quotaBytes),
  ];
}

function ofResults({ results }: EngineStats): Family[] {
  return [
    counter("lakehouse_query_cache_hits_total", "Statements answered with a result that was kept.", results.hits),
    counter(
      "lakehouse_query_cache_misses_total",
      "Statements that ran, and whose result could be kept.",
      results.misses,
    ),
    gauge("lakehouse_query_cache_entries", "Results that are kept.", results.entries),
    gauge("lakehouse_query_cache_bytes", "What they take, as accounted.", results.bytes),
    gauge("lakehouse_query_cache_max_bytes", "What they may take.", results.maxBytes),
  ];
}

function ofCopies({ copies }: EngineStats): Family[] {
  if (!copies) return [];
  const { hits, misses, bytes, maxBytes } = copies;
  return [
    counter("lakehouse_file_cache_hits_total", "Data files of the bucket whose copy was there.", hits),
    counter("lakehouse_file_cache_misses_total", "Data files that were fetched from the bucket.", misses),
    ...(bytes === undefined ? [] : [gauge("lakehouse_file_cache_bytes", "What the copies take.", bytes)]),
    gauge("lakehouse_file_cache_max_bytes", "What they may take.", maxBytes),
  ];
}

function ofEmbedding({ embed: { requests, failures, cache } }: EngineStats): Family[] {
  return [
    counter("lakehouse_embedding_requests_total", "Requests for embeddings to their provider.", requests),
    counter("lakehouse_embedding_failures_total", "Requests for embeddings that failed.", failures),
    counter("lakehouse_embedding_cache_hits_total", "Texts whose embedding was remembered.", cache.hits),
    counter("lakehouse_embedding_cache_misses_total", "Texts whose embedding was not remembered.", cache.misses),
    gauge("lakehouse_embedding_cache_entries", "Embeddings that are remembered.", cache.entries),
    gauge("lakehouse_embedding_cache_bytes", "What they take.", cache.bytes),
    gauge("lakehouse_embedding_cache_max_bytes", "What they may take.", cache.maxBytes),
  ];
}

/** Under the names that dashboards for Node expect. */
function ofProcess(): Family[] {
  const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return [
    gauge("process_resident_memory_bytes", "Memory of the process, DuckDB and vectors included.", rss),
    counter("process_cpu_seconds_total", "Time on the processors, of all threads.", (user + system) / 1e6),
    gauge("process_start_time_seconds", "When the process started, since the epoch.", performance.timeOrigin / 1000),
    gauge("nodejs_heap_size_used_bytes", "JavaScript's heap, used.", heapUsed),
    gauge("nodejs_heap_size_total_bytes", "JavaScript's heap.", heapTotal),
    gauge("nodejs_external_memory_bytes", "Memory bound to JavaScript's objects outside of its heap.", external),
  ];
}

const gauge = (name: string, help: string, value: number | Sample[]): Family => family("gauge", name, help, value);
const counter = (name: string, help: string, value: number | Sample[]): Family => family("counter", name, help, value);

function family(type: Family["type"], name: string, help: string, value: number | Sample[]): Family {
  return { name, type, help, samples: typeof value === "number" ? [{ value }] : value };
}

function by(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([name, value]) => ({ labels: { [label]: name }, value }));
}
