import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { cancelled, throwIfAborted } from "../kernel/abort.ts";
import { LakeError } from "../kernel/errors.ts";

/** A service that answers in JSON over HTTP. */
export interface Service {
  /** As errors call it, at the start of a sentence. */
  name: string;
  /** Its address as the user wrote it. */
  url: string;
  /** What to do when nothing answers there. */
  absentHint: string;
  /** Never shown, also when the service repeats it. */
  secret?: string | undefined;
  /** The error for a status that is not 2xx, when there is more to say about it. `message` is the service's own. */
  refusal(status: number, message: string): LakeError | undefined;
}

const ATTEMPTS = 3;
const PAUSE_MS = 100;
/** Far more than one batch of vectors takes. */
const MAX_ANSWER_BYTES = 64 * 2 ** 20;
const MAX_ERROR_BYTES = 2 ** 16;
const MAX_MESSAGE_CHARS = 300;
const SIZE_HINT = "This does not look like an embedding service; check its address in the settings.";

/**
 * Sends one request and returns the whole answer when its status is 2xx. Only a connection that fails is tried again,
 * which repeats nothing but work. Throws `unavailable`, or what `refusal` makes of the status.
 */
export async function request(
  service: Service,
  url: string,
  init: RequestInit,
  options: { signal: AbortSignal; attempts?: number },
): Promise<Response> {
  const { signal, attempts = ATTEMPTS } = options;
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(signal);
    try {
      // Following a redirect would take the texts, and the key, to somebody the user has not named.
      const response = await fetch(url, { ...init, signal, redirect: "manual" });
      const body = await readBody(service, response);
      if (!response.ok) throw refused(service, response.status, body);
      return new Response(withoutNaN(body), { headers: { "content-type": "application/json" } });
    } catch (error) {
      if (signal.aborted) throw cancelled(signal);
      if (error instanceof LakeError) throw error;
      if (attempt >= attempts) throw absent(service, error);
    }
    await sleep(PAUSE_MS * attempt + randomInt(PAUSE_MS), undefined, { signal }).catch(() => undefined);
  }
}

/** Whether an error of `request` may be about one text of several, and not about the service. */
export function mayBeOneText(error: unknown): boolean {
  if (!(error instanceof LakeError)) return false;
  if (error.kind === "invalid") return true;
  const { status, code } = causeOf(error);
  if (status !== undefined) return status >= 500 && status !== 503;
  // Nothing listens, or the name is not known, whatever is sent. A connection that was cut may be the end of a process.
  return code === "ECONNRESET" || code === "UND_ERR_SOCKET";
}

function causeOf({ cause }: LakeError): { status?: number; code?: string } {
  const {
    status,
    cause: below,
    code = (below as { code?: unknown } | undefined)?.code,
  } = (cause ?? {}) as {
    status?: unknown;
    code?: unknown;
    cause?: unknown;
  };
  return {
    ...(typeof status === "number" && { status }),
    ...(typeof code === "string" && { code }),
  };
}

/** The error for an answer that is not what the service's protocol says. */
export function malformed(service: Service, what: string, cause?: unknown): LakeError {
  return new LakeError("unavailable", `${service.name} at ${service.url} gave an answer without ${what}.`, {
    hint: SIZE_HINT,
    cause,
  });
}

/** `list` as one vector; what is no number becomes NaN, what is no list is empty, for the caller to judge. */
export function toVector(list: unknown): Float32Array {
  if (!Array.isArray(list)) return new Float32Array(0);
  const vector = new Float32Array(list.length);
  for (let at = 0; at < list.length; at++) {
    const value: unknown = list[at];
    vector[at] = typeof value === "number" ? value : Number.NaN;
  }
  return vector;
}

async function readBody(service: Service, response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += (chunk as Uint8Array).byteLength;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new LakeError("unavailable", `${service.name} at ${service.url} gave an answer without end.`, {
        hint: SIZE_HINT,
      });
    }
    chunks.push(chunk as Uint8Array);
  }
  return Buffer.concat(chunks);
}

/** Some services write NaN, which is not JSON: as null, the vector it stands in can be told from the others. */
function withoutNaN(body: Buffer): Buffer | string {
  if (!body.includes("NaN") && !body.includes("Infinity")) return body;
  return body.toString().replace(/-?\b(?:NaN|Infinity)\b/g, "null");
}

function refused(service: Service, status: number, body: Buffer): LakeError {
  const message = messageOf(service, body);
  const known = service.refusal(status, message);
  if (known !== undefined) return known;
  const said = `${service.name} at ${service.url} answered with status ${status}`;
  if (status >= 300 && status < 400) {
    return new LakeError("unavailable", `${said}, a redirect.`, { hint: "Set the address it redirects to." });
  }
  return new LakeError("unavailable", `${said}${message === "" ? "." : `: ${message}`}`, {
    hint: status === 429 ? "It wants fewer requests: call again later." : "Call again; if it stays, see its log.",
    cause: { status },
  });
}

/** What services say in `error`, or in `error.message`, on one line. */
function messageOf(service: Service, body: Buffer): string {
  if (body.length > MAX_ERROR_BYTES) return "";
  let said: unknown;
  try {
    const { error } = JSON.parse(body.toString()) as { error?: unknown };
    said = (error as { message?: unknown } | undefined)?.message ?? error;
  } catch {
    said = "";
  }
  if (typeof said !== "string") return "";
  const shown = service.secret === undefined ? said : said.replaceAll(service.secret, "***");
  return shown.replace(/\s+/g, " ").trim().slice(0, MAX_MESSAGE_CHARS);
}

function absent(service: Service, cause: unknown): LakeError {
  return new LakeError("unavailable", `${service.name} does not answer at ${service.url}.`, {
    hint: service.absentHint,
    cause,
  });
}
