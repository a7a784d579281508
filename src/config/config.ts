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
 * Every setting once: the name is the key in `lakehouse.toml`, `LAKEHOUSE_<NAME>` in the environment and `--<na-me>` on
 * the command line; defaults are written as a person would write them; README's table is made from this.
 * `gate`: without it more is let in, so an empty variable, which elsewhere is none, is refused.
 */
export const configSchema = z.strictObject({
  data: z
    .string()
    .min(1)
    .default("./lakehouse-data")
    .describe("Folder the lakehouse lives in; with `store`, what is kept on this machine of one in a bucket."),
  store: z
    .string()
    .regex(S3_URL, 'expected a bucket and a prefix of letters, digits, . _ and -, for example "s3://my-bucket/lake"')
    .optional()
    .describe("Bucket the lakehouse lives in, as `s3://bucket/prefix`. Unset: the `data` folder."),
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
    .describe("Take a bucket that does not keep writers apart; only one process may then ever write to it."),
  cache_bytes: size().prefault("10GiB").describe("Disk that copies of a bucket's data files may take."),
  allow: z
    .array(z.string().min(1, "expected a folder; allow = [] in lakehouse.toml allows none"))
    .optional()
    .describe("Folders `ingest` may read files from. Unset: the working directory and the client's roots.")
    .meta({ gate: true }),
  max_ingest_bytes: size().prefault("256MiB").describe("Largest file or text `ingest` reads, and largest upload."),
  upload_quota: size().prefault("4GiB").describe("Room for all uploads that wait for their `ingest`."),
  upload_expiry: duration().prefault("24h").describe("How long an upload is kept after its last byte has come."),
  max_ingest_rows: count().prefault(100_000_000).describe("Most rows one `ingest` writes."),
  ingest_timeout: duration().prefault("10m").describe("Longest one `ingest` may take."),
  ingest_memory: size().prefault("256MiB").describe("Memory DuckDB may use for one `ingest`."),
  query_memory: size()
    .prefault("2GiB")
    .describe("Memory DuckDB may use for queries, in equal parts for as many as `max_concurrent_queries`."),
  query_cache_bytes: size(0)
    .prefault("32MiB")
    .describe("Results kept in memory, for statements that would give the same again while their data stays. 0: none."),
  max_temp_bytes: size().prefault("10GiB").describe("Disk that queries, and each `ingest`, may spill to."),
  threads: count().optional().describe("Threads DuckDB uses. Unset: one a core."),
  query_timeout: duration().prefault("30s").describe("Longest a query may run, when it does not say."),
  max_query_timeout: duration().prefault("10m").describe("Longest `timeout_ms` that a call of `sql` may ask for."),
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
  max_queued_queries: count(0).prefault(128).describe("Queries that wait for their turn; more are refused."),
  max_result_bytes: size()
    .prefault("28KiB")
    .describe("What a result may take, as text and as JSON each. Clients cut what is longer than 25,000 tokens."),
  refresh: duration().prefault("30s").describe("How often versions committed by other processes are looked for."),
  job_after: duration().prefault("20s").describe("How long a call works before it is answered with a job."),
  retain_versions: count()
    .prefault(10)
    .describe("Newest versions of every dataset that `gc` keeps, however old they are."),
  retain_age: duration(0).prefault("7d").describe("Versions that were the newest so long ago are kept besides."),
  gc_grace: duration()
    .prefault("24h")
    .describe("What has been of no use for a shorter time `gc` leaves alone. Longer than `ingest_timeout`."),
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
    .describe("Length of the vectors, asked for and checked. Unset: the model's own; 512 for builtin."),
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
      "Candidates a vector search keeps in an index of up to 100,000 items, and as many more in a larger one as it takes to find as much: more finds more, and takes longer.",
    ),
  vector_search: z
    .enum(["hnsw", "exact"])
    .default("hnsw")
    .describe("Search graphs, or compare with every vector: exact, and slower the more there are."),
  vector_quiet: duration()
    .prefault("2s")
    .describe("How long an index is left alone before its graph is saved and its small files are merged."),
  http: z
    .string()
    .min(1)
    .default("127.0.0.1:3110")
    .describe("Where `serve` listens. Beyond this machine it wants a token, and `LAKEHOUSE_ALLOW_NONLOOPBACK=1`."),
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
    .describe("Names that clients may reach `serve` by, beside those of `http` and `public_url`; and origins.")
    .meta({ gate: true }),
  allowed_ips: names()
    .optional()
    .describe("Addresses and CIDR ranges that are let in. Unset: all.")
    .meta({ gate: true }),
  trusted_proxies: names()
    .optional()
    .describe("Addresses and CIDR ranges of proxies whose `X-Forwarded-For` is believed.")
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
      "Longest such a token may be valid, from its issue and from now; one for longer, or for ever, is refused.",
    ),
  public_url: url("https://lake.example.com")
    .optional()
    .describe("Address that clients use, when a proxy is in front: `https://lake.example.com`.")
    .meta({ gate: true }),
  max_sessions: count()
    .prefault(64)
    .describe(
      "Sessions of 2025 clients that are open, of which unused ones give way; and subscriptions of newer ones.",
    ),
  session_idle: duration().prefault("30m").describe("How long a session that is not used is kept."),
  max_in_flight: count().prefault(64).describe("HTTP requests that are served at the same time; more get a 503."),
  max_per_caller: count()
    .prefault(48)
    .describe(
      "Requests, sessions, subscriptions and uploads (12 at most), of each, that one token may have at a time, and three quarters of all; more get a 429.",
    ),
  max_connections_per_address: count()
    .prefault(128)
    .describe(
      "Connections of one address (of IPv6: a /64) that have shown no token yet; the oldest gives way. Not for `trusted_proxies`.",
    ),
  max_body_bytes: atMost(size().prefault("4MiB"), 2 ** 28).describe("Longest message over HTTP."),
  keep_alive: atMost(duration().prefault("15s"), 3600e3).describe("How often an open stream sends a sign of life."),
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
  /** Instead of the schema's, for what nobody has set. */
  defaults?: Partial<Record<keyof Config, string>>;
}

