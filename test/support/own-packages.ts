import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const CONFORMANCE = fileURLToPath(new URL("../conformance/", import.meta.url));
const INSTALLED = "node_modules/.installed";

/**
 * Installs the packages of a folder that has a lock of its own, once for each lock. Nothing runs while it does: what is
 * fetched comes from the registry alone.
 */
export async function install(folder: string): Promise<void> {
  const lock = createHash("sha256")
    .update(await readFile(join(folder, "package-lock.json")))
    .digest("hex");
  const installed = join(folder, INSTALLED);
  if ((await readFile(installed, "utf8").catch(() => "")) === lock) return;
  await promisify(execFile)("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: folder });
  await writeFile(installed, lock);
}

/** The Node 22 that comes with the conformance suite; where it has none, the Node that runs the tests has to be new enough. */
export async function findNode22(): Promise<string> {
  await install(CONFORMANCE);
  const platform = process.platform === "win32" ? "win" : process.platform;
  const binary = process.platform === "win32" ? "node.exe" : "node";
  const packed = join(CONFORMANCE, `node_modules/node-${platform}-${process.arch}/bin`, binary);
  if (existsSync(packed)) return packed;
  if (Number(process.versions.node.split(".")[0]) >= 22) return process.execPath;
  throw new Error(`These tests need Node 22: there is none in ${packed}. Run them with Node 22.`);
}
