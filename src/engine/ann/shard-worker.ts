import { parentPort, workerData } from "node:worker_threads";
import type { Metric } from "../catalog/types.ts";
import type { ErrorKind } from "../kernel/error-codes.ts";
import { LakeError } from "../kernel/errors.ts";
import type { NextStep } from "../kernel/next-step.ts";
import { mergeHits } from "./distances.ts";
import { giveBack } from "./give-back.ts";
import type { ShardHits } from "./graph-search.ts";
import { useGraphModule } from "./graph-wasm.ts";
import { openShard, type Shard, type ShardQuery, type ShardStats } from "./shard.ts";
import type { FilePart } from "./snapshot.ts";

/** What the worker is asked. `shard` counts within the index; a worker has some of them. */
export type ShardTask =
  | { op: "open"; dimension: number; metric: Metric; hnsw: boolean; shards: number[] }
  | { op: "stage"; shard: number; slots: Uint32Array; vectors: Float32Array }
  | { op: "publish"; removed: Uint32Array }
  | ({ op: "search"; query: Float32Array } & ShardQuery)
  | { op: "vector"; shard: number; slot: number }
  | { op: "stats" }
  | { op: "settled" }
  | { op: "save"; paths: Record<number, string> }
  | { op: "load"; graphs: Record<number, FilePart> }
  | { op: "close" };

/** What it answers, by what it was asked. */
export interface ShardAnswers {
  open: undefined;
  stage: undefined;
  publish: undefined;
  search: ShardHits;
  vector: Float32Array | undefined;
  stats: ShardStats;
  settled: undefined;
  save: undefined;
  load: undefined;
  close: undefined;
}

/** What a worker starts with. */
export interface ShardWorkerData {
  /** Not 0: stop as soon as no call into the library is under way. Tell the worker by a message without requests. */
  stop: Int32Array;
  /** See `useGraphModule`. */
  graph: Parameters<typeof useGraphModule>[0];
}

export type ShardRequest = ShardTask & { id: number; index: number };

export type ShardReply =
  | { id: number; done: unknown }
  | { id: number; failed: { kind: ErrorKind; message: string; hint: NextStep | undefined } };

interface Index {
  shards: Map<number, Shard>;
  /** What no search sees before it is published. */
  staged: { shard: Shard; slots: Uint32Array; vectors: Float32Array }[];
  /** Requests to answer once nothing waits for the graphs. */
  waiting: number[];
}

/** Longest turn that builds: a search that comes in waits for its end. */
const STEP_MS = 5;
/** Answers found in less go out together: a message costs more than what is in it. */
const REPLY_MS = 1;
const indexes = new Map<number, Index>();
let building: NodeJS.Immediate | undefined;

/** Graphs that are read or written just now, by threads that are not this one. */
let filesOpen = 0;

/** An answer that comes when there is one. */
const LATER = Symbol("later");

const { stop, graph } = workerData as ShardWorkerData;
useGraphModule(graph);
let outbox: ShardReply[] = [];
let posted = 0;

parentPort?.on("message", (requests: ShardRequest[]) => {
  posted = performance.now();
  for (const request of requests) {
    if (leave()) return;
    answer(request);
    if (performance.now() - posted > REPLY_MS) post();
  }
  resume();
});

/** A thread that is terminated inside the library takes the process with it, so it ends itself when it is out of it. */
function leave(): boolean {
  if (Atomics.load(stop, 0) === 0) return false;
  if (filesOpen === 0) process.exit();
  return true;
}

function answer(request: ShardRequest): void {
  try {
    const answered = handle(request);
    if (answered instanceof Promise)
      void answered.then((done) => reply(request.id, done), fail(request.id)).then(resume);
    else if (answered !== LATER) reply(request.id, answered);
  } catch (error) {
    fail(request.id)(error);
  }
}

function resume(): void {
  if (leave()) return;
  build();
  post();
}

