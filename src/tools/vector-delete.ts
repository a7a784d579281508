import * as z from "zod";
import { countOf } from "../engine/kernel/amounts.ts";
import { LakeError } from "../engine/kernel/errors.ts";
import { MAX_ITEMS } from "../engine/kernel/limits.ts";
import { fitting } from "./fitting.ts";
import { fence } from "./render.ts";
import { defineTool } from "./tool.ts";
import { index } from "./vector-schema.ts";

/** In the text. The caller knows the ids. */
const SHOWN_IDS = 100;

export const vectorDelete = defineTool({
  name: "vector-delete",
  title: "Delete vectors",
  effect: "destroy",
  description:
    "Delete items from a vector index by id, or drop the index as a whole with all: true. One call is one atomic, durable version. Ids that are not there are reported, not refused. An index of a dataset gets its rows back at the next vector-index-create.",
  input: z.strictObject({
    index,
    ids: z.array(z.string()).min(1).max(MAX_ITEMS).optional().describe("1 to 10,000. Give either ids or all."),
    all: z.boolean().optional().describe("true drops the index; its versions stay readable in sql."),
  }),
  output: z.object({
    index: z.string(),
    version: z.int(),
    deleted: z.int(),
    missing: z.array(z.string()).describe("Ids that were not there."),
    missing_total: z.int().optional().describe("When there are more of them than these."),
    count: z.int().describe("Items left."),
    dropped: z.boolean(),
  }),
  run: async ({ index: from, ids, all = false }, { engine, signal, progress }) => {
    if ((ids !== undefined) === all) {
      throw new LakeError("invalid", "Give either ids or all.", {
        hint: "ids deletes these items; all: true drops the index as a whole.",
      });
    }
    const request = all ? { index: from, all } : { index: from, ids };
    const result = await engine.deleteItems(request, { signal, onProgress: progress });
    const { index: name, version, deleted, missing, count, dropped } = result;
    const fit = fitting(missing, engine.maxResultBytes, (id) => JSON.stringify(id));
    const cut = fit < missing.length && { missing_total: missing.length };
    return { index: name, version, deleted, missing: missing.slice(0, fit), ...cut, count, dropped };
  },
  text: ({ index: name, version, deleted, missing, missing_total = missing.length, count, dropped }) => {
    if (dropped) {
      return `${name} is dropped (version ${version}). "${name}@${version - 1}" stays readable in sql until retention removes it.`;
    }
    const lines = [
      `${countOf(deleted, "item")} deleted. ${name} is at version ${version}: ${countOf(count, "item")} left.`,
    ];
    if (missing.length > 0) {
      const shown = missing.slice(0, SHOWN_IDS);
      const more = missing_total - shown.length;
      lines.push(
        `Not there: ${countOf(missing_total, "id")}${more > 0 ? `, the first ${shown.length} of them` : ""}:`,
        fence(shown.map((id) => JSON.stringify(id)).join("\n")),
      );
    }
    return lines.join("\n");
  },
});
