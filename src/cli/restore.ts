import * as z from "zod";
import { countOf } from "../engine/kernel/amounts.ts";
import { defineCommand } from "./command.ts";
import { jsonText } from "./text.ts";

export const restore = defineCommand({
  name: "restore",
  summary: "Bring an old version of a dataset or an index back.",
  needsLake: true,
  usage: ["NAME@VERSION"],
  args: { least: 1, most: 1 },
  flags: { json: z.boolean().default(false).describe("Write the result as JSON.") },
  notes: "It becomes the newest version; no data is copied, and the versions between stay. Also after a drop.",
  run: async ({ flags, args: [reference = ""] }, { engine, out }) => {
    const restored = await (await engine()).restore(reference);
    if (flags.json) await out.write(`${jsonText(restored)}\n`);
    else {
      const { name, version, from, rows, kind, unchanged } = restored;
      const size = countOf(rows, kind === "vectors" ? "item" : "row");
      const what = unchanged ? `has the content of version ${from} already` : `is version ${from} again`;
      await out.write(`${name}@${version} ${what}: ${size}\n`);
    }
    return 0;
  },
});