/** Defaults < `lakehouse.toml` < `LAKEHOUSE_*` < flags. Throws `invalid` naming the setting, where it stands and the fix. */
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
/** What must not lie in a file beside other settings, which are shown and copied around. */
const isEnvOnly = (name: keyof Config): boolean => configSchema.shape[name].meta()?.envOnly === true;
const isGate = (name: keyof Config): boolean => configSchema.shape[name].meta()?.gate === true;
/** What must not be shown, nor be given as a flag, which other users of the machine can read. */
const isSecret = (name: keyof Config): boolean => configSchema.shape[name].meta()?.secret === true;
/** The settings that are flags too. */
export const flagSettings = settingNames.filter((name) => !isSecret(name));

/** The settings as they may be shown. */
export function redacted(config: Config): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config).map(([name, value]) => [name, isSecret(name as keyof Config) ? "***" : value]),
  );
}

/** Threads the engine gets when the setting is absent. */
export const defaultThreads = (): number => availableParallelism();

/** Settings that are lists, for which a flag can be repeated. */
export const LISTS: ReadonlySet<string> = new Set(["allow", "allowed_hosts", "allowed_ips", "trusted_proxies"]);
/** Variables of ours that are no settings. */
const OTHER_ENV = new Set(["LAKEHOUSE_CONFIG", "LAKEHOUSE_ALLOW_NONLOOPBACK"]);

function fromEnv(env: ConfigSource["env"]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith("LAKEHOUSE_") || OTHER_ENV.has(variable) || value === undefined) continue;
    const key = settingNames.find((name) => envName(name) === variable);
    // An empty variable is none, as everywhere, except where that would leave a gate open that somebody meant to close.
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
 * Where and why, without the lines that the parser's own message shows: which of them holds a secret cannot be known of
 * a file that is wrong.
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
