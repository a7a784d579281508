import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { crc32 } from "node:zlib";
import type { FilePart } from "../../src/engine/ann/snapshot.ts";
import type { Metric } from "../../src/engine/catalog/types.ts";
import { type Engine, openEngine } from "../../src/engine/engine.ts";
import { LakeError } from "../../src/engine/kernel/errors.ts";
import type { Scope } from "../../src/engine/kernel/scope.ts";
import type { EngineSettings } from "../../src/engine/settings.ts";
import { testSettings } from "./lake.ts";

export interface VectorLake extends AsyncDisposable {
  engine: Engine;
  /** Holds `inbox/` and `lake/`. */
  folder: string;
  logged: { message: string; fields: Record<string, unknown> | undefined }[];
  /** Closes the engine and opens another over the same folder. */
  reopen(settings?: Partial<EngineSettings>): Promise<Engine>;
  /** Another engine over the same folder, as another process would have. */
  another(): Promise<Engine>;
  csv(name: string, text: string): Promise<void>;
}

export async function openVectorLake(settings: Partial<EngineSettings> = {}): Promise<VectorLake> {
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-test-"));
  await mkdir(join(folder, "inbox"));
  const logged: VectorLake["logged"] = [];
  const log: EngineSettings["log"] = (_level, message, fields) => void logged.push({ message, fields });
  const open = (more: Partial<EngineSettings> = {}): Promise<Engine> =>
    openEngine(testSettings(folder, { log, ...settings, ...more }));
  const others: Engine[] = [];
  const lake: VectorLake = {
    engine: await open(),
    folder,
    logged,
    reopen: async (more) => {
      await lake.engine.close();
      lake.engine = await open(more);
      return lake.engine;
    },
    another: async () => {
      const engine = await open();
      others.push(engine);
      return engine;
    },
    csv: async (name, text) => {
      await writeFile(join(folder, "inbox", `${name}.csv`), text);
      await lake.engine.ingest({ name, source: { path: `${name}.csv` } });
    },
    [Symbol.asyncDispose]: async () => {
      for (const engine of [lake.engine, ...others]) await engine.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  return lake;
}

/** The error that `work` ends with. */
export async function failure(work: Promise<unknown>): Promise<LakeError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof LakeError) return error;
  throw new Error(`expected a LakeError, got ${String(error)}`);
}

/** Numbers that are the same in every run. */
export function openRandom(seed: number): () => number {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** The worker threads that are started until the scope closes. */
export function workersStarted(scope: Scope): Worker[] {
  const workers: Worker[] = [];
  const started = (worker: Worker): void => void workers.push(worker);
  process.on("worker", started);
  scope.defer(() => void process.off("worker", started));
  return workers;
}

export function randomVector(random: () => number, dimension: number): number[] {
  return Array.from({ length: dimension }, () => Math.fround(random() * 2 - 1));
}

export function sorted(texts: readonly string[]): string[] {
  return [...texts].sort((a, b) => (a < b ? -1 : 1));
}

/** As hits report it. */
export function distance(metric: Metric, a: Float32Array, b: Float32Array): number {
  if (metric === "cosine") return cosine(a, b);
  let sum = 0;
  for (let at = 0; at < a.length; at++) {
    const [x, y] = [a[at] as number, b[at] as number];
    sum += metric === "l2" ? (x - y) ** 2 : -x * y;
  }
  return metric === "l2" ? Math.sqrt(sum) : sum;
}

export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let at = 0; at < a.length; at++) {
    const [x, y] = [a[at] as number, b[at] as number];
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return 1 - dot / Math.sqrt(aa * bb);
}

/** Waits until `done` says so, for as long as a test may take. */
export async function until(done: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** A file as the only section of a snapshot. */
export async function whole(path: string): Promise<FilePart> {
  const bytes = await readFile(path);
  return { path, start: 0, bytes: bytes.length, crc32: crc32(bytes) };
}
