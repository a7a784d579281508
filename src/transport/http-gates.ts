import type { IncomingMessage } from "node:http";
import type { Scope } from "../engine/kernel/scope.ts";
import type { Log } from "../engine/settings.ts";
import { judgeBearer } from "./gates/bearer.ts";
import { assertBindAllowed } from "./gates/bind.ts";
import type { Caller } from "./gates/caller.ts";
import { allowedHosts, judgeHost } from "./gates/host.ts";
import { clientAddress, isListed, judgeAddress, parseAllowlist } from "./gates/ip.ts";
import { type OAuthSettings, openOAuth, type ResourceMetadata } from "./gates/oauth.ts";
import { isRefusal, type Refusal } from "./gates/refusal.ts";
import { openTokens } from "./gates/tokens.ts";

export interface GateSettings {
  bind: { host: string; port: number };
  /** Host names besides those of `bind`. */
  hosts: string[];
  /** Addresses and CIDR ranges that are let in. Undefined: all. */
  addresses?: string[] | undefined;
  /** Addresses and CIDR ranges of proxies whose `X-Forwarded-For` is trusted. */
  proxies: string[];
  /** Secret. */
  token?: string | undefined;
  tokenFile?: string | undefined;
  oauth?: OAuthSettings | undefined;
  /** The value of LAKEHOUSE_ALLOW_NONLOOPBACK. */
  allowNonLoopback?: string | undefined;
}

/** Whether callers have names: without tokens all are one caller. */
export const isNamed = ({ token, tokenFile, oauth }: GateSettings): boolean =>
  token !== undefined || tokenFile !== undefined || oauth !== undefined;

/** Checks of a request, in this order, before its body is read. */
export interface Gates {
  /** Host and Origin. */
  judgeHost(request: IncomingMessage): Refusal | undefined;
  judgeAddress(request: IncomingMessage): Refusal | undefined;
  /** Who sends the token, or the refusal. */
  judgeCaller(request: IncomingMessage): Promise<Caller | Refusal>;
  address(request: IncomingMessage): string;
  /** Whether many clients come from this address. */
  isProxy(address: string): boolean;
  /** The document of RFC 9728 and its path; undefined without an issuer. */
  metadata: { path: string; read(): ResourceMetadata } | undefined;
  /** For the log at start: counts, never tokens. */
  summary: Record<string, unknown>;
}

/** Throws `LakeError` naming a wrong setting, and for a bind that would leave the server open. */
export function openGates(scope: Scope, settings: GateSettings, log: Log): Gates {
  const { bind, token, tokenFile } = settings;
  const allowlist = settings.addresses && parseAllowlist(settings.addresses, "allowed_ips");
  const trusted = settings.proxies.length > 0 ? parseAllowlist(settings.proxies, "trusted_proxies") : undefined;
  const rules = allowedHosts({ bind, extra: settings.hosts });
  const tokens =
    token === undefined && tokenFile === undefined
      ? undefined
      : openTokens(scope, { inline: token, file: tokenFile }, log);
  const oauth = settings.oauth && openOAuth(scope, settings.oauth, log);
  assertBindAllowed(bind, { hasTokens: isNamed(settings), allowNonLoopback: settings.allowNonLoopback });

  /** Names of tokens have no colon, so a subject of the provider is never mistaken for one. */
  const verify =
    oauth &&
    (async (jwt: string) => {
      const found = await oauth.verify(jwt);
      return isRefusal(found) ? found : { ...found, name: `oauth:${found.name}` };
    });

  const address = (request: IncomingMessage): string =>
    clientAddress(request.socket.remoteAddress ?? "", request.headers["x-forwarded-for"], trusted);
  return {
    judgeHost: ({ headers: { host, origin }, rawHeaders }) => judgeHost({ host, origin }, rules, rawHeaders),
    judgeAddress: (request) => judgeAddress(address(request), allowlist),
    judgeCaller: ({ headers, rawHeaders }) =>
      judgeBearer(headers.authorization, rawHeaders, tokens, verify, oauth?.metadataUrl),
    address,
    isProxy: (peer) => trusted !== undefined && isListed(peer, trusted),
    metadata: oauth && { path: new URL(oauth.metadataUrl).pathname, read: oauth.metadata },
    summary: {
      tokens: tokens?.size ?? 0,
      issuer: settings.oauth?.issuer ?? "none",
      allowed_ips: settings.addresses?.length ?? "all",
    },
  };
}
