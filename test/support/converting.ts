import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { literalList, openDuck } from "../../src/engine/duckdb/duckdb.ts";
import type { Compression, ConvertContext, Converted, Converter, Source } from "../../src/engine/ingest/types.ts";
import { openScope } from "../../src/engine/kernel/scope.ts";

export interface Converting {
  /** A source file in this bench's own folder, described as ingest would. */
  source(name: string, data: string | Uint8Array, compression?: Compression): Promise<Source>;
  /** Runs a converter in a fresh locked DuckDB, and reads back what it wrote. */
  convert(
    converter: Converter,
    source: Source,
    overrides?: Partial<ConvertContext>,
    /** What to read back. Default: all. */
    select?: string,
  ): Promise<Converted & { values: Record<string, unknown>[] }>;
  /** Runs SQL in an unlocked DuckDB, to make source files: `$folder` stands for the folder. */
  make(sql: string): Promise<void>;
  readonly folder: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A folder and DuckDB instances for testing converters one by one, without ingest around them. */
export async function openConverting(): Promise<Converting> {
  const folder = await mkdtemp(join(tmpdir(), "lake-convert-"));
  let runs = 0;
  return {
    folder,
    async source(name, data, compression = "none") {
      const path = join(folder, name);
      await writeFile(path, data);
      return { path, label: basename(name), compression, bytes: (await stat(path)).size };
    },
    async convert(converter, source, overrides = {}, select = "") {
      const scope = openScope();
      const output = join(folder, `run-${runs++}`);
      await mkdir(join(output, "out"), { recursive: true });
      try {
        const duck = await openDuck(scope, {
          folders: [join(output, "out")],
          files: [source.path],
          memoryBytes: 256 * 1024 ** 2,
          threads: 2,
          tempFolder: join(output, "tmp"),
          maxTempBytes: 1024 ** 3,
        });
        const converted = await converter(source, {
          duck,
          folder: join(output, "out"),
          onBadRows: "fail",
          maxRows: 1_000_000,
          ...overrides,
        });
        const connection = await duck.connect();
        const values = await connection.rows(
          `${select} FROM read_parquet(${literalList(converted.files.map(({ path }) => path))}) LIMIT 100`,
        );
        connection.close();
        return { ...converted, values };
      } finally {
        await scope.close();
      }
    },
    async make(sql) {
      const { DuckDBInstance } = await import("@duckdb/node-api");
      const instance = await DuckDBInstance.create(":memory:");
      const connection = await instance.connect();
      await connection.run(sql.replaceAll("$folder", folder));
      connection.closeSync();
      instance.closeSync();
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
