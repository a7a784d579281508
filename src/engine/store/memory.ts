import { mkdtempSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Scope } from "../kernel/scope.ts";
import { openSequence } from "../kernel/sequence.ts";
import { type Clock, systemClock } from "../settings.ts";
import { assertKey, assertPrefix, byCodeUnit, missingObject, storeClosed } from "./key.ts";
import type { Body, PutOptions, Store, StoredObject } from "./store.ts";

const LABEL = "memory";

/** A lake that ends with the process. Objects that DuckDB reads are copied to a temporary folder. */
export function openMemoryStore(scope: Scope, clock: Clock = systemClock): Store {
  const objects = new Map<string, Uint8Array>();
  const modified = new Map<string, number>();
  /** Content of the local copies, by key. */
  const copied = new Map<string, Uint8Array>();
  /** So that a copy is never older than its object. */
  const inOrder = openSequence();
  const localRoot = mkdtempSync(join(tmpdir(), "lakehouse-memory-"));
  let closed = false;

  const check = (key: string): void => {
    if (closed) throw storeClosed(LABEL);
    assertKey(key);
  };

  async function copy(key: string): Promise<string> {
    const bytes = objects.get(key);
    if (!bytes) throw missingObject(key, LABEL);
    const path = join(localRoot, ...key.split("/"));
    if (copied.get(key) !== bytes) {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(`${path}.part`, bytes);
      await rename(`${path}.part`, path);
      copied.set(key, bytes);
    }
    return path;
  }

  async function removeCopy(key: string): Promise<void> {
    if (copied.delete(key)) await rm(join(localRoot, ...key.split("/")), { force: true });
  }

  async function close(): Promise<void> {
    closed = true;
    objects.clear();
    await inOrder(() => rm(localRoot, { recursive: true, force: true }));
  }
  scope.defer(close);

  return {
    label: LABEL,
    localRoot,
    close,
    get: async (key) => {
      check(key);
      return objects.get(key)?.slice();
    },
    getRange: async (key, offset, length) => {
      check(key);
      return objects.get(key)?.slice(offset, offset + length);
    },
    has: async (key) => {
      check(key);
      return objects.has(key);
    },
    put: async (key: string, body: Body, options: PutOptions = {}) => {
      check(key);
      const bytes = body instanceof Uint8Array ? body.slice() : new Uint8Array(await readFile(body.path));
      check(key);
      // Nothing may await between this and `set`: that makes `ifAbsent` atomic.
      if (options.ifAbsent && objects.has(key)) return false;
      objects.set(key, bytes);
      modified.set(key, clock.now().getTime());
      return true;
    },
    async *list(prefix: string, options: { startAfter?: string } = {}): AsyncGenerator<StoredObject> {
      if (closed) throw storeClosed(LABEL);
      assertPrefix(prefix);
      const after = options.startAfter ?? "";
      const keys = [...objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort(byCodeUnit);
      for (const key of keys) {
        const bytes = objects.get(key);
        if (bytes) yield { key, size: bytes.length, modified: modified.get(key) ?? 0 };
      }
    },
    delete: async (key) => {
      check(key);
      objects.delete(key);
      modified.delete(key);
      await inOrder(() => removeCopy(key));
    },
    localPath: async (key) => {
      check(key);
      return inOrder(() => copy(key));
    },
  };
}
