// Bundles the server into `dist`: a file for each program and worker, and chunks that they share, so that a class is one
// class whichever of them asks for it. Loading 300 modules one by one takes longer than all that a start does besides.
import { rm } from "node:fs/promises";
import { build } from "esbuild";

/** Each is started by its path: see `compiledFile` in src/engine/kernel/package.ts. */
const PROGRAMS = [
  "src/main.ts",
  "src/engine/process/main.ts",
  "src/engine/ann/shard-worker.ts",
  "src/engine/ingest/compression/zstd-worker.ts",
  "src/engine/ingest/json/json-worker.ts",
  "src/engine/parquet/arrow-ipc-worker.ts",
];

/** Loaded only where they are needed, from their own packages: each is large, or has files of its own beside it. */
const EXTERNAL = [
  "@aws-sdk/*",
  "@duckdb/*",
  "@opentelemetry/*",
  "apache-arrow",
  "hash-wasm",
  "jose",
  "ollama",
  "parquet-wasm",
];

/** The SDK loads a validator as large as itself for answers to elicitations. This one is loaded by the first of them. */
const lazyValidator = {
  name: "lazy-validator",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@modelcontextprotocol\/server\/_shims$/ }, ({ path }) => ({ path, namespace: "lazy" }));
    onLoad({ filter: /.*/, namespace: "lazy" }, ({ path }) => ({
      contents: `
        import { createRequire } from "node:module";
        export { default as process } from "node:process";
        export class DefaultJsonSchemaValidator {
          getValidator(schema) {
            const { DefaultJsonSchemaValidator } = createRequire(import.meta.url)("${path}");
            return new DefaultJsonSchemaValidator().getValidator(schema);
          }
        }`,
    }));
  },
};

await rm("dist", { recursive: true, force: true });
await build({
  entryPoints: PROGRAMS,
  outbase: "src",
  outdir: "dist",
  chunkNames: "chunks/[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20.19",
  external: EXTERNAL,
  plugins: [lazyValidator],
  sourcemap: "linked",
  logLevel: "warning",
});
