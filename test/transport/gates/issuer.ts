import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";

export type Key = Awaited<ReturnType<typeof newKey>>;

/** A key pair that an issuer may publish, or not. */
export async function newKey(kid: string, alg = "ES256") {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } };
}

/** An identity provider on this machine, whose metadata is at `place` only. `path` is a part of its address. */
export async function openIssuer({ path = "", place }: { path?: string; place?: string } = {}) {
  const metadataAt = place ?? `/.well-known/oauth-authorization-server${path}`;
  const requests: string[] = [];
  const keys: Key[] = [await newKey("first")];
  const metadata: Record<string, unknown> = {};
  let behave: ((url: string, response: ServerResponse) => boolean) | undefined;
  const server = createServer((request, response) => {
    const url = request.url ?? "";
    requests.push(url);
    if (behave?.(url, response)) return;
    const body = url === metadataAt ? metadata : url === "/keys" ? { keys: keys.map(({ jwk }) => jwk) } : undefined;
    response.writeHead(body === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(body ?? {}));
  });
  await new Promise<void>((done) => void server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  Object.assign(metadata, { issuer: `${origin}${path}`, jwks_uri: `${origin}/keys` });
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((done) => void server.close(done));
  };
  return {
    url: `${origin}${path}`,
    requests,
    keys,
    metadata,
    /** Answers instead, when it returns true. */
    behave: (own: typeof behave) => {
      behave = own;
    },
    stop,
    start: () => new Promise<void>((done) => void server.listen(port, "127.0.0.1", done)),
    [Symbol.asyncDispose]: stop,
  };
}

/** A token of `key`; `claims` and `header` come on top of good ones, undefined takes one away. */
export function sign(
  key: Key,
  issuer: string,
  claims: JWTPayload = {},
  header: Record<string, unknown> = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const payload = { iss: issuer, aud: "lake", sub: "alice", exp: now + 300, iat: now, ...claims };
  return new SignJWT(payload).setProtectedHeader({ alg: key.alg, kid: key.kid, ...header }).sign(key.privateKey);
}
