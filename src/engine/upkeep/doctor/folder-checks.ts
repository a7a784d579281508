import { mkdtemp, rm, stat, statfs } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { grouped } from "../../kernel/amounts.ts";
import { hasCode, LakeError } from "../../kernel/errors.ts";
import { action, next, setting } from "../../kernel/next-step.ts";
import type { Scope } from "../../kernel/scope.ts";
import type { EngineSettings } from "../../settings.ts";
import { openFileStore } from "../../store/file.ts";
import { withFileErrors } from "../../store/file-errors.ts";
import type { Store } from "../../store/store.ts";
import type { Check } from "./check.ts";

const MIB = 2 ** 20;
/** Less than this, and the next ingest may fail; much less, and it will. */
const LITTLE_DISK = 2 * 1024 * MIB;
const NO_DISK = 64 * MIB;
const WRITERS = 8;
/** File systems over a network keep a time of their own. */
const SKEW_MS = 5_000;
const MAX_SKEW_MS = 300_000;

const NOT_ON_DISK = { status: "ok", found: "The lakehouse is in memory: nothing is kept." } as const;

export const folder: Check = {
  name: "data folder",
  run: async (settings, scope) => {
    if (settings.data === "memory") return NOT_ON_DISK;
    const { isThere } = await openProbe(settings, scope);
    const what = isThere ? "can be written." : "does not exist yet, and can be made.";
    return { status: "ok", found: `${settings.data} ${what}` };
  },
};

export const disk: Check = {
  name: "free disk",
  run: async (settings) => {
    if (settings.data === "memory") return NOT_ON_DISK;
    const { bavail, bsize } = await statfs((await nearestFolder(settings.data)).path);
    const free = bavail * bsize;
    const found = `${grouped(Math.floor(free / MIB))} MiB are free.`;
    if (free >= LITTLE_DISK) return { status: "ok", found };
    const fix = next`Free some space: see what ${action("gc")} would delete, or point ${setting("data")} to another disk.`;
    return { status: free < NO_DISK ? "fail" : "warn", found, fix };
  },
};

export const commits: Check = {
  name: "commits",
  run: async (settings, scope) => {
    if (settings.data === "memory") return NOT_ON_DISK;
    const { store } = await openProbe(settings, scope);
    const puts = Array.from({ length: WRITERS }, (_, writer) =>
      store.put("catalog/probe", Buffer.from(`${writer}`), { ifAbsent: true }),
    );
    const won = (await Promise.all(puts)).filter(Boolean).length;
    if (won === 1) {
      return { status: "ok", found: `Files are synced, and of ${WRITERS} writers at once exactly one wins.` };
    }
    return {
      status: "fail",
      found: `Of ${WRITERS} writers at once ${won} won: two commits could overwrite each other on this file system.`,
      fix: next`Point ${setting("data")} to a folder on a local disk.`,
    };
  },
};

export const clock: Check = {
  name: "clock",
  run: async (settings, scope) => {
    if (settings.data === "memory") return NOT_ON_DISK;
    const { store } = await openProbe(settings, scope);
    const fix =
      "Set this machine's clock (for example with NTP). gc trusts the store's clock, commits are dated by this one.";
    await store.put("probe", Buffer.from("x"));
    const now = settings.clock.now().getTime();
    for await (const { modified } of store.list("probe")) {
      const skew = Math.round(now - modified);
      if (Math.abs(skew) <= SKEW_MS) break;
      const found = `This machine's clock is ${Math.abs(skew)} ms ${skew > 0 ? "ahead of" : "behind"} the file system's.`;
      return { status: Math.abs(skew) > MAX_SKEW_MS ? "fail" : "warn", found, fix };
    }
    const ahead = (await newestObject(settings, scope)) - now;
    if (ahead > SKEW_MS) {
      const found = `The newest version was committed ${Math.round(ahead / 1000)} s in the future: the clock was set back.`;
      return { status: "warn", found, fix };
    }
    return { status: "ok", found: `It is ${new Date(now).toISOString()}, here and in the data folder.` };
  },
};

export const allowed: Check = {
  name: "ingest folders",
  run: async ({ allow }) => {
    for (const path of allow) {
      const isFolder = await stat(path).then(
        (stats) => stats.isDirectory(),
        () => false,
      );
      if (isFolder) continue;
      const fix = next`Create it, or correct ${setting("allow")}.`;
      return { status: "warn", found: `${path} is allowed for ingest, and is no folder.`, fix };
    }
    const found = allow.length === 0 ? "No folder is set; a server decides by how it is started." : allow.join(", ");
    return { status: "ok", found };
  },
};

interface Probe {
  store: Store;
  isThere: boolean;
}

/** A store of its own inside of the data folder, or where that would be made: gone with the scope. */
async function openProbe({ data }: EngineSettings, scope: Scope): Promise<Probe> {
  const { path, isThere } = await nearestFolder(data);
  // No key begins with a dot, so nobody takes it for a part of the lake.
  const root = await withFileErrors("write into", isThere ? data : path, () => mkdtemp(join(path, ".doctor-")));
  scope.defer(() => rm(root, { recursive: true, force: true }));
  return { store: await openFileStore(scope, { folder: root, label: data }), isThere };
}

/** The data folder, or the folder above it that exists. */
async function nearestFolder(data: string): Promise<{ path: string; isThere: boolean }> {
  for (let path = resolve(data); ; path = dirname(path)) {
    try {
      if ((await stat(path)).isDirectory()) return { path, isThere: path === resolve(data) };
    } catch (error) {
      if (hasCode(error, "ENOENT")) continue;
      await withFileErrors("open the folder", data, () => Promise.reject(error));
    }
    throw new LakeError("denied", `${path} is a file, and a folder is needed there.`, {
      hint: next`Move that file away, or use another ${setting("data")}.`,
    });
  }
}

async function newestObject({ data }: EngineSettings, scope: Scope): Promise<number> {
  if (!(await nearestFolder(data)).isThere) return 0;
  const store = await openFileStore(scope, { folder: data, label: data });
  let newest = 0;
  for await (const { modified } of store.list("catalog/")) newest = Math.max(newest, modified);
  return newest;
}
