import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { LakeError } from "../engine/kernel/errors.ts";
import type { Log } from "../engine/settings.ts";
import type { Upload, Uploads } from "../engine/uploads/uploads.ts";
import { isRefusal, type Refusal } from "./gates/refusal.ts";
import type { Route } from "./http.ts";
import { answer, busy, refuse, SHUTTING_DOWN } from "./http-answer.ts";
import { openSharedPlaces } from "./http-limits.ts";
import { incomingOf, SEND_WHOLE } from "./upload-headers.ts";

export interface UploadRouteSettings {
  uploads: Uploads;
  log: Log;
  /** Uploads at a time that one caller may have; infinite where all are the same. */
  maxPerCaller: number;
  /** A sender that is silent for longer has gone, and nothing of it is kept. Default: a minute. */
  idleMs?: number;
  /** Whether calls wait for what takes the machine's time, so that bodies are to be read slowly. Default: never. */
  isBusy?: () => boolean;
}

const IDLE_MS = 60_000;
/** After each chunk, most of 64 KiB, while the server is busy: an upload has time, and calls have somebody waiting. */
const YIELD_MS = 10;
/** Bodies that are written at the same time: a disk is not faster for more. */
const MAX_RUNNING = 16;
/** Of those, one token's: as with calls, a quarter is left to others, whatever is set. */
const MAX_OF_ONE = 12;
/** Of all that may wait, in number and in bytes, one token's. */
const SHARE = 0.75;
/**
 * What a sender has to bring in each minute that it is waited for. Any line in use is faster; without it a byte a minute
 * holds a place, and room in the quota, for as long as it likes.
 */
const MIN_BYTES_PER_S = 1_024;
const RETRY_S = 5;

/**
 * `PUT /uploads?name=…` takes a file and `GET /uploads` lists those of the caller; at an upload's own address, `GET` tells
 * what it is and `DELETE` removes it.
 */
export function uploadRoutes(settings: UploadRouteSettings): Record<string, Route> {
  const { uploads, log } = settings;
  const { maxPerCaller } = settings;
  const each = maxPerCaller === Number.POSITIVE_INFINITY ? MAX_RUNNING : Math.min(maxPerCaller, MAX_OF_ONE);
  const running = openSharedPlaces(MAX_RUNNING, each);
  // Places and room of what waits for its ingest.
  const share = maxPerCaller === Number.POSITIVE_INFINITY ? 1 : SHARE;
  let draining = false;

  const put = async (
    request: IncomingMessage,
    response: ServerResponse,
    caller: string,
    name: string | undefined,
  ): Promise<void> => {
    const incoming = incomingOf(request.headers);
    if (isRefusal(incoming)) return refuse(request, response, incoming);
    if (draining) return refuse(request, response, SHUTTING_DOWN);
    const release = running.take(caller);
    if (release === "all") {
      return refuse(request, response, busy(`${MAX_RUNNING} uploads are running.`, RETRY_S));
    }
    if (release === "caller") {
      const message = `Your token has ${each} uploads running, the most for one.`;
      return refuse(request, response, busy(message, RETRY_S, 429));
    }
    const started = performance.now();
    let outcome = "ok";
    try {
      const body = bodyOf(request, response, settings);
      tell(response, 201, await uploads.receive(caller, { ...incoming, name, share }, body));
    } catch (error) {
      outcome = outcomeOf(error, request);
      if (outcome === "slow") refuse(request, response, TOO_SLOW);
      else if (outcome !== "cut") throw error;
    } finally {
      release();
      log("info", "upload", { outcome, ms: Math.round(performance.now() - started), caller });
    }
  };

  const all: Route = {
    methods: ["PUT", "GET"],
    access: "caller",
    slow: ["PUT"],
    handle: async (request, response, { name: caller }) => {
      if (request.method === "GET") return answer(response, 200, { uploads: await uploads.list(caller) });
      const query = queryOf(request);
      return isRefusal(query) ? refuse(request, response, query) : put(request, response, caller, query.name);
    },
    drain: async (ms) => {
      draining = true;
      await running.empty(ms);
    },
  };
  const one: Route = {
    methods: ["PUT", "GET", "HEAD", "DELETE"],
    access: "caller",
    handle: async (request, response, { name: caller }) => {
      const [path = ""] = (request.url ?? "").split("?");
      const id = path.slice("/uploads/".length);
      if (request.method === "PUT") return refuse(request, response, { status: 400, message: SEND_WHOLE });
      if (request.method !== "DELETE") return tell(response, 200, await uploads.find(caller, id));
      await uploads.remove(caller, id);
      response.writeHead(204).end();
    },
  };
  return { "/uploads": all, "/uploads/*": one };
}

/** With the digest of RFC 9530. */
function tell(response: ServerResponse, status: number, upload: Upload): void {
  answer(response, status, upload, {
    location: `/uploads/${upload.upload}`,
    ...(upload.sha256 !== null && {
      "repr-digest": `sha-256=:${Buffer.from(upload.sha256, "hex").toString("base64")}:`,
    }),
  });
}

/** The body as it comes. The client is told to go on, if it asks, when the first of it is wanted. */
async function* bodyOf(
  request: IncomingMessage,
  response: ServerResponse,
  { idleMs = IDLE_MS, isBusy = () => false }: UploadRouteSettings,
) {
  if (request.headers.expect !== undefined) {
    response.writeContinue();
    // From here on the body is on its way.
    request.headers.expect = undefined;
  }
  // Left early, the request must live on until it is answered.
  const chunks: AsyncIterator<Buffer> = request.iterator({ destroyOnReturn: false });
  // Time in which we write counts for nothing: a slow disk is not the sender's fault.
  let [waited, came] = [0, 0];
  try {
    for (;;) {
      const asked = performance.now();
      const idle = setTimeout(() => request.destroy(), idleMs);
      const next = await chunks.next().finally(() => clearTimeout(idle));
      if (next.done) return;
      waited += performance.now() - asked;
      came += next.value.length;
      if (waited >= idleMs) {
        if (came < (MIN_BYTES_PER_S * idleMs) / 1_000 && !request.complete) throw SLOW;
        [waited, came] = [0, 0];
      }
      yield next.value;
      if (isBusy()) await sleep(YIELD_MS);
    }
  } finally {
    await chunks.return?.();
  }
}

function queryOf({ url = "" }: IncomingMessage): { name: string | undefined } | Refusal {
  const query = new URLSearchParams(url.slice(`${url}?`.indexOf("?") + 1));
  const [name, ...more] = query.getAll("name");
  if (more.length === 0 && [...query.keys()].every((key) => key === "name")) return { name };
  return { status: 400, message: "The address takes one name and nothing else: /uploads?name=workers.csv." };
}

/** What the log calls an upload that failed. */
function outcomeOf(error: unknown, request: IncomingMessage): string {
  if (error instanceof LakeError) return error.kind;
  // Nobody is there any more to be told.
  if (request.destroyed) return "cut";
  return error === SLOW ? "slow" : "internal";
}

const SLOW = new Error("too slow");
const TOO_SLOW: Refusal = {
  status: 408,
  message:
    `Less than ${MIN_BYTES_PER_S} bytes a second came, and nothing was kept. ` +
    "Send the file again over a faster line, or compressed.",
};
