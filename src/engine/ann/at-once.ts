import { mergeHits, normalise } from "./distances.ts";
import { readGraph } from "./graph.ts";
import { isShort, nearestAtOnce, type ShardHits, type StillPart } from "./graph-search.ts";
import { letGo } from "./graph-wasm.ts";
import { graphOptions, type ShardOptions, type ShardQuery } from "./shard.ts";
import type { ShardTask, StillReply } from "./shard-worker.ts";

// To wake a thread, twice a search, takes longer than the search. So one that takes little time is made in this thread, in
// the memory that the workers have their graphs in. That is safe while nothing changes there: what changes it is asked for by
// this thread, and a worker tells when it is done, with what it moves into the graph by itself too.

/** What changes what is searched. */
export const CHANGES: ReadonlySet<ShardTask["op"]> = new Set(["open", "stage", "publish", "load", "close"]);

/** Of one index. */
export interface AtOnce {
  /** A change is about to be sent to a worker: what was asked before must not see it. */
  changes(worker: number, request: number): void;
  /** Of what a worker has told. */
  isStill(worker: number, reply: StillReply): void;
  search(query: Float32Array, options: ShardQuery): Promise<ShardHits>;
  close(): void;
}

interface Settings {
  options: ShardOptions;
  /** How many workers have a part of it. */
  workers: number;
  /** Asks them. */
  send(query: Float32Array, options: ShardQuery): Promise<ShardHits>;
}

interface Asked {
  query: Float32Array;
  options: ShardQuery;
  answer(hits: ShardHits | Promise<ShardHits>): void;
  fail(error: unknown): void;
}

/** Beyond that, what waits is sent to the workers. */
const TURN_MS = 4;

/** Searches of one turn of the event loop are shared out between this thread and the workers. */
export function openAtOnce({ options, workers, send }: Settings): AtOnce {
  const lastChange = Array.from({ length: workers }, () => Number.POSITIVE_INFINITY);
  const told: (StillReply | undefined)[] = lastChange.map(() => undefined);
  let parts: StillPart[] | undefined;
  let isOff = false;
  const asked: Asked[] = [];
  const ofLengthOne = new Float32Array(options.dimension);
  let turn: NodeJS.Immediate | undefined;
  /** Searches that the workers have not answered. */
  let sent = 0;

  const pass = (query: Float32Array, searched: ShardQuery): Promise<ShardHits> => {
    sent += 1;
    return send(query, searched).finally(() => {
      sent -= 1;
    });
  };

  const passAll = (): void => {
    if (turn) clearImmediate(turn);
    turn = undefined;
    for (const { query, options: searched, answer } of asked.splice(0)) answer(pass(query, searched));
  };

  const look = (): StillPart[] | undefined => {
    if (parts || isOff) return parts;
    if (!told.every((reply, worker) => reply !== undefined && reply.request === lastChange[worker])) return undefined;
    try {
      parts = told.flatMap((reply) =>
        [...(reply?.shards.values() ?? [])].flatMap(({ inGraph, memory }) =>
          memory ? { reader: readGraph(graphOptions(options), memory), inGraph } : [],
        ),
      );
    } catch {
      // There is no room for one more instance. The workers have theirs.
      isOff = true;
    }
    return parts;
  };

  const forget = (worker: number): void => {
    for (const { memory } of told[worker]?.shards.values() ?? []) if (memory) letGo(memory);
    told[worker] = undefined;
    parts = undefined;
  };

  const searchHere = (given: Float32Array, { k, ef }: ShardQuery, among: StillPart[]): ShardHits | undefined => {
    if (!isShort(among, { k, ef })) return undefined;
    const query = options.metric === "cosine" ? ofLengthOne : given;
    if (options.metric === "cosine") {
      query.set(given);
      normalise(query, options.dimension);
    }
    let all = true;
    const found: ShardHits[] = [];
    for (const part of among) {
      part.reader.begin(query, k);
      const exact = nearestAtOnce(part, { k, ef });
      if (exact === undefined) return undefined;
      all &&= exact;
      found.push({ ...part.reader.finish(), exact });
    }
    return { ...mergeHits(found, k), exact: all };
  };

  /** A message costs as much as a search: the workers get several in one, and the next when they are done with all. */
  const ownOf = (count: number): number => (sent > 0 ? count : Math.ceil(count / (1 + workers)));

  const share = (): void => {
    turn = undefined;
    const own = look() ? ownOf(asked.length) : 0;
    for (const { query, options: searched, answer } of asked.splice(own)) answer(pass(query, searched));
    // After these are on their way: the workers search meanwhile.
    process.nextTick(searchAll);
  };

  const searchAll = (): void => {
    const end = performance.now() + TURN_MS;
    for (const { query, options: searched, answer, fail } of asked.splice(0)) {
      try {
        const among = performance.now() < end ? look() : undefined;
        answer((among && searchHere(query, searched, among)) ?? pass(query, searched));
      } catch (error) {
        fail(error);
      }
    }
  };

  return {
    changes: (worker, request) => {
      passAll();
      lastChange[worker] = request;
      parts = undefined;
      if (request === Number.POSITIVE_INFINITY) forget(worker);
    },
    isStill: (worker, reply) => {
      // The memory is most often the same, and then goes on being used.
      for (const [shard, { memory }] of told[worker]?.shards ?? [])
        if (memory && !reply.shards.get(shard)?.memory) letGo(memory);
      told[worker] = reply;
      parts = undefined;
    },
    search: (query, searched) => {
      if (searched.allowed) return pass(query, searched);
      return new Promise((answer, fail) => {
        asked.push({ query, options: searched, answer, fail });
        turn ??= setImmediate(share);
      });
    },
    close: () => {
      passAll();
      told.forEach((_, worker) => void forget(worker));
    },
  };
}
