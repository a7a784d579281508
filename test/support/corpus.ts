import { readdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

/** A file that a fuzzer loads in every run. */
interface Kept {
  name: string;
  bytes: Buffer;
  /** `hostile-` files must be refused; `found-` ones, which a fuzzer kept, may load or be refused; the others must load. */
  kind: "sound" | "hostile" | "found";
}

/** The files of a folder that end in `ending`, or in that and `.gz`. Throws where the folder has no sound ones. */
export async function readCorpus(folder: URL, ending: string): Promise<Kept[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(ending) || name.endsWith(`${ending}.gz`)).sort();
  const kept = await Promise.all(
    names.map(async (name): Promise<Kept> => {
      const bytes = await readFile(new URL(name, folder));
      const kind = name.startsWith("hostile-") ? "hostile" : name.startsWith("found-") ? "found" : "sound";
      return { name, bytes: name.endsWith(".gz") ? gunzipSync(bytes) : bytes, kind };
    }),
  );
  if (!kept.some(({ kind }) => kind === "sound"))
    throw new Error(`${fileURLToPath(folder)} has no files of the corpus.`);
  return kept;
}

/** Keeps an input that a fuzzer found, and returns what to do with it, in words. */
export async function keepFound(folder: URL, name: string, bytes: Buffer): Promise<string> {
  const place = new URL(`found-${name}`, folder);
  await writeFile(place, bytes);
  const inline = bytes.length <= 8192 ? ` Its bytes: ${bytes.toString("base64")}` : "";
  return `Kept as ${fileURLToPath(place)}: mend the cause, and commit the file, so that every run loads it again.${inline}`;
}
