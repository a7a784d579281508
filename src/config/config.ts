import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, resolve } from "node:path";
import { parse, TomlError } from "smol-toml";
import * as z from "zod";
import { nearest } from "../engine/catalog/nearest.ts";
import { MAX_DIMENSION, MIN_DIMENSION, MODEL_NAME } from "../engine/embed/types.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { LOG_LEVELS } from "../observability/log.ts";
import { atMost, count, duration, NOT_EMPTY, names, size, timeZone, url, yesNo } from "./config-values.ts";

const S3_URL = /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:\/[A-Za-z0-9_][A-Za-z0-9._-]*)*\/?$/;
const modelName = () => z.string().regex(MODEL_NAME, "expected the name of a model");

/**
 * The only list of settings. A name is the key in `lakehouse.toml`, `LAKEHOUSE_<NAME>` in the environment and `--<na-me>`
 * on the command line; docs/settings.md is generated from it. `gate`: the setting restricts access, so an empty variable
 * is an error; elsewhere it counts as unset.
 */
export const configSchema = z.strictObject({
  data: z
    .string()
    .min(1)
    .default("./lakehouse-data")
    .describe("Folder of the lakehouse; with `store`, of the local copies of a bucket's files."),
  store: z
    .string()
    .regex(S3_URL, 'expected a bucket and a prefix of letters, digits, . _ and -, for example "s3://my-bucket/lake"')
    .optional()
    .describe("Bucket of the lakehouse, as `s3://bucket/prefix`. Unset: the `data` folder."),
  s3_endpoint: url("https://s3.example.com").optional().describe("Server of the bucket. Unset: Amazon's."),
  s3_region: z.string().min(1, NOT_EMPTY).default("us-east-1").describe("Region of the bucket."),
  s3_path_style: yesNo()
    .optional()
    .describe("Whether the bucket stands in the path, not in the host name. Unset: with `s3_endpoint`."),
  s3_credentials_file: z
    .string()
    .min(1, NOT_EMPTY)
    .optional()
    .describe(
      "File with the keys, in the format of `~/.aws/credentials`. Unset: environment and files, as the AWS CLI.",
    ),
  s3_profile: z.string().min(1, NOT_EMPTY).optional().describe("Section of that file. Unset: `default`."),
  s3_timeout: duration().prefault("30s").describe("Longest a request to the bucket may take, with its retries."),
  s3_single_writer: yesNo()
    .default(false)
    .describe("Accept a bucket without conditional writes; then only one process may ever write to it."),
  cache_bytes: size().prefault("10GiB").describe("Disk space for local copies of a bucket's data files."),
  allow: z
    .array(z.string().min(1, "expected a folder; allow = [] in lakehouse.toml allows none"))
    .optional()
    .describe("Folders `ingest` may read files from. Unset: the working directory and the client's roots.")
    .meta({ gate: true }),
  max_ingest_bytes: size().prefault("256MiB").describe("Largest file or text `ingest` reads, and largest upload."),
  upload_quota: size().prefault("4GiB").describe("Disk space for uploads that wait for their `ingest`."),
  upload_expiry: duration().prefault("24h").describe("How long an upload is kept after its last byte has come."),
  max_ingest_rows: count().prefault(100_000_000).describe("Most rows one `ingest` writes."),
  ingest_timeout: duration().prefault("10m").describe("Longest one `ingest` may take."),
  ingest_memory: size().prefault("256MiB").describe("Memory DuckDB may use for one `ingest`."),
  query_memory: size()
    .prefault("2GiB")
    .describe("Memory DuckDB may use for queries, in equal parts for as many as `max_concurrent_queries`."),
  query_cache_bytes: size(0)
    .prefault("32MiB")
    .describe("Memory for cached results, used again by the same statement while its data is unchanged. 0: none."),
  max_temp_bytes: size().prefault("10GiB").describe("Disk space for temporary files of queries, and of each `ingest`."),
  threads: count().optional().describe("Threads DuckDB uses. Unset: one a core."),
  query_timeout: duration().prefault("30s").describe("Time limit of a query without `timeout_ms`."),
  max_query_timeout: duration().prefault("10m").describe("Largest `timeout_ms` of a call of `sql`."),
  time_zone: timeZone()
    .default("UTC")
    .describe("IANA name of the zone in which statements take and show moments, as in `America/Chicago`."),
  max_concurrent_ingests: count()
    .prefault(2)
    .describe("Ingests that run at the same time, each in a process; more wait. One token has all but one at most."),
  max_concurrent_queries: count()
    .prefault(4)
    .describe(
      "Queries that run at the same time, each in a process that can use all threads. One token has all but one at most.",
    ),
  max_queued_queries: count(0).prefault(128).describe("Queries that may wait; more are refused."),
  max_result_bytes: size()
    .prefault("28KiB")
    .describe("Largest result, as text and as JSON each. Clients cut what is longer than 25,000 tokens."),
  refresh: duration().prefault("30s").describe("How often versions committed by other processes are looked for."),
  job_after: duration().prefault("20s").describe("How long a call works before it is answered with a job."),
  retain_versions: count()
    .prefault(10)
    .describe("Newest versions of every dataset that `gc` keeps, however old they are."),
  retain_age: duration(0)
    .prefault("7d")
    .describe("`gc` also keeps versions that were the newest less than this long ago."),
  gc_grace: duration()
    .prefault("24h")
    .describe("`gc` keeps files that became unused less than this long ago. Longer than `ingest_timeout`."),
  embed_provider: z
    .enum(["auto", "ollama", "openai", "builtin"])
    .default("auto")
    .describe("Where embeddings come from. `auto`: Ollama when it runs and has the model, else builtin until it does."),
  embed_probe: duration()
    .prefault("5s")
    .describe("How long Ollama has for its first answer, before `auto` takes the builtin and looks again later."),
  embed_model: modelName()
    .optional()
    .describe("Embedding model. Unset: `nomic-embed-text` with Ollama, `text-embedding-3-small` with openai."),
  embed_dimension: z.coerce
    .number()
    .pipe(z.int().min(MIN_DIMENSION).max(MAX_DIMENSION))
    .optional()
    .describe("Length of the vectors, requested and checked. Unset: the model's own; 512 for builtin."),
  embed_query_prefix: z
    .string()
    .optional()
    .describe("Put before texts of kind `query`. Unset: what the nomic, e5 and bge families ask for; empty: nothing."),
  embed_document_prefix: z.string().optional().describe("The same before texts of kind `document`."),
  embed_long_texts: z
    .enum(["cut", "refuse"])
    .default("cut")
    .describe("What Ollama does with a text longer than the model reads."),
  embed_timeout: duration()
    .prefault("60s")
    .describe("Longest it may take to embed the texts of a call, or 256 of an upsert or a build."),
  embed_concurrency: count().prefault(4).describe("Requests to the embedding service at the same time."),
  embed_cache_bytes: size(0).prefault("30.72MB").describe("Vectors kept in memory: 10,000 of 768 dimensions. 0: none."),
  ollama_url: url("http://127.0.0.1:11434").default("http://127.0.0.1:11434").describe("Where Ollama listens."),
  openai_url: url("https://api.openai.com/v1")
    .default("https://api.openai.com/v1")
    .describe('An OpenAI-compatible service, up to and with the version; for `embed_provider = "openai"`.'),
  openai_api_key: z.string().min(1).optional().describe("Its API key. Secret: not a flag.").meta({ secret: true }),
  vector_memory: size()
    .prefault("2GiB")
    .describe("Memory that vector indexes may take; a larger one is searched on disk."),
  vector_threads: count()
    .optional()
    .describe("Threads that a vector index is spread over. Unset: one a core, 4 at most."),
  vector_ef: count()
    .prefault(64)
    .describe(
      "Candidates of a vector search in an index of up to 100,000 items; larger ones use more, for the same recall. More candidates find more, and take longer.",
    ),
  vector_search: z
    .enum(["hnsw", "exact"])
    .default("hnsw")
    .describe("Search graphs, or compare with every vector: exact, and slower the more there are."),
  vector_quiet: duration()
    .prefault("2s")
    .describe("Time without changes before the graph of an index is saved and its small files are merged."),
  http: z
    .string()
    .min(1)
    .default("127.0.0.1:3110")
    .describe(
      "Address that `serve` listens on. Beyond this machine it needs a token, and `LAKEHOUSE_ALLOW_NONLOOPBACK=1`.",
    ),
  http_token: z
    .string()
    .min(1, NOT_EMPTY)
    .optional()
    .describe("Bearer tokens, each with its name: `name:token`, separated by commas. Secret: environment only.")
    .meta({ secret: true, envOnly: true, gate: true }),
  http_token_file: z
    .string()
    .min(1, NOT_EMPTY)
    .optional()
    .describe("File of bearer tokens, one `name:token` a line; a change counts at once.")
    .meta({ gate: true }),
  allowed_hosts: names()
    .optional()
    .describe("Host names and origins that `serve` accepts, besides those of `http` and `public_url`.")
    .meta({ gate: true }),
  allowed_ips: names()
    .optional()
    .describe("Addresses and CIDR ranges that are let in. Unset: all.")
    .meta({ gate: true }),
  trusted_proxies: names()
    .optional()
    .describe("Addresses and CIDR ranges of proxies whose `X-Forwarded-For` is trusted.")
    .meta({ gate: true }),
  oauth_issuer: url("https://login.example.com")
    .optional()
    .describe("Identity provider whose JWTs are accepted as bearer tokens.")
    .meta({ gate: true }),
  oauth_audience: z
    .string()
    .min(1, NOT_EMPTY)
    .optional()
    .describe("Audience they must have. Unset: `public_url` with `/mcp`.")
    .meta({ gate: true }),
  oauth_max_lifetime: duration()
    .prefault("24h")
    .describe(
      "Longest validity of such a token, from its issue and from now; longer ones, and those without end, are refused.",
    ),
  public_url: url("https://lake.example.com")
    .optional()
    .describe("Address that clients use, when a proxy is in front: `https://lake.example.com`.")
    .meta({ gate: true }),
  max_sessions: count()
    .prefault(64)
    .describe(
      "Open sessions of 2025 clients, of which unused ones are closed for new ones; and subscriptions of newer clients.",
    ),
  session_idle: duration().prefault("30m").describe("How long an unused session is kept."),
  max_in_flight: count().prefault(64).describe("HTTP requests that are served at the same time; more get a 503."),
  max_per_caller: count()
    .prefault(48)
    .describe(
      "Requests, sessions, subscriptions and uploads (12 at most), of each, that one token may have at a time, and three quarters of all; more get a 429.",
    ),
  max_connections_per_address: count()
    .prefault(128)
    .describe(
      "Connections of one address (of IPv6: a /64) without a valid token yet; the oldest is closed for a new one. Not for `trusted_proxies`.",
    ),
  max_body_bytes: atMost(size().prefault("4MiB"), 2 ** 28).describe("Longest message over HTTP."),
  keep_alive: atMost(duration().prefault("15s"), 3600e3).describe("Interval of keep-alive comments on open streams."),
  trace_arguments: z
    .enum(["off", "on"])
    .default("off")
    .describe("Whether traces hold the arguments of calls, SQL and texts among them."),
  log_level: z.enum(LOG_LEVELS).default("info").describe("Least serious log line written to stderr."),
});

