import { createHash } from "node:crypto";
import { createRemoteJWKSet, customFetch, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import { quoted } from "../../engine/catalog/nearest.ts";
import { LakeError } from "../../engine/kernel/errors.ts";
import type { Scope } from "../../engine/kernel/scope.ts";
import type { Log } from "../../engine/settings.ts";
import type { Caller } from "./caller.ts";
import { type Fetch, fetchSmall, isSafeUrl, jsonOf, mayKeepKeys } from "./issuer-fetch.ts";
import type { Refusal } from "./refusal.ts";

/** RFC 9728. */
export interface ResourceMetadata {
  resource: string;
  authorization_servers: string[];
  bearer_methods_supported: string[];
}

export interface OAuthSettings {
  issuer: string;
  audience: string;
  resource: string;
  /** From its issue to its end, and from now to its end, a token may have at most. Undefined: any time. */
  maxLifetimeMs?: number | undefined;
}

export interface OAuth {
  /** Whose token it is: 401 when it does not hold, 503 when the issuer cannot be asked. Never throws. */
  verify(token: string): Promise<Caller | Refusal>;
  metadata(): ResourceMetadata;
  /** Where clients look for it: the well-known path, before the path of `resource`. */
  metadataUrl: string;
}

/** Signed with a private key that only the issuer has: never `none`, nor the HS family. */
const ALGORITHMS = ["RS256", "ES256", "PS256", "EdDSA"];
const CLOCK_TOLERANCE_S = 60;
const FETCH_TIMEOUT_MS = 5_000;
const DISCOVERY_MS = 3_600_000;
/** An issuer that failed is left alone for so long: any text that looks like a token would have it asked again. */
const PAUSE_MS = 1_000;
const MAX_NAME_CHARS = 64;
const UNAVAILABLE: Refusal = {
  status: 503,
  message: "The identity provider cannot be asked about the token. Try again later.",
  headers: { "Retry-After": "5" },
};

/**
 * Accepts JWTs that `issuer` signed for `audience`. Where its keys are is asked with the first token, of its metadata
 * (RFC 8414, OpenID Connect Discovery), so that this server starts without it. Throws `invalid` for addresses that
 * cannot be meant; plain http is for an issuer on this machine only. Closing `scope` ends what is under way.
 */
export function openOAuth(scope: Scope, { issuer, audience, resource, maxLifetimeMs }: OAuthSettings, log: Log): OAuth {
  const issuerUrl = checkedIssuer(issuer);
  const resourceUrl = checkedResource(resource);
  if (audience.trim() === "") {
    throw new LakeError("invalid", "oauth_audience is empty: tokens for any other service would be accepted.", {
      hint: "Set oauth_audience to what the issuer writes into aud for this server.",
    });
  }
  const closing = new AbortController();
  scope.defer(() => closing.abort());

  let pausedUntil = 0;
  const fetchFrom: Fetch = async (url, options) => {
    if (performance.now() < pausedUntil) throw new Error("it failed a moment ago");
    const signal = AbortSignal.any([closing.signal, options?.signal ?? AbortSignal.timeout(FETCH_TIMEOUT_MS)]);
    return fetchSmall(url, { ...options, signal });
  };
  const discover = remembered(() => discoverKeys(issuerUrl, fetchFrom));

  const fail = (error: unknown): Refusal => {
    const at = performance.now();
    if (at >= pausedUntil && !closing.signal.aborted) {
      pausedUntil = at + PAUSE_MS;
      log("warn", "the identity provider cannot be asked", { issuer, reason: reasonOf(error) });
    }
    return UNAVAILABLE;
  };

  return {
    verify: async (token) => {
      if (closing.signal.aborted) return UNAVAILABLE;
      let iss: string | undefined;
      let failed: Refusal | undefined;
      // Called when the token has the form of a JWT and an algorithm of ours, so not for every text.
      const keyFor: JWTVerifyGetKey = async (header, input) => {
        try {
          const found = await discover();
          iss = found.issuer;
          return await found.keys(header, input);
        } catch (error) {
          if (!isAboutToken(error)) failed = fail(error);
          throw error;
        }
      };
      try {
        const { payload } = await jwtVerify(token, keyFor, {
          algorithms: ALGORITHMS,
          audience,
          clockTolerance: CLOCK_TOLERANCE_S,
          requiredClaims: ["exp", "iss"],
        });
        if (payload.iss !== iss) return invalid("is from another issuer");
        return livesTooLong(payload, maxLifetimeMs) ?? named(payload);
      } catch (error) {
        return failed ?? invalid(whyInvalid(error));
      }
    },
    metadata: () => ({ resource, authorization_servers: [issuer], bearer_methods_supported: ["header"] }),
    metadataUrl: wellKnown(resourceUrl, "oauth-protected-resource"),
  };
}

interface Keys {
  /** As its metadata and its tokens write it: in the setting a slash may be missing. */
  issuer: string;
  keys: JWTVerifyGetKey;
}

async function discoverKeys(issuer: URL, fetchFrom: Fetch): Promise<Keys> {
  const places = new Set([
    wellKnown(issuer, "oauth-authorization-server"),
    wellKnown(issuer, "openid-configuration"),
    `${withoutSlash(issuer.href)}/.well-known/openid-configuration`,
  ]);
  for (const place of places) {
    const response = await fetchFrom(place);
    if (response.status !== 200) continue;
    const said = await jsonOf(response, place);
    if (typeof said.issuer !== "string" || withoutSlash(said.issuer) !== withoutSlash(issuer.href)) {
      throw new Error(`${place} is about another issuer`);
    }
    const jwks = typeof said.jwks_uri === "string" && URL.canParse(said.jwks_uri) ? new URL(said.jwks_uri) : undefined;
    if (jwks === undefined || !mayKeepKeys(issuer, jwks)) {
      throw new Error(`${place} names no https address as jwks_uri`);
    }
    const keys = createRemoteJWKSet(jwks, { timeoutDuration: FETCH_TIMEOUT_MS, [customFetch]: fetchFrom });
    return { issuer: said.issuer, keys };
  }
  throw new Error(`none of ${[...places].join(", ")} answers with status 200`);
}

/** One call for all who wait, its result for an hour, its failure for nobody else. */
function remembered(load: () => Promise<Keys>): () => Promise<Keys> {
  let loading: Promise<Keys> | undefined;
  let until = 0;
  return () => {
    if (loading !== undefined && performance.now() < until) return loading;
    const own = load();
    loading = own;
    until = performance.now() + DISCOVERY_MS;
    own.catch(() => {
      if (loading === own) loading = undefined;
    });
    return own;
  };
}

function isAboutToken(error: unknown): boolean {
  return (
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys ||
    error instanceof errors.JOSENotSupported
  );
}

/** jose's own words for a claim name only the claim, but repeat headers elsewhere: ours do not. */
function whyInvalid(error: unknown): string {
  if (error instanceof errors.JWTExpired) return "has expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === "aud") return "is for another audience";
    return error.claim === "nbf" ? "is not valid yet" : `has no valid claim ${error.claim}`;
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return `is not signed with one of ${ALGORITHMS.join(", ")}`;
  return "is not valid";
}

function invalid(why: string): Refusal {
  return { status: 401, message: `The token ${why}.` };
}

/** One that was taken is of use until its end, and nobody can take it back. */
function livesTooLong({ exp = 0, iat }: JWTPayload, maxMs: number | undefined): Refusal | undefined {
  if (maxMs === undefined) return undefined;
  const most = Math.ceil(maxMs / 1000);
  const since = Math.min(iat ?? Number.POSITIVE_INFINITY, Date.now() / 1000 + CLOCK_TOLERANCE_S);
  if (exp - since <= most) return undefined;
  return invalid(`is valid for longer than the ${most} s that a token may be here (oauth_max_lifetime)`);
}

/** The subject, or the client when nobody stands behind it: visible ASCII, at most 64 characters, no two the same. */
function named({ sub, client_id: client, exp = 0 }: JWTPayload): Caller | Refusal {
  const name = [sub, client].find((claim): claim is string => typeof claim === "string" && claim !== "");
  if (name === undefined) return invalid("has neither sub nor client_id");
  const expires = (exp + CLOCK_TOLERANCE_S) * 1000;
  if (name.length <= MAX_NAME_CHARS && /^[!-}]+$/.test(name)) return { name, expires };
  // Cut alone, or cleaned alone, two callers could become one; and ~ is left to the names made here.
  const mark = createHash("sha256").update(name).digest("hex").slice(0, 16);
  return { name: `${name.replace(/[^!-}]/g, "_").slice(0, MAX_NAME_CHARS - 17)}~${mark}`, expires };
}

