import { setMaxListeners } from "node:events";
import { cancelled, throwIfAborted, untilAborted } from "../kernel/abort.ts";
import { grouped } from "../kernel/amounts.ts";
import { LakeError } from "../kernel/errors.ts";
import type { NextStep } from "../kernel/next-step.ts";
import { mayBeOneText } from "./request.ts";

/** A vector, or why there is none for this text. */
export type Found = Float32Array | Problem;

export interface Problem {
  /** A sentence. */
  readonly problem: string;
  readonly kind: "invalid" | "unavailable";
  readonly hint: NextStep | undefined;
  /** It would be the same the next time. */
  readonly lasts?: boolean;
  /** The text was asked for alone, and again where that was of use. */
  readonly tried?: boolean;
}

export interface Miss {
  key: string;
  text: string;
  /** Where the text first stands in its call. */
  at: number;
  found?: Found;
}

/** One fetch on its way, and how many callers wait for it. */
interface Flight {
  answers: Promise<Map<string, Found>>;
  keys: readonly string[];
  waiting: number;
  stop: AbortController;
}

export interface FetchRequest {
  /** The most texts and characters of one fetch, as known at the moment. */
  limits: () => { texts: number; chars: number };
  /** Batches of this call at the same time. */
  width: number;
  /** One answer a text, in order. Aborted when nobody waits for it any more. */
  fetch: (texts: readonly string[], signal: AbortSignal) => Promise<Found[]>;
  signal: AbortSignal;
}

/** Fetches of vectors that are under way, each shared by all callers who wait for one of its texts. */
export interface Fetches {
  /** Fetches `missing`, and sets what is found of each. Throws as `EmbedCache.fill`. */
  run(missing: readonly Miss[], request: FetchRequest): Promise<void>;
  /** Ends every fetch, and whoever waits for one, with this error. */
  close(reason: LakeError): void;
}

const NOTHING: Found = { problem: "There was no vector.", kind: "unavailable", hint: undefined };

/** Vectors that are known, by key. */
interface Vectors {
  get(key: string): Float32Array | undefined;
  set(key: string, vector: Float32Array): void;
}

export function openFetches(cached: Vectors): Fetches {
  const flying = new Map<string, Flight>();
  const flights = new Set<Flight>();
  let closed: LakeError | undefined;

  function launch(batch: readonly Miss[], request: FetchRequest): Flight {
    if (closed) throw closed;
    const stop = new AbortController();
    const flight: Flight = {
      answers: Promise.resolve()
        .then(() => fetchBatch(batch, request, stop.signal))
        .then((answers) => {
          for (const [key, found] of answers) if (found instanceof Float32Array) cached.set(key, found);
          return answers;
        })
        .finally(() => forget(flight)),
      keys: batch.map(({ key }) => key),
      waiting: 0,
      stop,
    };
    flights.add(flight);
    for (const key of flight.keys) flying.set(key, flight);
    return flight;
  }

  function forget(flight: Flight): void {
    flights.delete(flight);
    for (const key of flight.keys) if (flying.get(key) === flight) flying.delete(key);
  }

  /** Waits for a flight as one of those who do; the last to leave ends it. */
  async function take(flight: Flight, batch: readonly Miss[], signal: AbortSignal): Promise<void> {
    flight.waiting++;
    try {
      const answers = await untilAborted(flight.answers, signal);
      for (const miss of batch) miss.found = answers.get(miss.key) ?? NOTHING;
    } finally {
      flight.waiting--;
      if (flight.waiting === 0) {
        forget(flight);
        flight.stop.abort();
      }
    }
  }

  const takeOwn = (batch: readonly Miss[], request: FetchRequest): Promise<void> =>
    take(launch(batch, request), batch, request.signal).catch((error: unknown) => {
      throw placed(error, batch);
    });

  async function takeJoined(flight: Flight, batch: readonly Miss[], request: FetchRequest): Promise<void> {
    try {
      await take(flight, batch, request.signal);
    } catch (error) {
      if (request.signal.aborted) throw error;
      // It failed, perhaps over a text of somebody else's: these deserve a try of their own.
      await takeOwn(batch, request);
    }
  }

  async function run(missing: readonly Miss[], request: FetchRequest): Promise<void> {
    throwIfAborted(request.signal);
    const leave = new AbortController();
    // One listener for every batch it waits for: many, and no leak, as Node would say on stderr.
    setMaxListeners(0, leave.signal);
    const onAbort = (): void => leave.abort(cancelled(request.signal));
    request.signal.addEventListener("abort", onAbort, { once: true });
    const mine = { ...request, signal: leave.signal };
    const queue = missing.toReversed();
    const lane = async (): Promise<void> => {
      while (queue.length > 0) {
        const { own, joined } = nextBatch(queue, mine, { flying, cached });
        const waits = [...joined].map(([flight, batch]) => takeJoined(flight, batch, mine));
        if (own.length > 0) waits.push(takeOwn(own, mine));
        await Promise.all(waits);
      }
    };
    try {
      await Promise.all(Array.from({ length: request.width }, lane));
    } catch (error) {
      // The other lanes stop too, and with them every fetch that only this caller waits for.
      queue.length = 0;
      leave.abort(error);
      throw error;
    } finally {
      request.signal.removeEventListener("abort", onAbort);
    }
  }

  return {
    run,
    close: (reason) => {
      closed = reason;
      for (const flight of flights) flight.stop.abort(reason);
    },
  };
}

async function fetchBatch(
  batch: readonly Miss[],
  request: FetchRequest,
  signal: AbortSignal,
): Promise<Map<string, Found>> {
  const texts = batch.map((miss) => miss.text);
  const founds = await request.fetch(texts, signal);
  return new Map(batch.map(({ key }, index) => [key, founds[index] ?? NOTHING]));
}

/** Takes texts from the queue for one batch; those that others are fetching just now come on top. */
function nextBatch(
  queue: Miss[],
  request: FetchRequest,
  { flying, cached }: { flying: ReadonlyMap<string, Flight>; cached: Vectors },
): { own: Miss[]; joined: Map<Flight, Miss[]> } {
  const { texts, chars } = request.limits();
  const own: Miss[] = [];
  const joined = new Map<Flight, Miss[]>();
  let length = 0;
  for (let miss = queue.at(-1); miss; miss = queue.at(-1)) {
    const flight = flying.get(miss.key);
    const known = flight ? undefined : cached.get(miss.key);
    if (flight) joined.set(flight, [...(joined.get(flight) ?? []), miss]);
    else if (known) miss.found = known;
    else {
      if (own.length > 0 && (own.length >= texts || length + miss.text.length > chars)) break;
      own.push(miss);
      length += miss.text.length;
    }
    queue.pop();
  }
  return { own, joined };
}

/** Says in which texts of the call the service found something to refuse: it does not tell. */
function placed(error: unknown, batch: readonly Miss[]): unknown {
  if (!(error instanceof LakeError) || !mayBeOneText(error)) return error;
  if (error.kind !== "invalid" && batch.length > 1) return error;
  const longest = batch.reduce((most, miss) => (miss.text.length > most.text.length ? miss : most));
  const size = `${grouped(longest.text.length)} characters`;
  const where =
    batch.length === 1
      ? `It is texts[${longest.at}], of ${size}.`
      : `It is one of texts[${batch[0]?.at}] to texts[${batch.at(-1)?.at}]; the longest is texts[${longest.at}], of ${size}.`;
  return new LakeError(error.kind, `${error.message.replace(/\.?$/, ".")} ${where}`, {
    code: error.code,
    hint: error.hint,
    cause: error,
  });
}
