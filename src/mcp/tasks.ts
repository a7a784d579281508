import {
  CLIENT_CAPABILITIES_META_KEY,
  type McpServer,
  MissingRequiredClientCapabilityError,
  ProtocolErrorCode,
  type ServerContext,
} from "@modelcontextprotocol/server";
import * as z from "zod";
import type { Engine } from "../engine/engine.ts";
import { KEPT_MS } from "../engine/jobs/recovery.ts";
import type { JobRecord } from "../engine/jobs/types.ts";
import type { Log } from "../engine/settings.ts";
import { viewOfJobError } from "../tools/error-text.ts";
import { outcomeText, viewOf } from "../tools/job-view.ts";
import { errorResult, known, protocolError } from "./known-error.ts";

/** Jobs as tasks that a client polls, for the 2026 revision: https://modelcontextprotocol.io/extensions/tasks */
export const TASKS_EXTENSION = "io.modelcontextprotocol/tasks";

const POLL_MS = 1_000;

/** Whether this request says that its client accepts a task as the answer. */
export function takesTasks(context: ServerContext): boolean {
  const envelope = context.mcpReq.envelope as Record<string, { extensions?: object } | undefined> | undefined;
  const extensions = envelope?.[CLIENT_CAPABILITIES_META_KEY]?.extensions;
  return extensions !== undefined && Object.hasOwn(extensions, TASKS_EXTENSION);
}

/** The fields that make an answer to `tools/call` a task. The record of the job is durable already. */
export async function createdTask(engine: Engine, jobId: string) {
  const { status, ...task } = taskOf(await engine.jobStatus(jobId));
  // Also for a job that has ended in the meantime: tasks/get returns how.
  return { resultType: "task", ...task, status: "working" };
}

/** Registers the methods of the extension. */
export function registerTasks(server: McpServer, engine: Engine, log: Log): void {
  const answer = (method: string, handle: (taskId: string) => Promise<Record<string, unknown>>): void =>
    server.server.setRequestHandler(method, { params: z.object({ taskId: z.string() }) }, async (params, context) => {
      if (!takesTasks(context)) {
        throw new MissingRequiredClientCapabilityError({
          requiredCapabilities: { extensions: { [TASKS_EXTENSION]: {} } },
        });
      }
      try {
        return await handle(params.taskId);
      } catch (thrown) {
        const error = known(thrown, log);
        const { InvalidParams, InternalError } = ProtocolErrorCode;
        throw protocolError(error.kind === "not_found" ? InvalidParams : InternalError, error);
      }
    });
  answer("tasks/get", async (taskId) => detailed(await engine.jobStatus(taskId), engine));
  // Jobs never request input, so there is nothing that could be updated.
  answer("tasks/update", async (taskId) => {
    await engine.jobStatus(taskId);
    return {};
  });
  answer("tasks/cancel", async (taskId) => {
    await engine.cancelJob(taskId);
    return {};
  });
}

function detailed(record: JobRecord, engine: Engine) {
  const task = taskOf(record);
  if (task.status !== "completed") return task;
  if (record.error)
    return { ...task, result: { resultType: "complete", ...errorResult(viewOfJobError(record.error)) } };
  const { kind, result = {} } = viewOf(record, engine);
  const content = [{ type: "text", text: outcomeText(kind, result) }];
  return { ...task, result: { resultType: "complete", content, structuredContent: result } };
}

function taskOf(record: JobRecord) {
  const { id, created, updated, progress, error } = record;
  const status = statusOf(record);
  const working = `${Math.floor(progress.fraction * 100)} %, ${progress.message}`;
  return {
    taskId: id,
    status,
    statusMessage: error?.message ?? (status === "completed" ? "done" : working),
    createdAt: created,
    lastUpdatedAt: updated,
    ttlMs: KEPT_MS,
    pollIntervalMs: POLL_MS,
  };
}

/** A tool that ends with an error has completed; `failed` is for calls that never reached the tool. */
function statusOf({ state, kind }: JobRecord): "working" | "completed" | "cancelled" {
  if (state === "cancelled") return "cancelled";
  // An interrupted build is resumed by the next server, and a task must not go on after it has ended.
  const goesOn = state === "running" || (state === "interrupted" && kind !== "ingest");
  return goesOn ? "working" : "completed";
}
