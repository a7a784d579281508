import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Metric } from "../catalog/types.ts";
import { LakeError } from "../errors.ts";
import { compiledFile } from "../run-worker.ts";

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
    constructor(pages: { initial: number; maximum: number; shared: true });
    /** Another one after it has grown. */
    readonly buffer: SharedArrayBuffer;
  }
}

/** What a graph is in, for other threads to look into. */
export type GraphMemory = WebAssembly.Memory;

/** Of `assembly/index.ts`; booleans are 0 and 1. */
interface Functions {
  look(dimension: number, metric: number, m: number): void;
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
  walkGraph(ef: number, mask: number, bits: number, most: number): number;
  lookedAt(): number;
  allowedOf(): number;
  scan(from: number, to: number, mask: number, bits: number): void;
  scanIds(ids: number, count: number): void;
  finish(): number;
  hitsAt(): number;
}

export interface Exports extends Functions {
  memory: GraphMemory;
}

/** In the order of the numbers they have in `assembly/memory.ts`. */
export const KINDS: readonly Metric[] = ["cosine", "ip", "l2"];
/** Of 64 KiB. */
const MAX_PAGES = 2 ** 16;
const WORTH_COLLECTING = 64 * 1024 ** 2;

let compiled: WebAssembly.Module | undefined;

/** What all threads that look into one memory have to agree on: compiled once, and handed to the others. */
export function graphModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(readFileSync(compiledFile(import.meta.url, "graph.wasm")));
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
    return new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES, shared: true });
  } catch (error) {
    // Each wants 10 GiB of addresses, of which it uses what it needs.
    throw error instanceof RangeError ? noMemory() : error;
  }
}

export function noMemory(): LakeError {
  return new LakeError("limit", "A part of a vector index is larger than 4 GiB, or there is no memory for it.", {
    hint: "Raise vector_threads, which makes more parts, or give the server more memory.",
  });
}

let lettingGo = 0;

/**
 * Told of memory that this thread uses no more. It is only given back by a collection in each thread that had it, and
 * shared memory does not count for what makes one due. A collection takes 10 to 20 ms.
 */
export function letGo(memory: GraphMemory): void {
  lettingGo += memory.buffer.byteLength;
  if (lettingGo < WORTH_COLLECTING) return;
  lettingGo = 0;
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setImmediate(collect);
}
