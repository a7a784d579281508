import { existsSync, readFileSync } from "node:fs";

/** The folder of this package: the nearest with a package.json, whether this runs from source or from a chunk of `dist`. */
const FOLDER = nearestPackage(new URL(".", import.meta.url));

export const VERSION: string = JSON.parse(readFileSync(new URL("package.json", FOLDER), "utf8")).version;

/**
 * A file that the build makes, by its path within `src/engine`. Run from source, as tests are, workers are the built ones
 * too: Node 20 cannot start one from TypeScript.
 */
export function compiledFile(path: string): URL {
  return new URL(`dist/engine/${path}`, FOLDER);
}

function nearestPackage(folder: URL): URL {
  if (existsSync(new URL("package.json", folder))) return folder;
  const parent = new URL("..", folder);
  if (parent.href === folder.href) throw new Error("lakehouse-mcp is incomplete: its package.json is missing.");
  return nearestPackage(parent);
}
