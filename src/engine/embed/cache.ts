import { hash } from "node:crypto";
import { setMaxListeners } from "node:events";
import { LRUCache } from "lru-cache";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { grouped } from "../kernel/amounts.ts";
import { LakeError } from "../kernel/errors.ts";
import type { NextStep } from "../kernel/next-step.ts";
import { openTimeSlice } from "../kernel/time-slice.ts";
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

export interface FetchRequest {
  /** How much goes into one fetch, as it is known at the moment. */
  limits: () => { texts: number; chars: number };
  /** Batches of this call at the same time. */
  width: number;
  /** One answer a text, in order. Aborted when nobody waits for it any more. */
  fetch: (texts: readonly string[], signal: AbortSignal) => Promise<Found[]>;
  signal: AbortSignal;
}

export interface EmbedCache {
  /** What is known, each vector the caller's own. `space` is model and kind, under which a text has one vector. */
  look(texts: readonly string[], space: string): Promise<Lookup>;
  /**
   * Fetches what was not known, in batches, no text twice, also when several callers ask at the same time. One caller's
   * cancellation or failed batch does not fail another. Throws what `fetch` throws; `invalid` says between which texts
   * to look.
   */
  fill(lookup: Lookup, request: FetchRequest): Promise<void>;
  stats(): CacheStats;
  /** Ends every fetch, and whoever waits for one, with this error. */
  close(reason: LakeError): void;
}

export interface CacheStats {
  entries: number;
  bytes: number;
  maxBytes: number;
  /** Texts answered from memory. */
  hits: number;
  /** Texts that were not, the same one twice in a call included. */
  misses: number;
}

export interface Lookup {
  /** In the order of the texts; the missing ones have none until they are filled in. */
  readonly answers: Found[];
  /** By their place; a text that stands in several places is one miss. */
  readonly missing: ReadonlyMap<number, Miss>;
}

interface Miss {
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

/** What an entry costs besides its vector, so that short vectors are not counted as nothing. */
const LEAST_BYTES = 512;
const NOTHING: Found = { problem: "There was no vector.", kind: "unavailable", hint: undefined };
const CHUNK = 32;
const SLICE_MS = 5;

/** Vectors by text, at most `maxBytes` of them; 0 keeps none, and only what is under way is shared. */
export function openEmbedCache(maxBytes: number): EmbedCache {
  const kept =
    maxBytes > 0
      ? new LRUCache<string, Float32Array>({
          maxSize: maxBytes,
          sizeCalculation: (vector) => Math.max(vector.byteLength, LEAST_BYTES),
        })
      : undefined;
  const flying = new Map<string, Flight>();
  const flights = new Set<Flight>();
  const inSlices = openTimeSlice(SLICE_MS);
  let closed: LakeError | undefined;
  let hits = 0;
  let misses = 0;

  /** A few texts at once, many without keeping the event loop. */
  async function eachChunk<Item>(items: readonly Item[], work: (item: Item, index: number) => void): Promise<void> {
    const run = (from: number): void => {
      for (const [offset, item] of items.slice(from, from + CHUNK).entries()) work(item, from + offset);
    };
    run(0);
    for (let from = CHUNK; from < items.length; from += CHUNK) await inSlices(() => run(from));
  }

  function launch(batch: readonly Miss[], request: FetchRequest): Flight {
    if (closed) throw closed;
    const stop = new AbortController();
    const land = async (): Promise<Map<string, Found>> => {
      try {
        const texts = batch.map((miss) => miss.text);
        const founds = await request.fetch(texts, stop.signal);
        const answers = new Map<string, Found>();
        for (const [index, { key }] of batch.entries()) {
          const found = founds[index] ?? NOTHING;
          answers.set(key, found);
          if (found instanceof Float32Array) kept?.set(key, found);
        }
        return answers;
      } finally {
        forget(flight);
      }
    };
    const flight: Flight = {
      answers: Promise.resolve().then(land),
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
      const answers = await orAborted(flight.answers, signal);
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

  /** Takes texts from the queue for one batch; those that others are fetching just now come on top. */
  function nextBatch(queue: Miss[], request: FetchRequest): { own: Miss[]; joined: Map<Flight, Miss[]> } {
    const { texts, chars } = request.limits();
    const own: Miss[] = [];
    const joined = new Map<Flight, Miss[]>();
    let length = 0;
    for (let miss = queue.at(-1); miss; miss = queue.at(-1)) {
      const flight = flying.get(miss.key);
      const known = flight ? undefined : kept?.get(miss.key);
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

  async function fetchAll(missing: readonly Miss[], request: FetchRequest): Promise<void> {
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
        const { own, joined } = nextBatch(queue, mine);
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
    look: async (texts, space) => {
      const answers = new Array<Found>(texts.length);
      const missing = new Map<number, Miss>();
      const byKey = new Map<string, Miss>();
      await eachChunk(texts, (text, index) => {
        const key = `${space}:${hash("sha256", text, "base64")}`;
        const known = kept?.get(key);
        if (known) {
          hits++;
          answers[index] = known.slice();
          return;
        }
        misses++;
        const miss = byKey.get(key) ?? { key, text, at: index };
        byKey.set(key, miss);
        missing.set(index, miss);
      });
      return { answers, missing };
    },
    fill: async ({ answers, missing }, request) => {
      await fetchAll([...new Set(missing.values())], request);
      // A copy each: the caller may do with it what it likes, hand its memory to a worker for example.
      await eachChunk([...missing], ([index, { found }]) => {
        if (found) answers[index] = found instanceof Float32Array ? found.slice() : found;
      });
    },
    stats: () => ({ entries: kept?.size ?? 0, bytes: kept?.calculatedSize ?? 0, maxBytes, hits, misses }),
    close: (reason) => {
      closed = reason;
      for (const flight of flights) flight.stop.abort(reason);
    },
  };
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

function orAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(cancelled(signal));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    void work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
