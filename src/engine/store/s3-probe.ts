import { randomUUID } from "node:crypto";
import { LakeError } from "../kernel/errors.ts";
import { next, setting } from "../kernel/next-step.ts";
import type { S3Connection } from "./s3-client.ts";
import { S3Failure } from "./s3-errors.ts";
import { createObject, deleteObject } from "./s3-objects.ts";

/** Concurrent writers of the probe. A server that checks first and writes then lets several of them win. */
const WRITERS = 12;

/** Whether the server lets only one of several writers create a key, which commits depend on. Tries it out. */
export async function keepsWritersApart(s3: S3Connection): Promise<boolean> {
  // No key of the lake starts with a dot.
  const key = `.probe/${randomUUID()}`;
  const create = (): Promise<boolean> => createObject(s3, key, new TextEncoder().encode(randomUUID()));
  try {
    const won = await Promise.all(Array.from({ length: WRITERS }, create));
    const isCreatedAgain = await create();
    return won.filter(Boolean).length === 1 && !isCreatedAgain;
  } catch (error) {
    // Servers that do not know the condition answer 501 or 400.
    const cause = error instanceof LakeError ? error.cause : undefined;
    if (cause instanceof S3Failure && cause.isUnsupported) return false;
    throw error;
  } finally {
    await deleteObject(s3, key).catch(() => undefined);
  }
}

export function doesNotKeepWritersApart(label: string): LakeError {
  return new LakeError(
    "denied",
    `${label} does not keep two writers apart: several created the same object, and each was told that it was first.`,
    {
      hint: next`Commits could get lost. Use a server that supports If-None-Match (Amazon, Ceph RGW 19, MinIO, R2); or, when only one server process will ever write to this bucket, set ${setting("s3_single_writer")} to true.`,
      facts: { setting: "s3_single_writer" },
    },
  );
}