export type Config = z.output<typeof configSchema>;

export interface ConfigSource {
  flags: Record<string, string | string[]>;
  env: Record<string, string | undefined>;
  cwd: string;
  /** `--config`, or `LAKEHOUSE_CONFIG`. */
  file?: string | undefined;
  /** Replace those of the schema. */
  defaults?: Partial<Record<keyof Config, string>>;
}

/** Defaults < `lakehouse.toml` < `LAKEHOUSE_*` < flags. Throws `invalid` naming the setting and its source. */
export function loadConfig(source: ConfigSource): { config: Config; file: string | undefined } {
  const explicit = source.file ?? source.env.LAKEHOUSE_CONFIG;
  const file = resolve(source.cwd, explicit ?? "lakehouse.toml");
  const present = existsSync(file);
  if (explicit !== undefined && !present) {
    throw new LakeError("invalid", `There is no config file ${explicit}.`, {
      hint: "Create it, or leave out --config.",
    });
  }
  const origin = new Map<string, string>();
  const merged: Record<string, unknown> = {};
  const merge = (values: Record<string, unknown>, where: (key: string) => string): void => {
    for (const [key, value] of Object.entries(values)) {
      merged[key] = value;
      origin.set(key, where(key));
    }
  };
  Object.assign(merged, source.defaults);
  if (present) {
    const label = explicit ?? "lakehouse.toml";
    const values = parseToml(file, label);
    const misplaced = settingNames.find((name) => isEnvOnly(name) && Object.hasOwn(values, name));
    if (misplaced) throw envOnly(`${misplaced} in ${label}`, misplaced);
    merge(values, (key) => `${key} in ${label}`);
  }
  merge(fromEnv(source.env), envName);
  merge(source.flags, flagName);

  const parsed = configSchema.safeParse(merged);
  if (!parsed.success) throw configError(parsed.error, origin);
  return { config: parsed.data, file: present ? file : undefined };
}

