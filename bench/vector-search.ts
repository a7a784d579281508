import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { writeWorkers } from "../demo/workers.ts";
import { openBareDuckDB } from "./bare-duckdb.ts";
import type { Context } from "./context.ts";
import type { LoopDelay } from "./loop-delay.ts";
import { alternate, inParallel, median, percentile, timed } from "./measure.ts";
import { atMost, type Figure, type Target } from "./report.ts";
import type { BareIndex } from "./vector-bare.ts";
import { loopFigure } from "./vector-build.ts";
import { FILTERS, type Filter, recallOf, type Truth, type VectorData } from "./vector-data.ts";
import { type Engine, INDEX, numbersOf } from "./vector-lake.ts";

export interface Measured {
  context: Context;
  engine: Engine;
  bare: BareIndex;
  data: VectorData;
  truth: Truth;
  late: () => LoopDelay;
  /** Around the lake; the engine may read from it. */
  folder: string;
}

const WARM_UP = 50;
const AT_ONCE = 8;
/** Rounds of all queries before those that count: what a server runs all the time has been compiled. */
const WARM_ROUNDS = 3;
const ROUNDS = 7;
const FIRST_CALLS = 3;
const HYBRID_K = 50;

/** One at a time, several at once, and whether the right ones are found. */
export async function search({ context, engine, bare, data, truth, late }: Measured): Promise<Figure[]> {
  const { queries } = data;
  context.say(`vectors: ${queries.length} searches`);
  const ask = (vector: number[]) => engine.search({ index: INDEX, vector });
  for (const vector of queries.slice(0, WARM_UP)) {
    await ask(vector);
    bare.search(vector);
  }
  const ours: number[] = [];
  const other: number[] = [];
  await alternate(queries.length, [
    async () => void ours.push(await timed(() => ask(queries[ours.length] ?? []))),
    async () => void other.push(await timed(async () => bare.search(queries[other.length] ?? []))),
  ]);

  context.say(`vectors: ${AT_ONCE} searches at once`);
  const rates: number[] = [];
  const bareRates: number[] = [];
  const blocks: number[] = [];
  const rate = (ms: number): number => queries.length / (ms / 1e3);
  await alternate(WARM_ROUNDS + (context.quick ? 2 : ROUNDS), [
    async () => {
      await setImmediate();
      late();
      const work = async (at: number): Promise<void> => void (await ask(queries[at] ?? []));
      rates.push(rate(await timed(() => inParallel(queries.length, AT_ONCE, work))));
      blocks.push(late().blocked);
    },
    async () => {
      const all = async (): Promise<void> => queries.forEach((query) => void bare.search(query));
      bareRates.push(rate(await timed(all)));
    },
  ]);

  const asked = queries.slice(0, truth.all.length);
  const found: number[][] = [];
  for (const vector of asked) found.push(numbersOf(await ask(vector)));
  const p50 = median(ours);
  const [rated, bareRated] = [median(rates.slice(WARM_ROUNDS)), median(bareRates.slice(WARM_ROUNDS))];
  return [
    recallFigure(
      "recall@10",
      truth.all,
      found,
      asked.map((query) => bare.search(query)),
      980,
    ),
    {
      what: "search, p50",
      unit: "ms",
      ours: p50,
      other: median(other),
      target: atMost(p50 - median(other), 0.5, "≤ +0.5 ms"),
    },
    {
      what: "search, p99",
      unit: "ms",
      ours: percentile(ours, 99),
      other: percentile(other, 99),
      target: atMost(percentile(ours, 99), 3 * p50, "≤ 3 × p50"),
    },
    {
      what: `${AT_ONCE} at once, searches a second`,
      unit: "",
      ours: rated,
      other: bareRated,
      target: atLeast(rated, 1.5 * bareRated, "≥ 1.5×"),
    },
    loopFigure(`${AT_ONCE} at once`, Math.max(...blocks.slice(WARM_ROUNDS))),
  ];
}

/** The bare library gets the condition as a function. */
export async function filteredSearch(measured: Measured): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const filter of FILTERS) figures.push(...(await withFilter(measured, filter)));
  return figures;
}

async function withFilter({ context, engine, bare, data, truth }: Measured, filter: Filter): Promise<Figure[]> {
  const { name, where } = filter;
  context.say(`vectors: filter, ${name}`);
  const should = truth.filtered.get(filter) ?? [];
  const queries = data.queries.slice(0, should.length);
  const allows = (n: number): boolean => filter.allows(n, data.clusters[n] ?? 0);

  const first: number[] = [];
  for (let call = 1; call <= FIRST_CALLS; call++) {
    // The same condition in other words, so that nothing remembers it.
    const unseen = `(${where}) AND ${call} = ${call}`;
    first.push(await timed(() => engine.search({ index: INDEX, vector: queries[0] ?? [], where: unseen })));
  }
  await engine.search({ index: INDEX, vector: queries[0] ?? [], where });
  const ours: number[] = [];
  const other: number[] = [];
  const found: number[][] = [];
  const bareFound: number[][] = [];
  await alternate(queries.length, [
    async () => {
      const vector = queries[ours.length] ?? [];
      ours.push(await timed(async () => found.push(numbersOf(await engine.search({ index: INDEX, vector, where })))));
    },
    async () => {
      const query = queries[other.length] ?? [];
      other.push(await timed(async () => bareFound.push(bare.search(query, allows))));
    },
  ]);
  return [
    recallFigure(`filter ${name}: recall@10`, should, found, bareFound, 950),
    { what: `filter ${name}: p50`, unit: "ms", ours: median(ours), other: median(other) },
    { what: `filter ${name}: first call`, unit: "ms", ours: median(first) },
  ];
}

