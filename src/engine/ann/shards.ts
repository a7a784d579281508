import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { Metric } from "../catalog/types.ts";
import { throwIfAborted, untilAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import { compiledFile } from "../kernel/package.ts";
import type { Scope } from "../kernel/scope.ts";
import { mergeHits } from "./distances.ts";
import type { ShardHits } from "./graph-search.ts";
import { graphModule } from "./graph-wasm.ts";
import type { ShardQuery, ShardStats } from "./shard.ts";
import type { ShardAnswers, ShardReply, ShardRequest, ShardTask, ShardWorkerData } from "./shard-worker.ts";
import type { FilePart } from "./snapshot.ts";

export interface ShardPool {
  /** An empty index. Throws `closed` once the pool is. */
  openIndex(options: IndexOptions): ShardedIndex;
}

export interface IndexOptions {
  dimension: number;
  metric: Metric;
  /** Parts that are searched side by side; slot `s` is in part `s % shards`. */
  shards: number;
}

/**
 * Vectors by slot, an unsigned 32-bit integer that is never used twice, spread over worker threads. Calls that write
 * (`add`, `remove`, `change`, `settled`, `save`, `load`) take effect in the order they were made, also when not awaited. After
 * `close` all of them throw `closed`; when a worker has died, `internal`.
 */
export interface ShardedIndex {
  /** Copies `vectors`, which lie back to back and must not change before it resolves: then they are searchable. */
  add(slots: Uint32Array, vectors: Float32Array): Promise<void>;
  /** Slots that are not there are ignored. */
  remove(slots: Uint32Array): Promise<void>;
  /**
   * Additions and removals that every search sees all of, or none: one that is asked for before `onPublish` is called
   * none, one after it all.
   */
  change(added: readonly Vectors[], removed: Uint32Array, onPublish?: () => void): Promise<void>;
  /** At most `k`, nearest first. */
  search(query: Float32Array, options: ShardQuery & { signal?: AbortSignal | undefined }): Promise<ShardHits>;
  /** Under cosine, of length 1. */
  vector(slot: number): Promise<Float32Array | undefined>;
  stats(): Promise<ShardStats>;
  /** Resolves when no vector waits for the graph. */
  settled(signal?: AbortSignal): Promise<void>;
  /**
   * Writes one file a shard into `folder` and returns their paths, by shard. What is added and removed meanwhile is not
   * in them: `onSent` is called at that moment. Throws `conflict` when vectors wait for the graph or another save runs.
   */
  save(folder: string, onSent?: () => void): Promise<string[]>;
  /** Reads what an index of the same dimension, metric and number of shards saved. This one has to be empty. */
  load(graphs: readonly FilePart[]): Promise<void>;
  /** Gives the memory back. Calls in flight fail or finish. Closing twice is harmless. */
  close(): Promise<void>;
  /** A worker of this index has died: open another. */
  readonly broken: boolean;
}

export interface Vectors {
  slots: Uint32Array;
  /** Back to back. */
  vectors: Float32Array;
}

type StageTask = Extract<ShardTask, { op: "stage" }>;

interface Member {
  worker: Worker;
  /** Of requests that are not answered yet, by their number. */
  calls: Map<number, { resolve: (done: unknown) => void; reject: (error: LakeError) => void }>;
  /** Requests of this turn: one message for all of them, since a message costs more than what is in it. */
  outbox: { requests: ShardRequest[]; transfer: ArrayBuffer[] };
  stopFlag: Int32Array;
  exited: Promise<unknown>;
  /** Why it takes no more requests. */
  ended: LakeError | undefined;
}

/** A message with vectors: what is copied, and later let go of, at once. A millisecond, or some on a busy machine. */
const PIECE_BYTES = 1024 ** 2;
const NONE = new Uint32Array(0);

/**
 * Threads start with the first index, and end with `scope`, whatever they are doing. They keep no process alive, but close
 * the scope before `process.exit`: a thread that is building then aborts the process.
 */
export function openShardPool(scope: Scope, settings: { threads: number; hnsw: boolean }): ShardPool {
  const members: (Member | undefined)[] = [];
  let opened = 0;
  let closed = false;
  scope.defer(async () => {
    closed = true;
    const running = members.filter((member) => member !== undefined);
    for (const member of running) end(member, poolClosed());
    await Promise.all(running.map(stop));
  });

  const memberAt = (at: number): Member => {
    const there = members[at];
    if (there && !there.ended) return there;
    const member = startMember();
    members[at] = member;
    return member;
  };

  return {
    openIndex: (options) => {
      if (closed) throw poolClosed();
      opened += 1;
      const homes = Array.from({ length: options.shards }, (_, shard) => memberAt((opened + shard) % settings.threads));
      return openIndex(opened, { ...options, hnsw: settings.hnsw }, homes);
    },
  };
}

function openIndex(index: number, options: IndexOptions & { hnsw: boolean }, homes: Member[]): ShardedIndex {
  const { dimension, metric, shards, hnsw } = options;
  const members = [...new Set(homes)];
  const shardsOf = members.map((member) => homes.flatMap((home, shard) => (home === member ? [shard] : [])));
  let closing: Promise<void> | undefined;

  const refuseClosed = (): void => {
    if (closing) throw new LakeError("closed", "The index is closed.");
  };
  const toAll = <Task extends ShardTask>(task: (own: number[]) => Task): Promise<ShardAnswers[Task["op"]][]> =>
    Promise.all(members.map((member, at) => ask(member, index, task(shardsOf[at] as number[]))));
  const toShard = <Task extends ShardTask & { shard: number }>(
    task: Task,
    transfer: ArrayBuffer[] = [],
  ): Promise<ShardAnswers[Task["op"]]> => ask(homes[task.shard] as Member, index, task, transfer);

  const writes = openWrites(refuseClosed);
  const write = <T>(send: () => Promise<T>): Promise<T> => writes.inOrder(async () => ({ answer: send() }));

  const change: ShardedIndex["change"] = (added, removed, onPublish) =>
    writes.inOrder(async () => {
      for (const vectors of added) await stage(vectors, { dimension, shards }, toShard);
      // Requests of one turn reach all workers in the order they were made.
      const published = toAll(() => ({ op: "publish", removed }));
      onPublish?.();
      return { answer: published.then(() => undefined) };
    });

  const search: ShardedIndex["search"] = async (query, { signal, ...searched }) => {
    refuseClosed();
    throwIfAborted(signal);
    const ef = efOfShard(searched, shards);
    const hits = await untilAborted(
      toAll(() => ({ op: "search", query, ...searched, ef })),
      signal,
    );
    return { ...mergeHits(hits, searched.k), exact: hits.every(({ exact }) => exact) };
  };

  const save: ShardedIndex["save"] = async (folder, onSent) => {
    const paths = homes.map((_, shard) => join(folder, `shard-${shard}.hnsw`));
    await write(() => {
      const saved = toAll((own) => ({ op: "save", paths: pick(paths, own) }));
      onSent?.();
      return saved;
    });
    return paths;
  };

  // Without one of its shards an index is nothing; whoever asks it next is told.
  toAll((own) => ({ op: "open", dimension, metric, hnsw, shards: own })).catch(() => {});
  return {
    add: (slots, vectors) => change([{ slots, vectors }], NONE),
    remove: (slots) => change([], slots),
    change,
    search,
    vector: async (slot) => {
      refuseClosed();
      return toShard({ op: "vector", shard: slot % shards, slot });
    },
    stats: async () => {
      refuseClosed();
      return sumOf(await toAll(() => ({ op: "stats" })));
    },
    settled: async (signal) => {
      throwIfAborted(signal);
      await untilAborted(
        write(() => toAll(() => ({ op: "settled" }))),
        signal,
      );
    },
    save,
    load: async (graphs) => {
      if (graphs.length !== shards) {
        throw new LakeError("corrupt", `The index has ${shards} shards, the snapshot ${graphs.length}.`);
      }
      await write(() => toAll((own) => ({ op: "load", graphs: pick(graphs, own) })));
    },
    close: () => {
      // A worker that has died holds nothing any more.
      closing ??= writes
        .last()
        .then(() => toAll(() => ({ op: "close" })))
        .then(
          () => {},
          () => {},
        );
      return closing;
    },
    get broken() {
      return members.some(({ ended }) => ended !== undefined);
    },
  };
}

/** Sends vectors in pieces, which no search sees yet. Failures are told with what is published. */
async function stage(
  { slots, vectors }: Vectors,
  { dimension, shards }: Pick<IndexOptions, "dimension" | "shards">,
  toShard: (task: StageTask, transfer: ArrayBuffer[]) => Promise<unknown>,
): Promise<void> {
  const rows = Math.max(1, Math.floor(PIECE_BYTES / (dimension * 4)));
  for (let start = 0; start < slots.length; start += rows) {
    if (start > 0) await setImmediate();
    const piece = slots.subarray(start, start + rows);
    for (const { shard, at } of split(piece, shards)) {
      const own = new Float32Array(at.length * dimension);
      at.forEach((from, to) => {
        own.set(vectors.subarray((start + from) * dimension, (start + from + 1) * dimension), to * dimension);
      });
      const picked = Uint32Array.from(at, (from) => piece[from] as number);
      toShard({ op: "stage", shard, slots: picked, vectors: own }, [own.buffer]).catch(() => {});
    }
  }
}

/** A worker takes messages in the order sent; so a write is sent when all of those before it are. */
function openWrites(assertOpen: () => void) {
  let last: Promise<unknown> = Promise.resolve();
  return {
    inOrder: async <T>(send: () => Promise<{ answer: Promise<T> }>): Promise<T> => {
      assertOpen();
      const sent = last.then(send);
      last = sent.catch(() => {});
      return (await sent).answer;
    },
    last: () => last,
  };
}

/**
 * A search of all shards finds what one graph's search with `ef` candidates finds with fewer in each: the nearest are
 * spread over them.
 */
function efOfShard({ k, ef }: ShardQuery, shards: number): number {
  return shards === 1 ? ef : Math.max(k, Math.ceil(ef / shards) + 4);
}

function sumOf(parts: readonly ShardStats[]): ShardStats {
  const sum = (of: keyof ShardStats): number => parts.reduce((all, part) => all + part[of], 0);
  return { graph: sum("graph"), pending: sum("pending"), deleted: sum("deleted"), bytes: sum("bytes") };
}

/** Positions in `slots`, by the shard they belong to; shards without one are left out. */
function split(slots: Uint32Array, shards: number): { shard: number; at: number[] }[] {
  const parts = Array.from({ length: shards }, (_, shard) => ({ shard, at: [] as number[] }));
  slots.forEach((slot, at) => void parts[slot % shards]?.at.push(at));
  return parts.filter(({ at }) => at.length > 0);
}

function pick<Each>(all: readonly Each[], shards: number[]): Record<number, Each> {
  return Object.fromEntries(shards.map((shard) => [shard, all[shard] as Each]));
}

let requests = 0;

function ask<Task extends ShardTask>(
  member: Member,
  index: number,
  task: Task,
  transfer: ArrayBuffer[] = [],
): Promise<ShardAnswers[Task["op"]]> {
  return new Promise((resolve, reject) => {
    if (member.ended) {
      reject(member.ended);
      return;
    }
    requests += 1;
    // Whoever waits for an answer keeps the process, an idle worker does not.
    if (member.calls.size === 0) member.worker.ref();
    const request: ShardRequest = { ...task, id: requests, index };
    member.calls.set(requests, { resolve: resolve as (done: unknown) => void, reject });
    const { outbox } = member;
    if (outbox.requests.length === 0) process.nextTick(post, member);
    outbox.requests.push(request);
    outbox.transfer.push(...transfer);
  });
}

function post(member: Member): void {
  const { requests: waiting, transfer } = member.outbox;
  member.outbox = { requests: [], transfer: [] };
  if (!member.ended) member.worker.postMessage(waiting, transfer);
}

function startMember(): Member {
  const stopFlag = new Int32Array(new SharedArrayBuffer(4));
  const workerData: ShardWorkerData = { stop: stopFlag, graph: graphModule() };
  const script = compiledFile("ann/shard-worker.js");
  const worker = new Worker(script, { workerData, stdout: true, stderr: true });
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  const outbox = { requests: [], transfer: [] };
  const calls: Member["calls"] = new Map();
  const member: Member = { worker, calls, outbox, stopFlag, exited, ended: undefined };
  worker.on("message", (replies: ShardReply[]) => {
    for (const reply of replies) {
      const call = member.calls.get(reply.id);
      member.calls.delete(reply.id);
      if ("done" in reply) call?.resolve(reply.done);
      else call?.reject(new LakeError(reply.failed.kind, reply.failed.message, { hint: reply.failed.hint }));
    }
    if (member.calls.size === 0) worker.unref();
  });
  const hint = "Call again: the index is read anew.";
  worker.on("error", (cause) => end(member, new LakeError("internal", "A search worker failed.", { cause, hint })));
  worker.on("exit", () => end(member, new LakeError("internal", "A search worker ended unexpectedly.", { hint })));
  worker.unref();
  return member;
}

function end(member: Member, error: LakeError): void {
  if (member.ended) return;
  member.ended = error;
  for (const { reject } of member.calls.values()) reject(error);
  member.calls.clear();
}

/** Not by `terminate`, which would cut off a file that is being written. A turn is a few milliseconds. */
async function stop({ worker, stopFlag, exited }: Member): Promise<void> {
  Atomics.store(stopFlag, 0, 1);
  worker.ref();
  worker.postMessage([]);
  await exited;
}

function poolClosed(): LakeError {
  return new LakeError("closed", "The search workers are closed.");
}
