import type { Caller } from "./caller.ts";
import { isRefusal, type Refusal } from "./refusal.ts";
import type { Tokens } from "./tokens.ts";

/** RFC 6750, 2.1, with the scheme in any case (RFC 9110, 11.1). */
const BEARER = /^bearer +([A-Za-z0-9\-._~+/]+=*) *$/i;

export const SEND_TOKEN = "Send a token: Authorization: Bearer TOKEN.";
/** For Claude Code, which does not show this answer: it looks for an authorization server, and reports that there is none. */
export const CLAUDE_CODE =
  'In Claude Code: claude mcp add --transport http lakehouse URL --header "Authorization: Bearer TOKEN".';

/**
 * The caller by the token: one of `tokens`, else as `verify` (OAuth) says. Without both, which is allowed on loopback,
 * every caller is `anonymous`. Refuses with 401 an absent or wrong token, with `resourceMetadata`, the address of the
 * RFC 9728 document, in `WWW-Authenticate`; with 400 two headers. `raw` are Node's `rawHeaders`, since Node drops the
 * second of two Authorization headers from `headers`.
 */
export async function judgeBearer(
  authorization: string | string[] | undefined,
  raw: string[],
  tokens: Tokens | undefined,
  verify?: (token: string) => Promise<Caller | Refusal>,
  resourceMetadata?: string,
): Promise<Caller | Refusal> {
  const headers = raw.filter((name, at) => at % 2 === 0 && name.toLowerCase() === "authorization").length;
  const values = authorization === undefined ? [] : [authorization].flat();
  if (headers > 1 || values.length > 1) return { status: 400, message: "The request has two Authorization headers." };
  if (tokens === undefined && verify === undefined) return { name: "anonymous" };
  const [value] = values;
  if (value === undefined) {
    const how = resourceMetadata === undefined ? `${SEND_TOKEN} ${CLAUDE_CODE}` : SEND_TOKEN;
    return unauthorized(how, { resourceMetadata });
  }
  const token = BEARER.exec(value)?.[1];
  if (token === undefined) {
    const message =
      "The Authorization header is not of the form: Bearer TOKEN. Of name:token, send what follows the colon.";
    return unauthorized(message, { error: "invalid_token", resourceMetadata });
  }
  const known = tokens?.find(token);
  if (known !== undefined) return known;
  const verdict = await verify?.(token);
  if (verdict !== undefined && !isRefusal(verdict)) return verdict;
  if (verdict !== undefined && verdict.status !== 401) return verdict;
  const message = verdict?.message ?? "The token is not valid.";
  return unauthorized(message, { error: "invalid_token", resourceMetadata });
}

function unauthorized(
  message: string,
  { error, resourceMetadata }: { error?: string | undefined; resourceMetadata: string | undefined },
): Refusal {
  const parameters = [
    'realm="lakehouse"',
    ...(error === undefined ? [] : [`error="${error}"`]),
    ...(resourceMetadata === undefined ? [] : [`resource_metadata="${resourceMetadata}"`]),
  ];
  return { status: 401, message, headers: { "WWW-Authenticate": `Bearer ${parameters.join(", ")}` } };
}
