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
  /** Of every key, with its slash; empty for a lake that has the bucket to itself. */
  readonly prefix: string;
  /**
   * Runs one request, again after a failure that may pass, with growing random waits, until `deadlineMs` are over.
   * Throws what went wrong last as a `LakeError`; errors of local files as they are; `closed` after the scope.
   */
  attempt<T>(what: string, work: (signal: AbortSignal) => Promise<T>, deadlineMs?: number): Promise<T>;
  assertOpen(): void;
}

const CONNECT_MS = 5_000;
const FIRST_WAIT_MS = 50;
const MAX_WAIT_MS = 5_000;
const MAX_SOCKETS = 128;

/** A client of one bucket. What is known of retries and deadlines is here: the SDK's own are turned off. */
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
      // Without a byte either way for so long, the attempt has failed; there is time for another.
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
    attempt: async (what, work, deadlineMs = timeoutMs) => {
      const until = performance.now() + deadlineMs;
      let before: unknown;
      for (let attempt = 0; ; attempt++) {
        assertOpen();
        try {
          return await once(work, Math.max(1, until - performance.now()));
        } catch (error) {
          assertOpen();
          if (isLocal(error)) throw error;
          // An attempt that the deadline cut short says nothing of the server; the one before it does.
          const told = (error as Error).name === "AbortError" ? (before ?? error) : error;
          before = error;
          const most = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
          const wait = randomInt(Math.ceil(most / 2), most + 1);
          if (!isTransient(error) || performance.now() + wait >= until) throw s3Error(what, { bucket, endpoint }, told);
          await sleep(wait);
        }
      }
    },
  };
}

/** The SDK's own chain (environment, shared files, container and instance roles), or one file in its format. */
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

/** Tells the SDK the SHA-256 of the body, which it else computes in one go, blocking whatever else there is to do. */
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