export const envName = (key: string): string => `LAKEHOUSE_${key.toUpperCase()}`;
export const flagName = (key: string): string => `--${key.replaceAll("_", "-")}`;
export const settingNames = Object.keys(configSchema.shape) as (keyof Config)[];
/** Secrets that do not belong into a file with other settings, which is shown and copied. */
const isEnvOnly = (name: keyof Config): boolean => configSchema.shape[name].meta()?.envOnly === true;
const isGate = (name: keyof Config): boolean => configSchema.shape[name].meta()?.gate === true;
/** Secrets are never shown, and not flags, which other users of the machine can read. */
const isSecret = (name: keyof Config): boolean => configSchema.shape[name].meta()?.secret === true;
/** Settings that are flags. */
export const flagSettings = settingNames.filter((name) => !isSecret(name));

/** The settings without secrets. */
export function redacted(config: Config): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config).map(([name, value]) => [name, isSecret(name as keyof Config) ? "***" : value]),
  );
}

/** Threads without the setting. */
export const defaultThreads = (): number => availableParallelism();

/** Settings that are lists; their flags can be repeated. */
export const LISTS: ReadonlySet<string> = new Set(["allow", "allowed_hosts", "allowed_ips", "trusted_proxies"]);
/** Our variables that are not settings. */
const OTHER_ENV = new Set(["LAKEHOUSE_CONFIG", "LAKEHOUSE_ALLOW_NONLOOPBACK"]);

