import { readFileSync } from "node:fs";
import type { Metric } from "../catalog/types.ts";
import { LakeError } from "../kernel/errors.ts";
import { next, setting } from "../kernel/next-step.ts";
import { compiledFile } from "../kernel/package.ts";

/** Node has it, and TypeScript knows it only as a browser's. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    readonly exports: unknown;
  }
  class Memory {
    constructor(pages: { initial: number; maximum: number });
    /** Another one after it has grown. */
    readonly buffer: ArrayBuffer;
  }
}

/** Holds a graph. */
export type GraphMemory = WebAssembly.Memory;

/** Of `src/engine/ann/assembly/index.ts`; booleans are 0 and 1. */
interface Functions {
  open(dimension: number, metric: number, m: number, efConstruction: number, seed: number): number;
  imageAt(): number;
  imageBytes(): number;
  expectImage(bytes: number): number;
  imageRead(): void;
  count(): number;
  linked(): number;
  vectorAt(): number;
  append(label: number): number;
  read(element: number): void;
  remove(element: number, late: number): void;
  isRemoved(element: number): number;
  labelOf(element: number): number;
  linkNext(): number;
  scratch(bytes: number): number;
  begin(k: number): void;
  walkGraph(ef: number, mask: number, bits: number, mostLooked: number, mostExpanded: number): number;
  lookedAt(): number;
  expandedBy(): number;
  scan(from: number, to: number, mask: number, bits: number): void;
  scanIds(ids: number, count: number): void;
  finish(): number;
  hitsAt(): number;
}

export interface Exports extends Functions {
  memory: GraphMemory;
}

/** In the order of the numbers they have in `src/engine/ann/assembly/memory.ts`. */
export const KINDS: readonly Metric[] = ["cosine", "ip", "l2"];
/** Of 64 KiB. */
const MAX_PAGES = 2 ** 16;
const WORTH_COLLECTING = 64 * 1024 ** 2;
/** Of addresses each takes 10 GiB, of which there are 128 TiB. */
const MANY = 16;
/** V8 begins to collect when there are 64 MiB more of it than before, and does all at once at half of its largest heap. */
const DUE_BYTES = 72 * 1024 ** 2;
const COLLECTING_MS = 20;
const LONGEST_MS = 60_000;

let compiled: WebAssembly.Module | undefined;

/** Compiled once, and handed to the worker threads. */
export function graphModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(readFileSync(compiledFile("ann/graph.wasm")));
  return compiled;
}

/** Another thread's `graphModule`, before anything else. */
export function useGraphModule(module: WebAssembly.Module): void {
  compiled = module;
}

export function instantiate(memory: GraphMemory): Exports {
  const abort = (): void => {
    throw new LakeError("internal", "The graph failed.");
  };
  const { exports } = new WebAssembly.Instance(graphModule(), { env: { abort, memory } });
  return { ...(exports as Functions), memory };
}

export function newMemory(): GraphMemory {
  try {
    return new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES });
  } catch (error) {
    // Each wants 10 GiB of addresses, of which it uses what it needs.
    throw error instanceof RangeError ? noMemory() : error;
  }
}

export function noMemory(): LakeError {
  return new LakeError("limit", "A part of a vector index is larger than 4 GiB, or there is no memory for it.", {
    hint: next`Raise ${setting("vector_threads")}, which makes more parts, or give the server more memory.`,
    facts: { setting: "vector_threads" },
  });
}

/** Memory that this thread uses no more, and that is still there. */
let unused: WeakRef<GraphMemory>[] = [];
let unusedBytes = 0;
let collecting: NodeJS.Timeout | undefined;
/** How long it waits. */
let collectingMs = Number.POSITIVE_INFINITY;

/**
 * Told of memory that this thread uses no more. It is only given back by a collection in each thread that had it, and
 * shared memory does not count for what makes one due.
 */
export function letGo(memory: GraphMemory): void {
  unused.push(new WeakRef(memory));
  unusedBytes += memory.buffer.byteLength;
  const isWorth = unusedBytes >= WORTH_COLLECTING || unused.length >= MANY;
  if (isWorth && collectingMs > COLLECTING_MS) collectAfter(COLLECTING_MS);
}

/**
 * What is outside of V8's heap makes a collection due that goes in small steps, also when nothing ever touches it. Asked
 * for by name it is done at once, and a second one waits until the first has given all memory back: 130 ms for 900 MB.
 */
function collectAfter(ms: number): void {
  clearTimeout(collecting);
  collectingMs = ms;
  collecting = setTimeout(() => {
    unused = unused.filter((memory) => memory.deref() !== undefined);
    if (unused.length === 0) {
      [unusedBytes, collectingMs] = [0, Number.POSITIVE_INFINITY];
      return;
    }
    // In a turn of its own: what was looked for in this one is kept by a collection that begins now.
    setImmediate(makeDue);
    // Somebody may hold it for a while.
    collectAfter(Math.min(2 * ms, LONGEST_MS));
  }, ms).unref();
}

function makeDue(): void {
  try {
    new ArrayBuffer(DUE_BYTES);
  } catch {
    // Without memory for it V8 has collected already.
  }
}

export interface GraphOptions {
  dimension: number;
  metric: Metric;
  m: number;
  efConstruction: number;
  seed: number;
}
