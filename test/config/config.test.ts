import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect, test } from "vitest";
import {
  type Config,
  envName,
  flagSettings,
  loadConfig,
  redacted,
  settingNames,
  unknownSetting,
} from "../../src/config/config.ts";
import { engineSettings, httpSettings } from "../../src/config/settings.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";

const cwd = mkdtempSync(join(tmpdir(), "lakehouse-config-"));
const load = (flags: Record<string, string | string[]> = {}, env: Record<string, string> = {}, file?: string) =>
  loadConfig({ flags, env, cwd, file }).config;

function toml(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), "lakehouse-config-")), "lakehouse.toml");
  writeFileSync(file, text);
  return file;
}

/**
 * Settings without a default whose absence lets nothing more in. One that is new belongs here, or is marked as a
 * gate in the schema.
 */
const HARMLESS = new Set([
  "store",
  "s3_endpoint",
  "s3_path_style",
  "s3_credentials_file",
  "s3_profile",
  "threads",
  "embed_model",
  "embed_dimension",
  "embed_query_prefix",
  "embed_document_prefix",
  "openai_api_key",
  "vector_threads",
]);
const isDropped = (name: keyof Config): boolean => HARMLESS.has(name) || Object.hasOwn(load(), name);

function refusal(run: () => unknown): LakeError {
  try {
    run();
  } catch (error) {
    if (error instanceof LakeError) return error;
    throw error;
  }
  throw new Error("was not refused");
}

test("defaults hold without a file, an environment or flags", () => {
  expect(load()).toMatchObject({
    data: "./lakehouse-data",
    max_ingest_bytes: 256 * 2 ** 20,
    query_timeout: 30_000,
    max_result_bytes: 28_672,
    log_level: "info",
  });
  expect(load().allow).toBeUndefined();
});

test("flags win over the environment, which wins over the file", () => {
  const file = toml('data = "a"\nquery_timeout = "5s"\nthreads = 3\nallow = ["x"]\n');
  const config = load({ data: "c" }, { LAKEHOUSE_DATA: "b", LAKEHOUSE_QUERY_TIMEOUT: "7s" }, file);
  expect(config).toMatchObject({ data: "c", query_timeout: 7_000, threads: 3, allow: ["x"] });
});

test.each([
  ["1000", 1000],
  ["1KiB", 1024],
  ["1.5 MiB", 1_572_864],
  ["2GB", 2_000_000_000],
])("the size %s is %i bytes", (written, bytes) => {
  expect(load({ max_ingest_bytes: written }).max_ingest_bytes).toBe(bytes);
});

test("lists come from the environment split like PATH", () => {
  expect(load({}, { LAKEHOUSE_ALLOW: ["/a", "/b c"].join(delimiter) }).allow).toEqual(["/a", "/b c"]);
});

test.each([
  [{ max_ingest_bytes: "lots" }, "--max-ingest-bytes", "256MiB"],
  [{ max_ingest_bytes: "12 parsecs" }, "--max-ingest-bytes", "GiB"],
  [{ max_ingest_bytes: "-1" }, "--max-ingest-bytes", "256MiB"],
  [{ threads: "0" }, "--threads", "expected a whole number from 1 on"],
  [{ max_sessions: "x" }, "--max-sessions", "expected a whole number from 1 on"],
  [{ max_sessions: "1.5" }, "--max-sessions", "expected a whole number from 1 on"],
  [{ max_queued_queries: "x" }, "--max-queued-queries", "expected a whole number from 0 on"],
  [{ log_level: "loud" }, "--log-level", "debug"],
  [{ embed_provider: "cohere" }, "--embed-provider", "ollama"],
  [{ embed_model: "x; id" }, "--embed-model", "name of a model"],
  [{ embed_dimension: "1" }, "--embed-dimension", ">=16"],
  [{ embed_cache_bytes: "-1" }, "--embed-cache-bytes", "256MiB"],
  [{ ollama_url: "127.0.0.1:11434" }, "--ollama-url", "http://127.0.0.1:11434"],
  [{ ollama_url: "file:///etc/passwd" }, "--ollama-url", "http or https"],
  [{ ollama_url: "http://ann:secret@host" }, "--ollama-url", "without user, password"],
  [{ openai_url: "https://host/v1?key=1" }, "--openai-url", "query"],
])("%o is refused and named", (flags, named, allowed) => {
  const error = refusal(() => load(flags as Record<string, string>));
  expect(error.kind).toBe("invalid");
  expect(error.message).toContain(named);
  expect(error.message).toContain(allowed);
});

