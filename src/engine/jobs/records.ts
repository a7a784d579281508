import { LakeError } from "../kernel/errors.ts";
import { mapAhead } from "../kernel/map-ahead.ts";
import type { Log } from "../settings.ts";
import type { Store } from "../store/store.ts";
import { decodeRecord, encodeRecord, ID, isEnded } from "./record.ts";
import type { JobOwner, JobRecord } from "./types.ts";

/** The records in the store, and the marks beside them. */
export interface Records {
  /** Undefined when there is none. Throws `corrupt`. */
  load(id: string): Promise<JobRecord | undefined>;
  /** Durable when it returns; a reader sees this record or the one before. */
  save(record: JobRecord): Promise<void>;
  /** The newest `limit` that can be read, newest first. What cannot be read is logged once. */
  newest(limit: number): Promise<JobRecord[]>;
  /** The right to resume a job for the `attempt`-th time, which one engine gets; else who has it. */
  claim(id: string, attempt: number, owner: JobOwner, now: string): Promise<Claim>;
  /** Asks whoever runs a job to stop it. */
  askToCancel(id: string): Promise<void>;
  isAskedToCancel(id: string): Promise<boolean>;
  /** Ids whose record, or whose marks without one, `prune` would remove. */
  stale(keep: number, before: number): Promise<string[]>;
  /** Removes records of ended jobs beyond `keep` or that ended before `before` (ms), and marks without a record. */
  prune(keep: number, before: number): Promise<void>;
}

export type Claim = { won: true } | { won: false; owner: JobOwner; at: string } | { won: false; owner: undefined };

const PREFIX = "jobs/";
const KEY = /^jobs\/([0-9a-f-]{36})\.(json|cancel|claim-\d+)$/;
const READ_AHEAD = 16;

export function openRecords(store: Store, log: Log): Records {
  const told = new Set<string>();

  async function load(id: string): Promise<JobRecord | undefined> {
    const bytes = await store.get(keyOf(id));
    return bytes && decodeRecord(bytes, id);
  }

  async function loadOrSkip(id: string): Promise<JobRecord | undefined> {
    return load(id).catch((error: unknown) => {
      if (!told.has(id)) {
        const reason = error instanceof LakeError && error.cause !== undefined ? error.cause : error;
        log("warn", "the record of a job cannot be read", { job: id, reason: String(reason).slice(0, 500) });
      }
      told.add(id);
      return undefined;
    });
  }

  /** Keys of every job, newest job first. */
  async function keysById(): Promise<[id: string, keys: string[]][]> {
    const found = new Map<string, string[]>();
    for await (const { key } of store.list(PREFIX)) {
      const [, id = ""] = KEY.exec(key) ?? [];
      if (ID.test(id)) found.set(id, [...(found.get(id) ?? []), key]);
    }
    return [...found].reverse();
  }

  async function* stale(keep: number, before: number): AsyncGenerator<[id: string, keys: string[]]> {
    let kept = 0;
    for (const [id, keys] of await keysById()) {
      if (keys.includes(keyOf(id))) {
        const record = await loadOrSkip(id);
        // One that cannot be read is left for a person to look at.
        const stays = !record || !isEnded(record) || (kept < keep && Date.parse(record.updated) >= before);
        if (stays) kept++;
        if (stays) continue;
      }
      yield [id, keys];
    }
  }

  return {
    load,
    save: async (record) => void (await store.put(keyOf(record.id), encodeRecord(record))),
    newest: async (limit) => {
      const found: JobRecord[] = [];
      const ids = (await keysById()).filter(([id, keys]) => keys.includes(keyOf(id))).map(([id]) => id);
      for await (const record of mapAhead(ids, READ_AHEAD, loadOrSkip)) {
        if (record) found.push(record);
        if (found.length >= limit) break;
      }
      return found;
    },
    claim: async (id, attempt, owner, now) => {
      const key = `${PREFIX}${id}.claim-${attempt}`;
      const body = Buffer.from(JSON.stringify({ owner, at: now }));
      if (await store.put(key, body, { ifAbsent: true })) return { won: true };
      return { won: false, ...claimIn(await store.get(key)) };
    },
    askToCancel: async (id) => void (await store.put(cancelKey(id), Buffer.from("{}"), { ifAbsent: true })),
    isAskedToCancel: (id) => store.has(cancelKey(id)),
    stale: async (keep, before) => {
      const ids: string[] = [];
      for await (const [id] of stale(keep, before)) ids.push(id);
      return ids;
    },
    prune: async (keep, before) => {
      for await (const [id, keys] of stale(keep, before)) {
        // The record goes first: marks without one are removed the next time.
        for (const key of [keyOf(id), ...keys]) await store.delete(key);
      }
    },
  };
}

function keyOf(id: string): string {
  return `${PREFIX}${id}.json`;
}

function cancelKey(id: string): string {
  return `${PREFIX}${id}.cancel`;
}

function claimIn(bytes: Uint8Array | undefined): { owner: JobOwner; at: string } | { owner: undefined } {
  try {
    const { owner, at } = JSON.parse(Buffer.from(bytes ?? []).toString());
    const whole = typeof owner.host === "string" && typeof owner.pid === "number" && typeof owner.process === "string";
    return whole && typeof at === "string" ? { owner, at } : { owner: undefined };
  } catch {
    return { owner: undefined };
  }
}
