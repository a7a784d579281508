import type { Log } from "../settings.ts";
import type { Changes, Head, Unreadable } from "./types.ts";

/** What the catalog knows of a dataset that exists or existed. */
export interface Known {
  /** The newest version, readable or not. */
  version: number;
  /** The newest readable one, which may be a tombstone. */
  head: Head | undefined;
  /** Why `version` could not be read. */
  problem: Unreadable | undefined;
}

export interface Update {
  name: string;
  /** Undefined when it has no versions any more. */
  known: Known | undefined;
  /**
   * Reads may overtake each other, so an update to an older version than the known one is ignored; unless this is the
   * known one, whose manifest was found to have been removed.
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

/** The heads of all datasets in memory, and the listeners to their changes. */
export function openHeads(log: Log): Heads {
  const all = new Map<string, Known>();
  const listeners = new Set<(changes: Changes) => void>();
  let live: Head[] | undefined;

  function notify(changes: Changes): void {
    for (const listener of listeners) {
      try {
        listener(changes);
      } catch (error) {
        // The commit is done, whatever a listener does.
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

export function isLive(known: Known | undefined): boolean {
  return known?.head !== undefined && !known.head.dropped;
}

export function readable(head: Head): Known {
  return { version: head.version, head: withoutFiles(head), problem: undefined };
}

/** Heads of ten thousand datasets are kept in memory; their lists of files are not. */
export function withoutFiles(head: Head & { files?: unknown }): Head {
  const { files: _, ...rest } = head;
  return rest;
}