/** A statement that searches and joins, beside its search and its join by themselves. */
export async function hybrid({ context, engine, data, folder }: Measured): Promise<Figure[]> {
  const path = join(folder, "workers.csv");
  context.say(`vectors: hybrid, loading ${data.count} workers`);
  await writeWorkers(path, { rows: data.count });
  await engine.ingest({ name: "workers", source: { path } });

  const statement = (from: string): string => `SELECT w.name, w.city, s.distance
    FROM ${from} JOIN workers w ON w.worker_id = s.id::BIGINT WHERE w.available ORDER BY s.distance LIMIT 20`;
  const whole = statement(`vector_search('${INDEX}', $1, ${HYBRID_K}) s`);
  // No two rounds have a text in common: each way has to embed it.
  const text = (way: string, round: number): string => `forklift driver, nights, badge ${way}${round}`;
  const ours: number[] = [];
  const searches: number[] = [];
  const joins: number[] = [];
  const bareJoins: number[] = [];
  const instance = await openBareDuckDB(join(folder, "lake"), "workers");
  const duckdb = await instance.connect();
  const rounds = context.quick ? 20 : 200;
  const warm = 5;
  await alternate(warm + rounds, [
    async () => void ours.push(await timed(() => engine.query(whole, { params: [text("a", ours.length)] }))),
    async () => {
      let hits: { id: string; distance: number }[] = [];
      searches.push(
        await timed(async () => {
          ({ hits } = await engine.search({ index: INDEX, text: text("b", searches.length), k: HYBRID_K }));
        }),
      );
      const rows = hits.map(({ id, distance }) => `('${id}', ${distance}::FLOAT)`).join(", ");
      const joined = statement(`(VALUES ${rows}) s(id, distance)`);
      joins.push(await timed(() => engine.query(joined)));
      bareJoins.push(await timed(() => duckdb.runAndReadAll(joined)));
    },
  ]);
  duckdb.closeSync();
  instance.closeSync();
  const p50 = (times: number[]): number => median(times.slice(warm));
  const apart = p50(searches) + p50(joins);
  return [
    {
      what: "hybrid statement, p50, and its search + its join",
      unit: "ms",
      ours: p50(ours),
      other: apart,
      target: atMost(p50(ours) - apart, 3, "≤ +3 ms"),
    },
    { what: "hybrid: the search by itself, p50", unit: "ms", ours: p50(searches) },
    {
      what: "hybrid: the join by itself, p50, and in bare DuckDB",
      unit: "ms",
      ours: p50(joins),
      other: p50(bareJoins),
    },
  ];
}

const SCANS = 5;

/** What a search would be without an index: DuckDB compares with every vector of the same files. */
export async function scan({ context, engine, data, folder }: Measured): Promise<Figure[]> {
  context.say("vectors: comparing in bare DuckDB");
  const instance = await openBareDuckDB(join(folder, "lake"), INDEX);
  const duckdb = await instance.connect();
  const [vector = []] = data.queries;
  const type = `FLOAT[${vector.length}]`;
  const sql = `SELECT id FROM ${INDEX} ORDER BY array_cosine_distance(vector::${type}, [${vector.join(", ")}]::${type}) LIMIT 10`;
  const ours: number[] = [];
  const other: number[] = [];
  await alternate(SCANS, [
    async () => void ours.push(await timed(() => engine.search({ index: INDEX, vector }))),
    async () => void other.push(await timed(() => duckdb.runAndReadAll(sql))),
  ]);
  duckdb.closeSync();
  instance.closeSync();
  return [
    {
      what: "search, p50, and comparing with all in bare DuckDB",
      unit: "ms",
      ours: median(ours),
      other: median(other),
    },
  ];
}

/** Recall is in thousandths. */
function recallFigure(what: string, truth: number[][], found: number[][], bare: number[][], least: number): Figure {
  const recall = recallOf(truth, found);
  return {
    what: `${what}, ‰`,
    unit: "",
    ours: recall,
    other: recallOf(truth, bare),
    target: atLeast(recall, least, `≥ ${least}`),
  };
}

function atLeast(value: number, limit: number, text: string): Target {
  return { text, met: value >= limit };
}
