import type { Log } from "../settings.ts";
import type { Changes, Head, Unreadable } from "./types.ts";

/** What is known of a dataset that exists, or existed. */
export interface Known {
  /** The newest version there is, readable or not. */
  version: number;
  /** The newest readable one, which may be a tombstone. */
  head: Head | undefined;
  /** Why `version` could not be read. */
  problem: Unreadable | undefined;
}

export interface Update {
  name: string;
  /** Undefined when there is no version of it any more. */
  known: Known | undefined;
  /**
   * Reads overtake each other, so what is older than what is known is ignored; unless the latter is still this, found
   * to have been taken away.
   */
  insteadOf?: Known | undefined;
}

export interface Heads {
  get(name: string): Known | undefined;
  names(): string[];
  live(): Head[];
  unreadable(): Unreadable[];
  apply(updates: Update[]): void;
  onChange(listener: (changes: Changes) => void): () => void;
}

/** The catalog's memory: one head per dataset, and whom to tell when it changes. */
export function openHeads(log: Log): Heads {
  const all = new Map<string, Known>();
  const listeners = new Set<(changes: Changes) => void>();
  let live: Head[] | undefined;

  const isLive = (known: Known | undefined): boolean => known?.head !== undefined && !known.head.dropped;

  function notify(changes: Changes): void {
    for (const listener of listeners) {
      try {
        listener(changes);
      } catch (error) {
        // What has been committed stays committed, whatever a listener makes of it.
        log("error", "a catalog listener failed", { error: String(error) });
      }
    }
  }

  return {
    get: (name) => all.get(name),
    names: () => [...all.keys()],
    live: () => {
      live ??= [...all.values()]
        .flatMap(({ head }) => (head && !head.dropped ? [head] : []))
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      return live;
    },
    unreadable: () => [...all.values()].flatMap(({ problem }) => problem ?? []),
    apply: (updates) => {
      const changes: Changes = { added: [], updated: [], removed: [] };
      for (const { name, known, insteadOf } of updates) {
        const before = all.get(name);
        if (before && (known?.version ?? 0) < before.version && before !== insteadOf) continue;
        if (known) all.set(name, known);
        else all.delete(name);
        if (isLive(before) && !isLive(known)) changes.removed.push(name);
        else if (!isLive(before) && isLive(known)) changes.added.push(name);
        else if (isLive(known) && before?.head?.commitId !== known?.head?.commitId) changes.updated.push(name);
      }
      live = undefined;
      if (changes.added.length + changes.updated.length + changes.removed.length > 0) notify(changes);
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
