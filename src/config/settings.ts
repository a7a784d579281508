import { resolve } from "node:path";
import { LakeError } from "../engine/kernel/errors.ts";
import type { Trace } from "../engine/kernel/trace.ts";
import { type EngineSettings, type Log, systemClock } from "../engine/settings.ts";
import { parseBind } from "../transport/gates/bind.ts";
import type { HttpSettings } from "../transport/http.ts";
import { type Config, defaultThreads } from "./config.ts";

/** Time for the headers, and for the body, of a request. */
const HEADERS_MS = 10_000;
const BODY_MS = 60_000;

/** `allow`: folders that `ingest` may read. */
export function engineSettings(
  config: Config,
  cwd: string,
  allow: string[],
  log: Log,
  trace?: Trace | undefined,
): EngineSettings {
  return {
    data: config.data === "memory" ? "memory" : resolve(cwd, config.data),
    s3: s3Settings(config, cwd),
    allow: allow.map((folder) => resolve(cwd, folder)),
    maxIngestBytes: config.max_ingest_bytes,
    uploadQuotaBytes: config.upload_quota,
    uploadExpiryMs: config.upload_expiry,
    maxIngestRows: config.max_ingest_rows,
    ingestTimeoutMs: config.ingest_timeout,
    ingestMemoryBytes: config.ingest_memory,
    queryMemoryBytes: config.query_memory,
    queryCacheBytes: config.query_cache_bytes,
    maxTempBytes: config.max_temp_bytes,
    threads: config.threads ?? defaultThreads(),
    queryTimeoutMs: config.query_timeout,
    maxQueryTimeoutMs: config.max_query_timeout,
    timeZone: config.time_zone,
    maxConcurrentIngests: config.max_concurrent_ingests,
    maxConcurrentQueries: config.max_concurrent_queries,
    maxQueuedQueries: config.max_queued_queries,
    maxResultBytes: config.max_result_bytes,
    refreshMs: config.refresh,
    jobAfterMs: config.job_after,
    retention: {
      versions: config.retain_versions,
      ageMs: config.retain_age,
      graceMs: config.gc_grace,
    },
    embed: {
      provider: config.embed_provider,
      model: config.embed_model,
      probeMs: config.embed_probe,
      dimension: config.embed_dimension,
      ollamaUrl: config.ollama_url,
      openaiUrl: config.openai_url,
      openaiApiKey: config.openai_api_key,
      queryPrefix: config.embed_query_prefix,
      documentPrefix: config.embed_document_prefix,
      truncate: config.embed_long_texts === "cut",
      timeoutMs: config.embed_timeout,
      concurrency: config.embed_concurrency,
      cacheBytes: config.embed_cache_bytes,
    },
    vector: {
      memoryBytes: config.vector_memory,
      threads: config.vector_threads ?? Math.min(4, config.threads ?? defaultThreads()),
      ef: config.vector_ef,
      hnsw: config.vector_search === "hnsw",
      quietMs: config.vector_quiet,
    },
    clock: systemClock,
    log,
    trace,
  };
}

function s3Settings(config: Config, cwd: string): EngineSettings["s3"] {
  if (config.store === undefined) return undefined;
  if (config.data === "memory") {
    throw new LakeError("invalid", "store wants a folder in data, for copies of what is in the bucket.", {
      hint: "Leave data out, or set it to a folder.",
    });
  }
  const [bucket = "", ...prefix] = config.store.slice("s3://".length).split("/");
  return {
    bucket,
    prefix: prefix.filter(Boolean).join("/"),
    endpoint: config.s3_endpoint,
    region: config.s3_region,
    pathStyle: config.s3_path_style ?? config.s3_endpoint !== undefined,
    credentialsFile: config.s3_credentials_file && resolve(cwd, config.s3_credentials_file),
    profile: config.s3_profile,
    timeoutMs: config.s3_timeout,
    singleWriter: config.s3_single_writer,
    cacheBytes: config.cache_bytes,
  };
}

/** Throws `invalid` for settings that contradict each other. */
export function httpSettings(
  config: Config,
  { cwd, env, log }: { cwd: string; env: Record<string, string | undefined>; log: Log },
): Omit<HttpSettings, "createServer" | "watch" | "whyNotSubscribed"> {
  const publicUrl = config.public_url?.replace(/\/+$/, "");
  return {
    gates: {
      bind: parseBind(config.http),
      hosts: [...(config.allowed_hosts ?? []), ...(publicUrl === undefined ? [] : [new URL(publicUrl).hostname])],
      addresses: config.allowed_ips,
      proxies: config.trusted_proxies ?? [],
      token: config.http_token,
      tokenFile: config.http_token_file && resolve(cwd, config.http_token_file),
      oauth: oauthSettings(config, publicUrl),
      allowNonLoopback: env.LAKEHOUSE_ALLOW_NONLOOPBACK,
    },
    maxSessions: config.max_sessions,
    sessionIdleMs: config.session_idle,
    maxInFlight: config.max_in_flight,
    maxPerCaller: config.max_per_caller,
    maxConnectionsPerAddress: config.max_connections_per_address,
    maxBodyBytes: config.max_body_bytes,
    keepAliveMs: config.keep_alive,
    headersTimeoutMs: HEADERS_MS,
    bodyTimeoutMs: BODY_MS,
    log,
  };
}

/** Without an audience, tokens of the issuer for any other service would be accepted. */
function oauthSettings(
  { oauth_issuer: issuer, oauth_audience, oauth_max_lifetime }: Config,
  publicUrl: string | undefined,
) {
  if (issuer === undefined) {
    if (oauth_audience === undefined) return undefined;
    throw new LakeError(
      "invalid",
      "oauth_audience is set, but oauth_issuer is not: nobody's tokens would be checked.",
      {
        hint: "Set oauth_issuer (LAKEHOUSE_OAUTH_ISSUER) to the identity provider, or leave oauth_audience out.",
      },
    );
  }
  if (publicUrl === undefined) {
    throw new LakeError("invalid", "oauth_issuer wants public_url: clients compare it with the address they use.", {
      hint: "Set public_url (LAKEHOUSE_PUBLIC_URL) to the address clients use, without /mcp.",
    });
  }
  const resource = `${publicUrl}/mcp`;
  return { issuer, audience: oauth_audience ?? resource, resource, maxLifetimeMs: oauth_max_lifetime };
}

/**
 * Where traces are sent, by the variables of OpenTelemetry, without parts that may be secret. Undefined: nowhere. These
 * variables are often set for all programs of a machine, so an unsuitable one is logged, and is not an error.
 */
export function tracesEndpoint(env: Record<string, string | undefined>, log: Log): string | undefined {
  const [name, path] = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
    ? (["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""] as const)
    : (["OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces"] as const);
  const written = env[name]?.trim();
  if (!written || env.OTEL_SDK_DISABLED?.trim().toLowerCase() === "true") return undefined;
  if (env.OTEL_TRACES_EXPORTER?.trim().toLowerCase() === "none") return undefined;
  const url = URL.canParse(written) ? new URL(written) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    log("warn", `no traces are sent: ${name} is no http or https address`, { next: "Write it as http://HOST:4318." });
    return undefined;
  }
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || env.OTEL_EXPORTER_OTLP_PROTOCOL;
  if (protocol?.trim() === "grpc") {
    log("warn", "no traces are sent: OTLP is spoken over HTTP here, and the variables ask for grpc", {
      next: "Set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://HOST:4318/v1/traces and OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json.",
    });
    return undefined;
  }
  return `${url.origin}${url.pathname.replace(/\/$/, "")}${path}`;
}
