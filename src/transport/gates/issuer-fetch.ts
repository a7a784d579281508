import { isLoopback } from "./bind.ts";

export type Fetch = (url: string, options?: { headers?: Headers; signal?: AbortSignal }) => Promise<Response>;

const MAX_DOCUMENT_BYTES = 2 ** 20;

/** Fetches a whole document of at most 1 MiB. Redirects are not followed: they may lead to another party. */
export async function fetchSmall(url: string, options: { headers?: Headers; signal: AbortSignal }): Promise<Response> {
  const response = await fetch(url, { ...options, redirect: "manual" });
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += (chunk as Uint8Array).byteLength;
    if (bytes > MAX_DOCUMENT_BYTES) throw new Error(`${url} answers with more than ${MAX_DOCUMENT_BYTES} bytes`);
    chunks.push(chunk as Uint8Array);
  }
  const body = Buffer.concat(chunks);
  return new Response(response.status === 200 ? body : null, { status: response.status, headers: response.headers });
}

/** The object in a JSON document; an empty one for other JSON. Throws for text that is not JSON. */
export async function jsonOf(response: Response, url: string): Promise<Record<string, unknown>> {
  try {
    const said: unknown = await response.json();
    return typeof said === "object" && said !== null ? (said as Record<string, unknown>) : {};
  } catch (cause) {
    throw new Error(`${url} answers without valid JSON`, { cause });
  }
}

/** Whether what is fetched from `url` is protected on the way. */
export function isSafeUrl(url: URL): boolean {
  return url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url.hostname));
}

/** Whether the keys of `issuer` may be at `jwks`: not on this machine, unless the issuer is. */
export function mayKeepKeys(issuer: URL, jwks: URL): boolean {
  return isSafeUrl(jwks) && (isLoopback(issuer.hostname) || !isLoopback(jwks.hostname));
}
