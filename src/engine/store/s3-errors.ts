import type { ErrorKind } from "../kernel/error-codes.ts";
import { hasCode, LakeError } from "../kernel/errors.ts";

interface Known {
  names: string[];
  kind: ErrorKind;
  what: (facts: Facts) => string;
  hint: string;
}

/** What an error of the SDK says about itself. Never its message: it may quote keys and signatures. */
interface Facts {
  /** Name or code, as `NoSuchBucket` or `ECONNREFUSED`. */
  name: string;
  status: number | undefined;
  /** Where the bucket is, when the server says that it is elsewhere. */
  region: string | undefined;
}

/** Where the bucket is looked for, for messages. */
export interface S3Place {
  bucket: string;
  /** Undefined: Amazon's own. */
  endpoint: string | undefined;
}

const KNOWN: Known[] = [
  {
    names: ["CredentialsProviderError", "NoCredentials", "CredentialsError", "TokenProviderError"],
    kind: "denied",
    what: () => "no credentials were found",
    hint: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file in s3_credentials_file.",
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
    hint: "Get new ones; a file in s3_credentials_file is read anew at the next start.",
  },
  {
    names: ["NoSuchBucket", "NotFoundBucket"],
    kind: "unavailable",
    what: () => "there is no such bucket",
    hint: "Create the bucket, or correct `store` and s3_endpoint.",
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
    hint: "Set s3_region to the region of the bucket, and s3_endpoint when it is not Amazon's.",
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
    hint: "Try again; when it stays so, look at the proxies in between.",
  },
  {
    names: ["InvalidBucketName"],
    kind: "invalid",
    what: () => "that is no name of a bucket",
    hint: "Correct `store`: s3://bucket/prefix.",
  },
  {
    names: ["ECONNREFUSED"],
    kind: "unavailable",
    what: () => "the connection was refused",
    hint: "Check s3_endpoint, and that the server is running.",
  },
  {
    names: ["ENOTFOUND", "EAI_AGAIN"],
    kind: "unavailable",
    what: () => "the name of the server is not known",
    hint: "Check s3_endpoint and s3_region, s3_path_style for a server of your own, and the network.",
  },
  {
    names: ["ECONNRESET", "EPIPE", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "UND_ERR_SOCKET", "IncompleteBody"],
    kind: "unavailable",
    what: () => "the connection broke",
    hint: "Try again; check the network when it stays so.",
  },
  {
    names: ["TimeoutError", "AbortError", "RequestTimeout", "ETIMEDOUT", "ESOCKETTIMEDOUT"],
    kind: "unavailable",
    what: () => "it did not answer in time",
    hint: "Try again; raise s3_timeout (LAKEHOUSE_S3_TIMEOUT) when the network is slow.",
  },
];

const TLS = /^(CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS|ERR_SSL|EPROTO|HOSTNAME_MISMATCH)/;
/** Of a server that could not be reached, or could not do it just now: the same request may succeed. */
const TRANSIENT = new Set([
  ...["SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "TooManyRequestsException"],
  ...["RequestTimeout", "TimeoutError", "AbortError", "ETIMEDOUT", "ESOCKETTIMEDOUT", "IncompleteBody"],
  ...["ECONNRESET", "EPIPE", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EAI_AGAIN", "UND_ERR_SOCKET"],
  // The SDK takes the server's time over, so the next request has the right one.
  ...["RequestTimeTooSkewed", "XAmzContentSHA256Mismatch", "BadDigest"],
  ...["ConditionalRequestConflict", "OperationAborted", "InternalError", "ServiceUnavailable"],
]);

/** The HTTP status a server answered with; undefined when it did not answer. */
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

/** Whether the server may have done what it was asked for, though the request failed. */
export function mayHaveArrived(error: unknown): boolean {
  const { name, status } = factsOf(error);
  if (["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"].includes(name)) return false;
  return status === undefined || status < 400 || status >= 500;
}

/** What went wrong with a request, and what to do. The text of the SDK's error is kept out: it may quote credentials. */
export function s3Error(sentence: string, place: S3Place, error: unknown): LakeError {
  if (error instanceof LakeError) return error;
  const facts = factsOf(error);
  const where = `bucket ${place.bucket}${place.endpoint === undefined ? "" : ` at ${place.endpoint}`}`;
  const message = (what: string): string => `${sentence} in ${where}: ${what}.`;
  const cause = new Error(`${facts.name}${facts.status === undefined ? "" : `, HTTP ${facts.status}`}`);
  if (TLS.test(facts.name)) {
    return new LakeError("unavailable", message(`its TLS certificate or protocol is not accepted (${facts.name})`), {
      hint: "Check http or https in s3_endpoint; name a certificate authority of your own in NODE_EXTRA_CA_CERTS.",
      cause,
    });
  }
  const known = KNOWN.find(({ names }) => names.includes(facts.name)) ?? byStatus(facts.status);
  if (known) return new LakeError(known.kind, message(known.what(facts)), { hint: known.hint, cause });
  return new LakeError("unavailable", message(`the server answered ${cause.message}`), {
    hint: "Try again; when it stays so, look at the server's log.",
    cause,
  });
}

/** An answer to HEAD has no body, and so no code. */
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
  // Node names a connection to several addresses that failed after all of them.
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

/** Whether a local file, and not the bucket, is the trouble. */
export function isLocal(error: unknown): boolean {
  return hasCode(error, "ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EMFILE", "ENFILE", "ENOENT", "EIO", "ENOTDIR");
}