test.each([
  ["s3_endpoint", "https://s3.example.com"],
  ["ollama_url", "http://127.0.0.1:11434"],
  ["openai_url", "https://api.openai.com/v1"],
  ["oauth_issuer", "https://login.example.com"],
  ["public_url", "https://lake.example.com"],
])("%s that is no address is refused with an example of its own: %s", (name, example) => {
  expect(refusal(() => load({ [name]: "nowhere" })).message).toContain(`for example "${example}"`);
});

test("an unknown variable is refused with the nearest name", () => {
  const error = refusal(() => load({}, { LAKEHOUSE_DATTA: "x" }));
  expect(error.message).toContain("LAKEHOUSE_DATTA");
  expect(error.hint).toContain("LAKEHOUSE_DATA");
});

test("an unknown key of the file is refused with the nearest name", () => {
  const error = refusal(() => load({}, {}, toml('daat = "x"\n')));
  expect(error.message).toContain("daat");
  expect(error.hint).toContain("data");
});

test("a mistake in the file is told with its line, column and setting", () => {
  const error = refusal(() => load({}, {}, toml('data = "a"\nthreads = = 3\n')));
  expect(error.message).toMatch(/lakehouse\.toml, line 2, column 11 \(threads\): invalid value\.$/);
});

test("an explicit file that is missing is refused; a default one is not", () => {
  expect(refusal(() => load({}, {}, "nowhere.toml")).message).toContain("nowhere.toml");
  expect(loadConfig({ flags: {}, env: {}, cwd }).file).toBeUndefined();
});

test("embeddings have a setting for everything, and 0 turns their cache off", () => {
  expect(load()).toMatchObject({
    embed_provider: "auto",
    embed_timeout: 60_000,
    embed_cache_bytes: 10_000 * 768 * 4,
    ollama_url: "http://127.0.0.1:11434",
  });
  const file = toml('embed_cache_bytes = 0\nembed_query_prefix = ""\nopenai_api_key = "sk-1"\n');
  expect(load({}, {}, file)).toMatchObject({ embed_cache_bytes: 0, embed_query_prefix: "", openai_api_key: "sk-1" });
});

test("a secret comes from the environment or the file, not from a flag, and is not shown", () => {
  const config = load({}, { LAKEHOUSE_OPENAI_API_KEY: "sk-1" });
  expect(config.openai_api_key).toBe("sk-1");
  expect(redacted(config).openai_api_key).toBe("***");
  expect(redacted(load())).not.toHaveProperty("openai_api_key");
  expect(flagSettings).not.toContain("openai_api_key");
  expect(flagSettings).toContain("embed_provider");
  const error = unknownSetting("--openai-api-key", []);
  expect(`${error.message} ${error.hint}`).toContain("LAKEHOUSE_OPENAI_API_KEY");
});

test.each([
  ["openai_api_key = sk-1\n", "line 1, column 18 (openai_api_key): "],
  ["openai_api_key = sk-1\nthreads = = 3\n", "line 1, column 18 (openai_api_key): "],
  ["'openai_api_key' = \"sk-1\nx\n", "(openai_api_key): "],
  ["openai_api_ky = sk-1\n", "line 1, column 17: "],
  ["data = 'a'\nsk-1\n", "line 2, column 5: "],
  ['http_token = """\na:sk-1""" junk\n', "line 2, column "],
  ['openai_api_key = [\n  "sk-0",\n  "sk-1" "sk-2",\n]\n', "line 3, column "],
  ['openai_api_key = "x"\n[sk-1\n', "line 2, column "],
])("a mistake in the file shows where it is and nothing of the file: %j", (text, where) => {
  const error = refusal(() => load({}, {}, toml(text)));
  expect(error.message).toContain(where);
  expect(`${error.message} ${error.hint} ${error.stack} ${String(error.cause)}`).not.toMatch(/sk-\d|junk/);
});

