import type { ErrorKind } from "../kernel/error-codes.ts";
import { hasCode, LakeError } from "../kernel/errors.ts";
import { type NextStep, next, setting } from "../kernel/next-step.ts";

interface Known {
  names: string[];
  kind: ErrorKind;
  what: (facts: Facts) => string;
  hint: NextStep;
}

/** The parts of an SDK error that are safe to show. Its message is not: it may quote keys and signatures. */
interface Facts {
  /** Name or code, such as `NoSuchBucket` or `ECONNREFUSED`. */
  name: string;
  status: number | undefined;
  /** Where the bucket is, if the server says that it is in another region. */
  region: string | undefined;
}

/** Names the bucket in messages. */
export interface S3Place {
  bucket: string;
  /** Undefined: Amazon's. */
  endpoint: string | undefined;
}

const KNOWN: Known[] = [
  {
    names: ["CredentialsProviderError", "NoCredentials", "CredentialsError", "TokenProviderError"],
    kind: "denied",
    what: () => "no credentials were found",
    hint: next`Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file in ${setting("s3_credentials_file")}.`,
  },
  {
    names: ["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationQueryParametersError"],
    kind: "denied",
    what: ({ name }) =>
      name === "SignatureDoesNotMatch" ? "the secret key is wrong" : "the server does not know these credentials",
    hint: "Check the access key and the secret key, and that they belong to this endpoint.",
  },
  {
    names: ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"],
    kind: "denied",
    what: () => "the credentials have expired",
    hint: next`Get new ones. A file in ${setting("s3_credentials_file")} is read again at the next start.`,
  },
  {
    names: ["NoSuchBucket", "NotFoundBucket"],
    kind: "unavailable",
    what: () => "there is no such bucket",
    hint: next`Create the bucket, or correct ${setting("store")} and ${setting("s3_endpoint")}.`,
  },
  {
    names: ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"],
    kind: "unavailable",
    what: () => "the clock of this machine differs too much from the server's",
    hint: "Set the clock (NTP), then try again.",
  },
  {
    names: [
      "PermanentRedirect",
      "TemporaryRedirect",
      "AuthorizationHeaderMalformed",
      "IllegalLocationConstraintException",
    ],
    kind: "denied",
    what: ({ region }) => `the bucket is in another region${region === undefined ? "" : `, ${region}`}`,
    hint: next`Set ${setting("s3_region")} to the region of the bucket, and ${setting("s3_endpoint")} when it is not Amazon's.`,
  },
  {
    names: ["SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "TooManyRequestsException"],
    kind: "unavailable",
    what: () => "the server takes no more requests for the moment",
    hint: "Try again in a minute, or with fewer calls at the same time.",
  },
  {
    names: ["AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "UnauthorizedAccess"],
    kind: "denied",
    what: () => "these credentials may not do that",
    hint: "Grant s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix.",
  },
  {
    names: ["QuotaExceeded", "EntityTooLarge", "XMinioStorageFull", "InsufficientStorage"],
    kind: "limit",
    what: () => "the bucket is full, or its quota is used up",
    hint: "Raise the quota, or free some space.",
  },
  {
    names: ["XAmzContentSHA256Mismatch", "BadDigest", "InvalidDigest"],
    kind: "unavailable",
    what: () => "the bytes changed on their way",
    hint: "Try again; if it persists, look at the proxies in between.",
  },
  {
    names: ["InvalidBucketName"],
    kind: "invalid",
    what: () => "that is no name of a bucket",
    hint: next`Correct ${setting("store")}: s3://bucket/prefix.`,
  },
  {
    names: ["ECONNREFUSED"],
    kind: "unavailable",
    what: () => "the connection was refused",
    hint: next`Check ${setting("s3_endpoint")}, and that the server is running.`,
  },
  {
    names: ["ENOTFOUND", "EAI_AGAIN"],
    kind: "unavailable",
    what: () => "the name of the server is not known",
    hint: next`Check ${setting("s3_endpoint")} and ${setting("s3_region")}, ${setting("s3_path_style")} for a server of your own, and the network.`,
  },
  {
    names: ["ECONNRESET", "EPIPE", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "UND_ERR_SOCKET", "IncompleteBody"],
    kind: "unavailable",
    what: () => "the connection broke",
    hint: "Try again; check the network if it persists.",
  },
  {
    names: ["TimeoutError", "AbortError", "RequestTimeout", "ETIMEDOUT", "ESOCKETTIMEDOUT"],
    kind: "unavailable",
    what: () => "it did not answer in time",
    hint: next`Try again; raise ${setting("s3_timeout")} when the network is slow.`,
  },
];

const TLS = /^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS|ERR_SSL|EPROTO|HOSTNAME_MISMATCH)/;
/** The server could not be reached, or could not serve the request at this moment. */
const TRANSIENT = new Set([
  ...["SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "TooManyRequestsException"],
  ...["RequestTimeout", "TimeoutError", "AbortError", "ETIMEDOUT", "ESOCKETTIMEDOUT", "IncompleteBody"],
  ...["ECONNRESET", "EPIPE", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EAI_AGAIN", "UND_ERR_SOCKET"],
  // The SDK adopts the server's time, so the next request has the right one.
  ...["RequestTimeTooSkewed", "XAmzContentSHA256Mismatch", "BadDigest"],
  ...["ConditionalRequestConflict", "OperationAborted", "InternalError", "ServiceUnavailable"],
]);

/** The HTTP status of the answer; undefined when the server did not answer. */
export function statusOf(error: unknown): number | undefined {
  const status = (error as { $metadata?: { httpStatusCode?: unknown } } | undefined)?.$metadata?.httpStatusCode;
  return typeof status === "number" ? status : undefined;
}

/** Whether the same request may succeed when it is sent again. */
export function isTransient(error: unknown): boolean {
  if (error instanceof LakeError) return false;
  const { name, status } = factsOf(error);
  if (TRANSIENT.has(name)) return true;
  return (
    status !== undefined && (status >= 500 || status === 408 || status === 409 || status === 429) && status !== 501
  );
}

/** Whether the server may have carried out the request, though it failed. */
export function mayHaveArrived(error: unknown): boolean {
  const { name, status } = factsOf(error);
  if (["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"].includes(name)) return false;
  return status === undefined || status < 400 || status >= 500;
}

/** Why a request failed: the cause of the errors that `s3Error` makes. */
export class S3Failure extends Error {
  /** The server does not know the request, or a condition in it. */
  readonly isUnsupported: boolean;

  constructor({ name, status }: Facts) {
    super(`${name}${status === undefined ? "" : `, HTTP ${status}`}`);
    this.isUnsupported = status === 501 || status === 400 || name === "NotImplemented";
  }
}

/**
 * The error of a failed request, with the next step: `denied`, `limit`, `invalid`, else `unavailable`. The SDK's own
 * message is left out, since it may quote credentials. A `LakeError` is returned unchanged.
 */
export function s3Error(sentence: string, place: S3Place, error: unknown): LakeError {
  if (error instanceof LakeError) return error;
  const facts = factsOf(error);
  const where = `bucket ${place.bucket}${place.endpoint === undefined ? "" : ` at ${place.endpoint}`}`;
  const message = (what: string): string => `${sentence} in ${where}: ${what}.`;
  const cause = new S3Failure(facts);
  if (TLS.test(facts.name)) {
    return new LakeError("unavailable", message(`its TLS certificate or protocol is not accepted (${facts.name})`), {
      hint: next`Check http or https in ${setting("s3_endpoint")}; name a certificate authority of your own in NODE_EXTRA_CA_CERTS.`,
      cause,
    });
  }
  const known = KNOWN.find(({ names }) => names.includes(facts.name)) ?? byStatus(facts.status);
  if (known) return new LakeError(known.kind, message(known.what(facts)), { hint: known.hint, cause });
  return new LakeError("unavailable", message(`the server answered ${cause.message}`), {
    hint: "Try again; if it persists, look at the server's log.",
    cause,
  });
}

/** The answer to a HEAD has no body, so the status is all there is. */
function byStatus(status: number | undefined): Known | undefined {
  const name = { 301: "PermanentRedirect", 307: "TemporaryRedirect", 403: "AccessDenied", 401: "AccessDenied" }[
    status ?? 0
  ];
  const busy = status === 503 || status === 429 ? "SlowDown" : undefined;
  return KNOWN.find(({ names }) => names.includes(name ?? busy ?? ""));
}

function factsOf(error: unknown): Facts {
  const { name, Code, code, Region, $response } = (error ?? {}) as {
    name?: unknown;
    Code?: unknown;
    code?: unknown;
    Region?: unknown;
    $response?: { headers?: Record<string, unknown> };
  };
  // A connection that failed for each of several addresses has an error for each.
  const inner = error instanceof AggregateError ? error.errors[0] : undefined;
  if (inner !== undefined && code === undefined) return factsOf(inner);
  const named = [code, Code, name].find((word) => typeof word === "string" && WORD.test(word) && word !== "Error");
  const region = Region ?? $response?.headers?.["x-amz-bucket-region"];
  return {
    name: typeof named === "string" ? named : "an unknown error",
    status: statusOf(error),
    region: typeof region === "string" && WORD.test(region) ? region : undefined,
  };
}

const WORD = /^[A-Za-z0-9_.-]{1,60}$/;

/** Whether a local file, and not the bucket, failed. */
export function isLocal(error: unknown): boolean {
  return hasCode(error, "ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EMFILE", "ENFILE", "ENOENT", "EIO", "ENOTDIR");
}