function handle(request: ShardRequest): unknown {
  if (request.op === "open") {
    const { dimension, metric, shards } = request;
    const { hnsw } = request;
    const open = (shard: number): Shard => openShard({ dimension, metric, hnsw, seed: 100 + shard });
    indexes.set(request.index, {
      shards: new Map(shards.map((shard) => [shard, open(shard)])),
      staged: [],
      waiting: [],
    });
    return undefined;
  }
  const index = indexes.get(request.index);
  if (!index) throw new LakeError("closed", "The index is closed.");
  switch (request.op) {
    case "stage":
      index.staged.push({ ...request, shard: shardOf(index, request.shard) });
      return undefined;
    case "publish":
      for (const shard of index.shards.values()) shard.remove(request.removed);
      for (const { shard, slots, vectors } of index.staged.splice(0)) {
        shard.add(slots, vectors);
        giveBack(vectors);
      }
      return undefined;
    case "search":
      return search(index, request.query, request);
    case "vector":
      return shardOf(index, request.shard).vector(request.slot);
    case "stats":
      return total([...index.shards.values()].map((shard) => shard.stats()));
    case "settled":
      index.waiting.push(request.id);
      return LATER;
    case "save":
      return eachFile(request.paths, (shard, path) => shardOf(index, shard).save(path));
    case "load":
      return eachFile(request.graphs, (shard, graph) => shardOf(index, shard).load(graph));
    case "close":
      for (const shard of index.shards.values()) shard.close();
      for (const id of index.waiting) fail(id)(new LakeError("closed", "The index is closed."));
      indexes.delete(request.index);
      return undefined;
  }
}

function search(index: Index, query: Float32Array, options: ShardQuery): ShardHits {
  const found = [...index.shards.values()].map((shard) => shard.search(query, options));
  return { ...mergeHits(found, options.k), exact: found.every(({ exact }) => exact) };
}

function total(stats: ShardStats[]): ShardStats {
  const sum = (pick: (of: ShardStats) => number): number => stats.reduce((all, of) => all + pick(of), 0);
  return {
    graph: sum((of) => of.graph),
    pending: sum((of) => of.pending),
    deleted: sum((of) => of.deleted),
    bytes: sum((of) => of.bytes),
  };
}

/** All of them, also when one fails: what still runs must not be taken for over. */
async function eachFile<Each>(
  files: Record<number, Each>,
  run: (shard: number, file: Each) => Promise<void>,
): Promise<void> {
  filesOpen += 1;
  const results = await Promise.allSettled(Object.entries(files).map(([shard, file]) => run(Number(shard), file)));
  filesOpen -= 1;
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}

function shardOf(index: Index, shard: number): Shard {
  const found = index.shards.get(shard);
  if (!found) throw new LakeError("internal", `Shard ${shard} is not in this worker.`);
  return found;
}

/**
 * Moves vectors into graphs while there are any, a little at a time: all messages that have come in meanwhile are
 * answered before the next turn.
 */
function build(): void {
  for (const index of indexes.values()) {
    if (index.waiting.length === 0 || ![...index.shards.values()].every(({ settled }) => settled)) continue;
    for (const id of index.waiting.splice(0)) reply(id, undefined);
  }
  if (building) return;
  const next = takeTurn();
  if (!next) return;
  building = setImmediate(() => {
    building = undefined;
    if (leave()) return;
    try {
      next.step(STEP_MS);
    } catch (error) {
      next.giveUp(error);
    }
    resume();
  });
}

let turn = 0;

/** The next of the shards that can build. */
function takeTurn(): Shard | undefined {
  const able = [...indexes.values()].flatMap(({ shards }) => [...shards.values()]).filter((shard) => shard.canStep);
  turn += 1;
  return able[turn % able.length];
}

function post(): void {
  if (outbox.length > 0) parentPort?.postMessage(outbox);
  outbox = [];
  posted = performance.now();
}

function reply(id: number, done: unknown): void {
  outbox.push({ id, done });
}

function fail(id: number): (error: unknown) => void {
  return (error) => {
    const known = error instanceof LakeError ? error : undefined;
    const message = known?.message ?? `The search worker failed: ${error instanceof Error ? error.message : error}`;
    const failed = { kind: known?.kind ?? ("internal" as const), message, hint: known?.hint };
    outbox.push({ id, failed });
  };
}
