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
  /** When it was put there, or a little before, in ms since 1970 by the store's own clock. */
  modified: number;
}

/** Of the local copies, for all that this process has asked for. */
export interface CopyStats {
  /** Asked for, and there. */
  hits: number;
  /** Fetched. */
  misses: number;
  /** What the copies of all processes take; undefined before this one has looked. */
  bytes: number | undefined;
  maxBytes: number;
}

/**
 * Bytes by key. Keys are relative, `/`-separated, made of `[A-Za-z0-9._-]` segments that do not start with a dot.
 * A `put` that has returned is durable; a `put` that has not is wholly there or not at all.
 */
export interface Store {
  /** For messages: `memory`, or the folder as the user wrote it. */
  readonly label: string;
  /** Whole object, or `undefined` when there is none. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** `length` bytes from `offset` (shorter at the end), or `undefined` when there is no such key. */
  getRange(key: string, offset: number, length: number): Promise<Uint8Array | undefined>;
  /** False only with `ifAbsent`, when the key exists: somebody else won. */
  put(key: string, body: Body, options?: PutOptions): Promise<boolean>;
  /** Whether the key exists; cheaper than `get`. */
  has(key: string): Promise<boolean>;
  /** Keys under `prefix` in ascending order, after `startAfter` when given. */
  list(prefix: string, options?: { startAfter?: string }): AsyncIterable<StoredObject>;
  /** Deleting what is not there is no error. */
  delete(key: string): Promise<void>;
  /**
   * A local file with the object's bytes, for DuckDB to read in place; it must not be written to. One that is a copy
   * stays until `scope` is closed; without a scope, for a minute.
   */
  localPath(key: string, scope?: Scope): Promise<string>;
  /** Present when objects are elsewhere: every question takes a round trip, and local files are copies. */
  readonly remote?: {
    /** Holds the copies of all of them as `localPath` does, if all are there already. */
    hold(keys: readonly string[], scope: Scope): boolean;
    /**
     * Reads the copies of these again, and takes out those whose bytes have changed. Which they were, and which are others
     * or gone since they were held, at a moment of `performance.now()`.
     */
    recheck(held: ReadonlyMap<string, number>): Promise<string[]>;
    stats(): CopyStats;
  };
  /** The one folder that every `localPath` and every finished upload lies in. */
  readonly localRoot: string;
  close(): Promise<void>;
}
