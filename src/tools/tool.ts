import type * as z from "zod";
import type { Engine } from "../engine/engine.ts";

/** The effect of a tool on the lake, from which its MCP annotations follow. */
export type Effect = "read" | "write" | "destroy";

export interface ToolContext {
  engine: Engine;
  signal: AbortSignal;
  /** `fraction` is 0 to 1. Cheap when the client did not request progress. */
  progress: (fraction: number, message: string) => void;
  /** Name of the caller's token, over HTTP. */
  caller: string | undefined;
  /** Folders the client offers in addition to the allowed ones. */
  roots: () => Promise<string[]>;
}

export interface Tool {
  name: string;
  title: string;
  effect: Effect;
  /** Whether repeating a call changes nothing more. */
  idempotent: boolean;
  description: string;
  input: z.ZodObject;
  output: z.ZodObject;
  /** Takes arguments that `input` has accepted. */
  call: (args: never, context: ToolContext) => Promise<{ structured: Record<string, unknown>; text: string }>;
}

export interface ToolDefinition<Input extends z.ZodObject, Output extends z.ZodObject> {
  name: string;
  title: string;
  effect: Effect;
  idempotent?: boolean;
  description: string;
  input: Input;
  output: Output;
  run: (args: z.output<Input>, context: ToolContext) => Promise<z.input<Output>>;
  text: (result: z.input<Output>, args: z.output<Input>, context: ToolContext) => string;
}

export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject>(
  definition: ToolDefinition<Input, Output>,
): Tool {
  const { run, text, ...tool } = definition;
  return {
    idempotent: definition.effect === "read",
    ...tool,
    call: async (args: z.output<Input>, context) => {
      const structured = await run(args, context);
      return { structured: structured as Record<string, unknown>, text: text(structured, args, context) };
    },
  };
}
