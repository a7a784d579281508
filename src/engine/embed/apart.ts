import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";
import type { Found, Problem } from "./fetches.ts";
import { mayBeOneText } from "./request.ts";

export interface Asking {
  /** One request: a vector a text, or why it is none. Throws when there is no answer. */
  ask(texts: readonly string[]): Promise<Found[]>;
  signal: AbortSignal;
  /** Whether a text without a vector is tried again, after a pause each time: what comes of it may be told of others. */
  patient: boolean;
}

/** Before a text is tried again. */
const PAUSES_MS = [200, 600];
/** After so many texts of a batch were given up, the others are not tried again. */
const MOST_PATIENCE = 4;
/** After so many texts that failed, it is asked whether the service answers at all. */
const DOUBTS = 8;
/** What every embedding model has a vector for. */
const PLAIN = "text";

/**
 * A batch of texts, of which some may be what the service fails on: those are found by halving, and the others have
 * their vectors. Throws what the service says when it fails on a plain text as well, for then it is not about the texts,
 * and when the only text of a batch fails, where there is no patience.
 */
export async function embedApart(texts: readonly string[], { ask, signal, patient }: Asking): Promise<Found[]> {
  const founds = new Array<Found>(texts.length);
  let given = 0;

  /** Throws the error, unless the service has a vector for a plain text. */
  async function assertWorks(error: unknown): Promise<void> {
    const [plain] = await ask([PLAIN]).catch((other: unknown) => {
      throw mayBeOneText(other) ? error : other;
    });
    if (!(plain instanceof Float32Array)) throw error;
  }

  async function askOne(at: number, before: Problem): Promise<Found> {
    let problem = before;
    for (const pause of patient && given < MOST_PATIENCE && !before.lasts ? PAUSES_MS : []) {
      await sleep(pause, undefined, { signal }).catch(() => undefined);
      throwIfAborted(signal);
      const found = await ask(texts.slice(at, at + 1)).catch((error: unknown): Found[] => [problemOf(error)]);
      if (found[0] instanceof Float32Array) return found[0];
      problem = found[0] ?? problem;
    }
    given++;
    return problem;
  }

  async function embedPart(from: number, to: number): Promise<void> {
    throwIfAborted(signal);
    try {
      for (const [at, found] of (await ask(texts.slice(from, to))).entries()) founds[from + at] = found;
      return;
    } catch (error) {
      if (!mayBeOneText(error) || (texts.length === 1 && !patient)) throw error;
      if (to - from === 1) {
        const found = await askOne(from, problemOf(error));
        founds[from] = found;
        if (!(found instanceof Float32Array) && given % DOUBTS === 0) await assertWorks(error);
        return;
      }
      if (to - from === texts.length) await assertWorks(error);
    }
    const middle = Math.floor((from + to) / 2);
    await embedPart(from, middle);
    await embedPart(middle, to);
  }

  await embedPart(0, texts.length);
  if (!patient) return founds;
  for (const [at, found] of founds.entries()) {
    // What failed alone has had its tries.
    if (!(found instanceof Float32Array) && !found.tried) founds[at] = await askOne(at, found);
  }
  const [first] = founds;
  const none = founds.every((found) => !(found instanceof Float32Array));
  if (none && first && !(first instanceof Float32Array)) await assertWorks(errorOf(first));
  return founds;
}

/** Throws what is not about a text. */
function problemOf(error: unknown): Problem {
  if (!(error instanceof LakeError) || !mayBeOneText(error)) throw error;
  const { message, hint, kind } = error;
  return {
    problem: message,
    hint,
    kind: kind === "invalid" ? kind : "unavailable",
    lasts: kind === "invalid",
    tried: true,
  };
}

export function errorOf({ kind, problem, hint }: Problem, where = ""): LakeError {
  return new LakeError(kind, `${where}${problem}`, { hint });
}