function fromEnv(env: ConfigSource["env"]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith("LAKEHOUSE_") || OTHER_ENV.has(variable) || value === undefined) continue;
    const key = settingNames.find((name) => envName(name) === variable);
    // An empty variable counts as unset, except where that would let in more than was meant.
    if (value === "" && (key === undefined || !isGate(key))) continue;
    if (key === undefined) throw unknownSetting(variable, settingNames.map(envName));
    if (key === "allow") values[key] = value === "" ? [value] : value.split(delimiter).filter(Boolean);
    else values[key] = LISTS.has(key) ? [value] : value;
  }
  return values;
}

function parseToml(file: string, label: string): Record<string, unknown> {
  let text = "";
  try {
    text = readFileSync(file, "utf8");
    return parse(text);
  } catch (error) {
    throw new LakeError(
      "invalid",
      error instanceof TomlError ? tomlMistake(error, text, label) : `${label} could not be read.`,
      {
        hint: "README lists the settings and how they are written.",
      },
    );
  }
}

/**
 * Place and reason, without the lines that the parser quotes: they may contain secrets.
 */
function tomlMistake({ line, column, message }: TomlError, text: string, label: string): string {
  const [, key] = /^\s*["']?(\w+)["']?\s*=/.exec(text.split(/\r?\n/)[line - 1] ?? "") ?? [];
  const setting = settingNames.find((name) => name === key);
  const [reason = ""] = message.replace("Invalid TOML document: ", "").split("\n");
  return `${label}, line ${line}, column ${column}${setting === undefined ? "" : ` (${setting})`}: ${reason}.`;
}

function configError(error: z.ZodError, origin: Map<string, string>): LakeError {
  const [issue] = error.issues;
  if (issue?.code === "unrecognized_keys") {
    return unknownSetting(origin.get(issue.keys[0] ?? "") ?? issue.keys[0] ?? "", settingNames);
  }
  const key = String(issue?.path[0] ?? "");
  return new LakeError("invalid", `${origin.get(key) ?? key}: ${issue?.message ?? "is not valid"}.`, {
    hint: configSchema.shape[key as keyof Config]?.description,
    facts: { setting: key },
  });
}

export function unknownSetting(name: string, known: string[]): LakeError {
  const [bare = name] = name.split(" ");
  const secret = settingNames.find((setting) => isSecret(setting) && flagName(setting) === bare);
  if (secret !== undefined && isEnvOnly(secret)) return envOnly(bare, secret);
  if (secret !== undefined) {
    return new LakeError("invalid", `${bare} is secret, and flags can be read by others on this machine.`, {
      hint: `Set ${envName(secret)}, or ${secret} in lakehouse.toml.`,
    });
  }
  const close = nearest(bare, known);
  return new LakeError("invalid", `Unknown setting ${name}.`, {
    code: "unknown_setting",
    facts: { nearest: close },
    hint: close.length > 0 ? `Did you mean ${close.join(" or ")}?` : `Known settings: ${known.join(", ")}.`,
  });
}

function envOnly(where: string, name: keyof Config): LakeError {
  return new LakeError("invalid", `${where}: this secret is read from the environment only.`, {
    hint: `Set ${envName(name)}, or name a file that only the server can read with ${name}_file.`,
  });
}