function checkedIssuer(text: string): URL {
  const url = plainUrl(text);
  if (url !== undefined && isSafeUrl(url)) return url;
  throw new LakeError("invalid", `oauth_issuer ${quoted(text)} is not a plain https address.`, {
    hint: 'Set oauth_issuer to what the issuer writes into iss, such as "https://login.example.com". http is for this machine only.',
  });
}

function checkedResource(text: string): URL {
  const url = plainUrl(text);
  if (url !== undefined) return url;
  throw new LakeError("invalid", `The address of this server ${quoted(text)} is not a plain http or https address.`, {
    hint: 'Set public_url to the address clients use, such as "https://lake.example.com".',
  });
}

function plainUrl(text: string): URL | undefined {
  if (!URL.canParse(text) || /[?#\s]/.test(text)) return undefined;
  const url = new URL(text);
  return /^https?:$/.test(url.protocol) && url.username === "" && url.password === "" ? url : undefined;
}

/** RFC 8414, 3.1, and RFC 9728, 3.1: the well-known path comes before the path of the address. */
function wellKnown(url: URL, document: string): string {
  return `${url.origin}/.well-known/${document}${withoutSlash(url.pathname)}`;
}

function withoutSlash(text: string): string {
  return text.endsWith("/") ? text.slice(0, -1) : text;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return `${error.message}${cause}`.slice(0, 300);
}