test.each([
  'http_tokn = "ann:sk-1"\n',
  '[secrets]\nhttp_token = "ann:sk-1"\n',
  'http_token = ["ann:sk-1"]\n',
  'openai_api_key = ["sk-1"]\n',
  'threads = "sk-1"\n',
  'log_level = "sk-1"\n',
  'ollama_url = "http://ann:sk-1@host"\n',
  'allowed_ips = [{ key = "sk-1" }]\n',
])("a setting that is refused is named without its value: %j", (text) => {
  const error = refusal(() => load({}, {}, toml(text)));
  expect(error.message).toContain(/\w+/.exec(text)?.[0]);
  expect(`${error.message} ${error.hint} ${error.stack} ${String(error.cause)}`).not.toContain("sk-1");
});

test("HTTP has a setting for everything, and serves this machine only", () => {
  expect(load()).toMatchObject({
    http: "127.0.0.1:3110",
    max_sessions: 64,
    session_idle: 30 * 60_000,
    max_in_flight: 64,
    max_body_bytes: 4 * 2 ** 20,
    keep_alive: 15_000,
  });
  for (const gate of ["http_token", "http_token_file", "allowed_hosts", "allowed_ips", "trusted_proxies"]) {
    expect(load()).not.toHaveProperty(gate);
  }
});

test("names and addresses are lists by commas, by repetition and in the file", () => {
  const wanted = ["10.0.0.0/8", "::1"];
  expect(load({}, { LAKEHOUSE_ALLOWED_IPS: "10.0.0.0/8, ::1" }).allowed_ips).toEqual(wanted);
  expect(load({ allowed_ips: ["10.0.0.0/8", "::1"] }).allowed_ips).toEqual(wanted);
  expect(load({ allowed_ips: ["10.0.0.0/8,::1"] }).allowed_ips).toEqual(wanted);
  expect(load({}, {}, toml('allowed_ips = ["10.0.0.0/8", "::1"]\n')).allowed_ips).toEqual(wanted);
});

test.each([
  ["LAKEHOUSE_ALLOWED_IPS", ""],
  ["LAKEHOUSE_ALLOWED_IPS", ","],
  ["LAKEHOUSE_ALLOWED_IPS", "10.0.0.0/8,"],
  ["LAKEHOUSE_OAUTH_ISSUER", " "],
  ...settingNames.filter((name) => !isDropped(name)).map((name) => [envName(name), ""]),
])("%s=%j does not open a gate that somebody meant to close", (variable, value) => {
  expect(refusal(() => load({}, { [variable]: value })).message).toContain(variable);
});

test("an empty variable is none where nothing is let in without it", () => {
  const empty = Object.fromEntries(settingNames.filter(isDropped).map((name) => [envName(name), ""]));
  expect(load({}, empty)).toEqual(load());
});

test("an audience without an issuer is refused: it would check nothing", () => {
  const settings = (flags: Record<string, string>) =>
    httpSettings(load(flags), { cwd, env: {}, log: () => {} }).gates.oauth;
  const error = refusal(() => settings({ oauth_audience: "lake" }));
  expect(error.message).toContain("oauth_audience");
  expect(error.hint).toContain("LAKEHOUSE_OAUTH_ISSUER");
  const issuer = { oauth_issuer: "https://idp.example.com", public_url: "https://lake.example.com/" };
  expect(settings({ ...issuer, oauth_audience: "lake" })).toMatchObject({ audience: "lake" });
  expect(settings(issuer)).toMatchObject({ audience: "https://lake.example.com/mcp" });
  expect(settings({})).toBeUndefined();
});

test("an empty list of addresses is refused in the file too", () => {
  expect(refusal(() => load({}, {}, toml("allowed_ips = []\n"))).message).toContain("allowed_ips in ");
});

