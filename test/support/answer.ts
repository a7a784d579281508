import { z } from "zod";
import { tools } from "../../src/tools/index.ts";
import { type Lake, stable, textOf } from "./lake.ts";

/** The result, which has exactly what the tool's output schema says. */
export async function answer(lake: Lake, name: string, args: Record<string, unknown>) {
  const result = await lake.raw(name, args);
  if (result.isError) throw new Error(textOf(result));
  const tool = tools.find((each) => each.name === name);
  const structured = z.strictObject(tool?.output.shape ?? {}).parse(result.structuredContent);
  return { structured: structured as Record<string, unknown>, text: stable(textOf(result)) };
}
