import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { envName, settingNames } from "../../src/config/config.ts";

test("every setting that an error message names exists", () => {
  const known = new Set<string>([...settingNames, ...settingNames.map(envName)]);
  const named: string[] = [];
  for (const entry of readdirSync("src/engine", { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const text = readFileSync(join(entry.parentPath, entry.name), "utf8");
    named.push(...(text.match(/LAKEHOUSE_[A-Z0-9_]+/g) ?? []));
    named.push(...Array.from(text.matchAll(/\bsetting\("(\w+)"\)/g), ([, name = ""]) => name));
  }
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((name) => !known.has(name))).toEqual([]);
});
