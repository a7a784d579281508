import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { keepFound, readCorpus } from "../support/corpus.ts";
import { readParquet } from "../support/ingesting.ts";
import { element, int96, levels, logical, oneColumn, parquetFile, plain } from "../support/parquet-file.ts";
import { mutant, openRandom } from "../support/parquet-mutants.ts";
import { openWorkspace, type ServerProcess, type Workspace } from "./process.ts";

/** More rounds and other seeds find more: LAKEHOUSE_FUZZ_ROUNDS=5000 LAKEHOUSE_FUZZ_SEED=7. */
const ROUNDS = Number(process.env.LAKEHOUSE_FUZZ_ROUNDS ?? 200);
const SEED = Number(process.env.LAKEHOUSE_FUZZ_SEED ?? 1);
/** Made by make.py there, or found here. */
const CORPUS = new URL("../engine/ingest/parquet/files/", import.meta.url);

test("every file of the corpus loads, or is refused by name where it is hostile", async () => {
  const corpus = await readCorpus(CORPUS, ".parquet");
  for (const kind of ["sound", "hostile"])
    expect(
      corpus.some((kept) => kept.kind === kind),
      kind,
    ).toBe(true);
  await using workspace = await openWorkspace();
  const server = await workspace.start();
  for (const { name, bytes, kind } of corpus) {
    const told = await outcome(workspace, server, bytes).catch((error: unknown) => {
      throw new Error(name, { cause: error });
    });
    if (kind !== "found") expect(told, name).toBe(kind === "sound" ? "loaded" : "refused");
  }
});

test(`${ROUNDS} damaged Parquet files load or are refused by name, and the server lives`, {
  timeout: 60_000 + ROUNDS * 2000,
}, async () => {
  await using workspace = await openWorkspace();
  const made = await seedFiles(workspace);
  const kept = (await readCorpus(CORPUS, ".parquet")).filter(({ kind }) => kind !== "hostile");
  const seeds = [...made, ...kept.map(({ bytes }) => bytes)];
  const server = await workspace.start();
  const outcomes = { loaded: 0, refused: 0 };
  for (const [index, seed] of made.entries()) {
    expect(await outcome(workspace, server, seed), `seed ${index}`).toBe("loaded");
  }
  for (let round = 0; round < ROUNDS; round++) {
    const random = openRandom(SEED * 1_000_003 + round);
    const bytes = mutant(seeds[random(seeds.length)] ?? Buffer.alloc(0), random);
    const told = await outcome(workspace, server, bytes).catch(async (error: unknown) => {
      const keptAs = await keepFound(CORPUS, `${SEED}-${round}.parquet`, bytes);
      throw new Error(`Seed ${SEED}, round ${round}. ${keptAs}`, { cause: error });
    });
    outcomes[told] += 1;
  }
  // Both happen, or the changes are none, or nothing is read any more.
  if (ROUNDS >= 200) expect(Math.min(outcomes.loaded, outcomes.refused)).toBeGreaterThan(ROUNDS / 20);
});

async function outcome(workspace: Workspace, server: ServerProcess, bytes: Buffer): Promise<"loaded" | "refused"> {
  await writeFile(join(workspace.folder, "inbox", "mutant.parquet"), bytes);
  const args = { name: "t", path: "mutant.parquet", schema_change: "allow" };
  const result = await server.client.callTool({ name: "ingest", arguments: args }, { timeout: 60_000 });
  if (!result.isError) return "loaded";
  const text = result.content.map((part) => ("text" in part ? part.text : "")).join("\n");
  expect(text).toMatch(/^(?:invalid|limit): /);
  // What is about the table or the ingest's memory is refused without the file.
  if (!/^(?:invalid: (?:Column |A column is called )|limit: The ingest needs more memory)/.test(text))
    expect(text).toContain("mutant.parquet");
  return "refused";
}

/** Small files of all kinds: codecs, encodings, pages of both versions, nesting, types that are read as others. */
async function seedFiles(workspace: Workspace): Promise<Buffer[]> {
  const file = (name: string): string => join(workspace.folder, name);
  const made: [select: string, options: string][] = [
    [
      "i, 'text ' || (i % 7) AS s, i * 1.5 AS d, [i, i + 1] AS l, {'a': i, 'b': 'x'} AS st, make_timestamp(i) AS ts, TIME '01:02:03' AS tm, i::DECIMAL(10, 2) AS dc FROM range(50) t(i)",
      "COMPRESSION zstd",
    ],
    [
      "i, 'text ' || (i % 7) AS s, MAP {i: 'x'} AS m, INTERVAL 1 DAY AS iv FROM range(3000) t(i)",
      "PARQUET_VERSION V2, COMPRESSION snappy",
    ],
    [
      "i::SMALLINT AS i, 'te' || i AS s, i % 2 = 0 AS b FROM range(20) t(i)",
      "COMPRESSION uncompressed, ROW_GROUP_SIZE 8",
    ],
    ["'x' || i AS s, i::FLOAT AS f FROM range(30) t(i)", "COMPRESSION gzip"],
    ["'x' || i AS s FROM range(30) t(i)", "COMPRESSION brotli"],
    ["'x' || i AS s FROM range(30) t(i)", "COMPRESSION lz4_raw"],
  ];
  const seeds: Buffer[] = [];
  for (const [index, [select, options]] of made.entries()) {
    await readParquet(`COPY (SELECT ${select}) TO '${file(`seed${index}.parquet`)}' (FORMAT parquet, ${options})`);
    seeds.push(await readFile(file(`seed${index}.parquet`)));
  }
  return [
    ...seeds,
    oneColumn("INT64", { logical: logical.time("us") }, [1, 2]),
    oneColumn("INT64", { logical: logical.timestamp("ns", true) }, [1, 2]),
    oneColumn("INT96", {}, [int96(2440588, 1n)]),
    oneColumn("FIXED", { length: 4, logical: logical.decimal(5, 2) }, [Buffer.alloc(4)]),
    parquetFile(
      {
        elements: [
          element("c", { children: 1, converted: 1, repetition: "optional" }),
          element("key_value", { children: 1, repetition: "repeated" }),
          element("key", { type: "BYTE_ARRAY", logical: logical.string }),
        ],
        chunks: [
          {
            type: "BYTE_ARRAY",
            path: ["c", "key_value", "key"],
            values: plain("BYTE_ARRAY", ["sql"]),
            count: 1,
            levels: Buffer.concat([levels(0, 1), levels(2, 1)]),
          },
        ],
        rows: 1,
      },
      1,
    ),
  ];
}
