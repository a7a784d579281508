import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect, test } from "vitest";
import { flagSettings, loadConfig, redacted, unknownSetting } from "../src/config.ts";
import { LakeError } from "../src/engine/errors.ts";

const cwd = mkdtempSync(join(tmpdir(), "lakehouse-config-"));
const load = (flags: Record<string, string | string[]> = {}, env: Record<string, string> = {}, file?: string) =>
  loadConfig({ flags, env, cwd, file }).config;

function toml(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), "lakehouse-config-")), "lakehouse.toml");
  writeFileSync(file, text);
  return file;
}

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
    max_result_bytes: 65_536,
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
  [{ threads: "0" }, "--threads", ">=1"],
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

test("a mistake in the file is shown with its line and a caret", () => {
  const error = refusal(() => load({}, {}, toml('data = "a"\nthreads = = 3\n')));
  expect(error.message).toContain("2:");
  expect(error.message).toContain("threads = = 3");
  expect(error.message).toContain("^");
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

test.each(["openai_api_key = sk-1\n", "openai_api_key = sk-1\nthreads = = 3\n", "'openai_api_key' = \"sk-1\nx\n"])(
  "a mistake in the file does not show a secret beside it: %s",
  (text) => {
    const error = refusal(() => load({}, {}, toml(text)));
    expect(error.message).toContain("openai_api_key");
    expect(`${error.message} ${error.stack} ${String(error.cause)}`).not.toContain("sk-1");
  },
);
