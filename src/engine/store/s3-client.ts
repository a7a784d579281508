import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { S3Client } from "@aws-sdk/client-s3";
import type { Scope } from "../kernel/scope.ts";
import type { S3Settings } from "../settings.ts";
import { storeClosed } from "./key.ts";
import { isLocal, isTransient, s3Error } from "./s3-errors.ts";

export interface S3Connection {
  readonly client: S3Client;
  readonly bucket: string;
  /** Prefix of every key, with its slash; empty for a lake at the top of the bucket. */
  readonly prefix: string;
  /**
   * Runs one request, and retries it after transient failures, with growing random waits, until `deadlineMs` have passed.
   * Throws the last failure as a `LakeError` that begins with `task`; errors of local files unchanged; `closed` after the
   * scope was closed.
   */
  attempt<T>(task: string, work: (signal: AbortSignal) => Promise<T>, deadlineMs?: number): Promise<T>;
  assertOpen(): void;
}

const CONNECT_MS = 5_000;
const FIRST_WAIT_MS = 50;
const MAX_WAIT_MS = 5_000;
const MAX_SOCKETS = 128;

/** A client of one bucket. Retries and deadlines are its own: those of the SDK are turned off. */
export async function openS3Client(scope: Scope, settings: S3Settings, label: string): Promise<S3Connection> {
  const { bucket, prefix, endpoint, region, pathStyle, timeoutMs } = settings;
  const credentials = await credentialsOf(settings);
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
  const client = new S3Client({
    region,
    ...(endpoint !== undefined && { endpoint }),
    ...(credentials && { credentials }),
    forcePathStyle: pathStyle,
    maxAttempts: 1,
    // Every body is signed with its SHA-256, which every S3 server checks; many know no other checksums.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: Math.min(CONNECT_MS, timeoutMs),
      // An attempt without traffic for a third of the time has failed; the rest is for another.
      socketTimeout: Math.max(250, Math.ceil(timeoutMs / 3)),
      httpAgent: agent,
      httpsAgent: agent,
    },
    logger: { trace() {}, debug() {}, info() {}, warn() {}, error() {} },
  });
  const running = new Set<AbortController>();
  let closed = false;
  scope.defer(() => {
    closed = true;
    for (const controller of running) controller.abort();
    client.destroy();
  });

  const assertOpen = (): void => {
    if (closed) throw storeClosed(label);
  };

  async function once<T>(work: (signal: AbortSignal) => Promise<T>, ms: number): Promise<T> {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), ms);
    running.add(controller);
    try {
      return await work(controller.signal);
    } finally {
      clearTimeout(timer);
      running.delete(controller);
    }
  }

  return {
    client,
    bucket,
    prefix: prefix === "" ? "" : `${prefix}/`,
    assertOpen,
    attempt: async (task, work, deadlineMs = timeoutMs) => {
      const until = performance.now() + deadlineMs;
      let previous: unknown;
      for (let attempt = 0; ; attempt++) {
        assertOpen();
        try {
          return await once(work, Math.max(1, until - performance.now()));
        } catch (error) {
          assertOpen();
          if (isLocal(error)) throw error;
          // The deadline may have cut this attempt short: then the failure before it says more about the server.
          const reported = (error as Error).name === "AbortError" ? (previous ?? error) : error;
          previous = error;
          const most = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
          const wait = randomInt(Math.ceil(most / 2), most + 1);
          if (!isTransient(error) || performance.now() + wait >= until)
            throw s3Error(task, { bucket, endpoint }, reported);
          await sleep(wait);
        }
      }
    },
  };
}

/** From the one file that was configured; else undefined, for the SDK's own chain (environment, shared files, roles). */
async function credentialsOf({ credentialsFile, profile }: S3Settings) {
  if (credentialsFile === undefined && profile === undefined) return undefined;
  const { fromIni } = await import("@aws-sdk/credential-provider-ini");
  return fromIni({
    ...(credentialsFile !== undefined && { filepath: credentialsFile, configFilepath: credentialsFile }),
    profile: profile ?? "default",
    ignoreCache: true,
  });
}

interface Signable {
  middlewareStack: {
    add(
      middleware: (next: (args: never) => unknown) => (args: { request: unknown }) => unknown,
      options: { step: "build"; name: string },
    ): void;
  };
}

/** Gives the SDK the SHA-256 of the body, which it otherwise computes in one step that blocks the event loop. */
export function signedAs<Command>(command: Command, sha256: string): Command {
  (command as unknown as Signable).middlewareStack.add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers["x-amz-content-sha256"] = sha256;
      return next(args as never);
    },
    { step: "build", name: "lakeContentSha256" },
  );
  return command;
}
