import { mkdtemp, open, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { correctedName } from "../engine/catalog/identity.ts";
import { parseFileName } from "../engine/ingest/formats.ts";
import { throwIfAborted } from "../engine/kernel/abort.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import type { CommandContext } from "./command.ts";

/** A file to load, and the dataset to load it into. */
export interface Wanted {
  /** As on the command line; `-` is standard input. */
  file: string;
  dataset: string;
  /** The file's own name, where it had to be changed to be a dataset name. */
  corrected?: string;
}

/**
 * Which file goes into which dataset. Throws `invalid` before anything is read: for two files that would replace each
 * other, and for standard input without a name.
 */
export function plan(files: readonly string[], name: string | undefined, append: boolean): Wanted[] {
  if (files.filter((file) => file === "-").length > 1) {
    throw new LakeError("invalid", "Standard input can be read once only.", { hint: "Name - once." });
  }
  if (name !== undefined) {
    if (files.length > 1 && !append) {
      throw new LakeError("invalid", `--name ${name}: ${files.length} files would replace each other.`, {
        hint: "Add --append to load all of them into it, or leave --name out for a dataset a file.",
      });
    }
    return files.map((file) => ({ file, dataset: name }));
  }
  if (files.includes("-")) {
    throw new LakeError("invalid", "Standard input has no name.", { hint: "Add --name NAME." });
  }
  const wanted = files.map(named);
  const first = new Map<string, string>();
  for (const { file, dataset } of wanted) {
    const other = first.get(dataset);
    if (other !== undefined && !append) {
      throw new LakeError("invalid", `${other} and ${file} would both become ${dataset}.`, {
        hint: "Load them one by one with --name, or both into one with --append.",
      });
    }
    first.set(dataset, file);
  }
  return wanted;
}

/** `Q3 Sales.csv.gz` → `q3_sales`. */
function named(file: string): Wanted {
  const { format, stem } = parseFileName(basename(file));
  const bare = format ? stem : stem.replace(/(.)\.txt$/i, "$1");
  const dataset = correctedName(bare);
  return { file, dataset, ...(bare !== dataset && { corrected: bare }) };
}

export interface Opened {
  close(): Promise<void>;
  /** For the engine: the path as on the command line, and the folders it may lie in. */
  path: string;
  roots: string[];
}

/** A file where it lies, allowed because the user named it; or a temporary copy of standard input, up to `max_ingest_bytes`. */
export async function openSource(file: string, { cwd, stdin, config, signal }: CommandContext): Promise<Opened> {
  if (file !== "-") {
    // Links are resolved for the allowed roots. A missing file is reported by the engine.
    const real = await realpath(resolve(cwd, file)).catch(() => resolve(cwd, file));
    return { path: file, roots: [cwd, real, resolve(cwd, file)], close: async () => undefined };
  }
  const folder = await mkdtemp(join(tmpdir(), "lakehouse-stdin-"));
  const dispose = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    await spool(stdin, join(folder, "stdin"), config.max_ingest_bytes, signal);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { path: "stdin", roots: [folder], close: dispose };
}

async function spool(
  stdin: CommandContext["stdin"],
  path: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<void> {
  const handle = await open(path, "wx", 0o600);
  const stop = (): void => void stdin.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    // Ctrl-C may have come before the listener was there.
    throwIfAborted(signal);
    let bytes = 0;
    for await (const chunk of stdin) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        throw new LakeError("limit", `Standard input has more than ${maxBytes} bytes, which is max_ingest_bytes.`, {
          hint: "Split it, compress it, or raise --max-ingest-bytes.",
        });
      }
      await handle.writeFile(chunk);
    }
  } finally {
    signal.removeEventListener("abort", stop);
    await handle.close();
  }
}
