import type { Scope } from "../kernel/scope.ts";

/** Bytes, or a finished local file whose bytes are to be stored (it may be moved). */
export type Body = Uint8Array | { path: string };

export interface PutOptions {
  /** Create the key only if nothing is there: the commit primitive. */
  ifAbsent?: boolean;
}

export interface StoredObject {
  key: string;
  /** Size in bytes. */
  size: number;
  /** When it was put, or slightly before, in ms since 1970 by the store's own clock. */
  modified: number;
}

/** Of the local copies that this process has used. */
export interface CopyStats {
  hits: number;
  /** Copies that had to be fetched. */
  misses: number;
  /** Size of the copies of all processes; undefined before this one has measured it. */
  bytes: number | undefined;
  maxBytes: number;
}

/**
 * Bytes by key. Keys are relative, `/`-separated, made of `[A-Za-z0-9._-]` segments that do not start with a dot.
 * A `put` that has returned is durable; one that failed or was cut off has stored the whole object or nothing.
 */
export interface Store {
  /** For messages: `memory`, or the folder as the user wrote it. */
  readonly label: string;
  /** The whole object, or `undefined` when there is none. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** `length` bytes from `offset` (shorter at the end), or `undefined` when there is no such key. */
  getRange(key: string, offset: number, length: number): Promise<Uint8Array | undefined>;
  /** False only with `ifAbsent`, when the key exists: another writer was first. */
  put(key: string, body: Body, options?: PutOptions): Promise<boolean>;
  /** Whether the key exists; cheaper than `get`. */
  has(key: string): Promise<boolean>;
  /** Keys under `prefix` in ascending order, after `startAfter` when given. */
  list(prefix: string, options?: { startAfter?: string }): AsyncIterable<StoredObject>;
  /** Deleting an absent key is no error. */
  delete(key: string): Promise<void>;
  /**
   * A local file with the object's bytes, for DuckDB to read in place; it must not be written to. A copy is pinned until
   * `scope` is closed; without a scope, for a minute. Throws `corrupt` when there is no such object.
   */
  localPath(key: string, scope?: Scope): Promise<string>;
  /** Present when objects are on another machine: every access is a round trip, and local files are copies. */
  readonly remote?: {
    /** Pins the copies of all keys as `localPath` does, if all are present; else none. */
    pin(keys: readonly string[], scope: Scope): boolean;
    /**
     * Reads the copies of these keys again, and removes those whose bytes have changed. Returns their keys, and those of
     * copies that were replaced or removed since they were pinned, at a time of `performance.now()`.
     */
    recheck(pinned: ReadonlyMap<string, number>): Promise<string[]>;
    stats(): CopyStats;
  };
  /** The folder that contains every `localPath`. */
  readonly localRoot: string;
  close(): Promise<void>;
}
