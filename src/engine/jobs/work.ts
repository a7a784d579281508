import type { CreateRequest, CreateResult, VectorOptions } from "../index/types.ts";
import { LakeError } from "../kernel/errors.ts";
import { type FullQueue, type Limiter, openLimiter } from "../kernel/limiter.ts";
import type { JobKind, JobOptions, JobWork } from "./types.ts";

type WorkOptions = Pick<JobOptions, "roots" | "caller" | "signal" | "onProgress">;

/** What does the work of each kind. */
export type Workers = {
  [Kind in JobKind]: (request: JobWork[Kind]["request"], options: WorkOptions) => Promise<JobWork[Kind]["result"]>;
};

/** Work under way, whether it is a job or not. */
export interface Task<Kind extends JobKind = JobKind> {
  done: Promise<JobWork[Kind]["result"]>;
  stop(reason: LakeError): void;
  progress(): { fraction: number; message: string };
  /** Nobody follows its progress any more. */
  detach(): void;
}

export interface Work {
  begin<Kind extends JobKind>(
    kind: Kind,
    request: JobWork[Kind]["request"],
    options: Pick<JobOptions, "roots" | "caller" | "onProgress">,
  ): Task<Kind>;
  /** Index builds that wait for their turn. */
  waiting(): number;
  /** Stops everything, and begins nothing more. */
  close(reason: LakeError): void;
}

/** Builds from datasets that run at the same time; those of one index are one after the other. */
const MAX_BUILDS = 4;
const MAX_WAITING = 64;

/** The progress of work that has not begun. */
export const WAITING = { fraction: 0, message: "waiting for its turn" };

export function openWork(workers: Workers): Work {
  const stops = new Set<(reason: LakeError) => void>();
  const builds = openBuildTurns();
  let closed: LakeError | undefined;

  function run(kind: JobKind, request: unknown, options: WorkOptions & { signal: AbortSignal }): Promise<unknown> {
    if (kind === "ingest") return workers[kind](request as JobWork["ingest"]["request"], options);
    return builds.inTurn(request as CreateRequest, options, workers[kind]);
  }

  return {
    begin: <Kind extends JobKind>(
      kind: Kind,
      request: JobWork[Kind]["request"],
      { roots, caller, onProgress }: Pick<JobOptions, "roots" | "caller" | "onProgress">,
    ): Task<Kind> => {
      if (closed) throw closed;
      const abort = new AbortController();
      let progress = WAITING;
      let follow = onProgress;
      const done = run(kind, request, {
        roots,
        caller,
        signal: abort.signal,
        onProgress: (fraction, message) => {
          progress = { fraction: Math.min(1, Math.max(0, fraction)), message };
          follow?.(fraction, message);
        },
      }) as Task<Kind>["done"];
      const stop = (reason: LakeError): void => abort.abort(reason);
      stops.add(stop);
      const forget = (): void => void stops.delete(stop);
      done.then(forget, forget);
      return {
        done,
        stop,
        progress: () => progress,
        detach: () => {
          follow = undefined;
        },
      };
    },
    waiting: builds.waiting,
    close: (reason) => {
      closed = reason;
      for (const stop of stops) stop(reason);
    },
  };
}

/** Two builds of one index would embed the same texts; the second finds the work of the first done. */
function openBuildTurns() {
  const turnsOf = new Map<string, { turns: Limiter; users: number }>();
  const all = openLimiter({ maxRunning: MAX_BUILDS, maxWaiting: MAX_WAITING, busy });

  let waiting = 0;

  const inTurn = async (
    request: CreateRequest,
    options: VectorOptions & { signal: AbortSignal },
    build: (request: CreateRequest, options: VectorOptions) => Promise<CreateResult>,
  ): Promise<CreateResult> => {
    // An empty one is made in an instant.
    if (!request.source) return build(request, options);
    const own = turnsOf.get(request.name) ?? {
      turns: openLimiter({ maxRunning: 1, maxWaiting: MAX_WAITING, busy }),
      users: 0,
    };
    turnsOf.set(request.name, own);
    own.users++;
    let waits = true;
    waiting++;
    const begin = (): void => {
      if (waits) waiting--;
      waits = false;
    };
    try {
      const leaveOwn = await own.turns.enter(options.signal, options.caller);
      try {
        const leaveAll = await all.enter(options.signal, options.caller);
        begin();
        try {
          return await build(request, options);
        } finally {
          leaveAll();
        }
      } finally {
        leaveOwn();
      }
    } finally {
      begin();
      own.users--;
      if (own.users === 0) turnsOf.delete(request.name);
    }
  };
  return { inTurn, waiting: () => waiting };
}

function busy({ waiting, own }: FullQueue): LakeError {
  const whose = own ? ` of this caller, the most of the queue of ${MAX_WAITING} that one caller may have` : " already";
  return new LakeError("unavailable", `${waiting} index builds are waiting for their turn${whose}.`, {
    code: "queue_full",
    facts: { limit: MAX_WAITING },
    hint: "Try again when some are done.",
  });
}