test("a token is read from the environment only", () => {
  const config = load({}, { LAKEHOUSE_HTTP_TOKEN: "ann:0123456789abcdef" });
  expect(config.http_token).toBe("ann:0123456789abcdef");
  expect(redacted(config).http_token).toBe("***");
  expect(flagSettings).not.toContain("http_token");
  const inFile = refusal(() => load({}, {}, toml('http_token = "ann:0123456789abcdef"\n')));
  const asFlag = unknownSetting("--http-token", []);
  for (const error of [inFile, asFlag]) {
    expect(error.message).toContain("environment only");
    expect(error.hint).toContain("LAKEHOUSE_HTTP_TOKEN");
    expect(error.hint).toContain("http_token_file");
    expect(`${error.message} ${error.hint} ${error.stack}`).not.toContain("0123456789abcdef");
  }
});

test("the word for other machines is no setting, and no unknown one either", () => {
  expect(load({}, { LAKEHOUSE_ALLOW_NONLOOPBACK: "1" })).not.toHaveProperty("allow_nonloopback");
  expect(refusal(() => load({}, {}, toml('allow_nonloopback = "1"\n'))).message).toContain("allow_nonloopback");
});

test.each([
  [{ max_body_bytes: "1GiB" }, "--max-body-bytes"],
  [{ keep_alive: "0" }, "--keep-alive"],
  [{ keep_alive: "2h" }, "--keep-alive"],
  [{ session_idle: "0" }, "--session-idle"],
  [{ max_sessions: "0" }, "--max-sessions"],
  [{ public_url: "lake.example.com" }, "--public-url"],
  [{ oauth_issuer: "https://user:pw@idp.example.com" }, "--oauth-issuer"],
])("%o is refused and named", (flags, named) => {
  expect(refusal(() => load(flags as Record<string, string>)).message).toContain(named);
});

test("a bucket is named by its address, and what it takes is passed down", () => {
  const env = { LAKEHOUSE_STORE: "s3://my-bucket/lakes/one/", LAKEHOUSE_S3_ENDPOINT: "http://127.0.0.1:9000" };
  const settings = (flags: Record<string, string>, from: Record<string, string> = env) =>
    engineSettings(load(flags, from), "/srv/app", [], () => {}).s3;
  expect(settings({ s3_credentials_file: "keys", cache_bytes: "1GiB" })).toEqual({
    bucket: "my-bucket",
    prefix: "lakes/one",
    endpoint: "http://127.0.0.1:9000",
    region: "us-east-1",
    pathStyle: true,
    credentialsFile: "/srv/app/keys",
    profile: undefined,
    timeoutMs: 30_000,
    singleWriter: false,
    cacheBytes: 2 ** 30,
  });
  expect(settings({}, { LAKEHOUSE_STORE: "s3://bucket" })).toMatchObject({ prefix: "", pathStyle: false });
  expect(settings({ s3_path_style: "false", s3_single_writer: "true" })).toMatchObject({
    pathStyle: false,
    singleWriter: true,
  });
  expect(settings({}, {})).toBeUndefined();
  expect(refusal(() => settings({ data: "memory" })).message).toContain("store wants a folder in data");
});

test.each([
  "bucket",
  "s3://",
  "s3://Bucket",
  "s3://b",
  "s3://my-bucket/../x",
  "s3://my-bucket//x",
  "https://my-bucket",
])("%j is no bucket", (store) => {
  expect(refusal(() => load({ store })).message).toContain("expected a bucket and a prefix");
});

test.each([
  ["America/Chigaco", "America/Chicago"],
  ["Chicago", "America/Chicago"],
  ["New York", "America/New_York"],
  ["+05:30", undefined],
  ["", undefined],
])("time_zone %j is no zone", (name, near) => {
  const mistake = (): unknown => load({}, {}, toml(`time_zone = ${JSON.stringify(name)}`));
  expect(mistake).toThrow(/expected the IANA name of a time zone, as in "America\/Chicago"/);
  if (near !== undefined) expect(mistake).toThrow(new RegExp(`Did you mean .*${near}`));
});

test("time_zone is UTC unless told, and any IANA name", () => {
  const zoneOf = (env: Record<string, string>) => load({}, env).time_zone;
  expect(zoneOf({})).toBe("UTC");
  for (const name of ["America/Chicago", "US/Central", "asia/kolkata", "Etc/GMT+5"]) {
    expect(zoneOf({ LAKEHOUSE_TIME_ZONE: name })).toBe(name);
  }
});
