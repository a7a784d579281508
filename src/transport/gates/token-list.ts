import { createHash } from "node:crypto";
import { LakeError } from "../../engine/kernel/errors.ts";

/** A valid token. Only its hash is kept. */
export interface KnownToken {
  name: string;
  /** SHA-256: always 32 bytes, for comparing in constant time. */
  hash: Buffer;
}

const NAME = /^[A-Za-z0-9._-]{1,64}$/;
/** The syntax of RFC 6750. */
const TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;
const MIN_CHARS = 16;
const MAX_CHARS = 512;
const SOLE_NAME = "default";
const FORMS_HINT =
  'Write "name:token": several in LAKEHOUSE_HTTP_TOKEN with commas between, in http_token_file one a line. ' +
  `A token has ${MIN_CHARS} to ${MAX_CHARS} characters; "openssl rand -hex 32" makes one.`;

/** Parses `name:token` items, separated by commas or blanks. A single token without a name is named `default`. */
export function inlineTokens(text: string): KnownToken[] {
  const items = text.split(/[,\s]+/).filter((item) => item !== "");
  return parse(
    items.map((item, at) => ({ text: item, where: `Token ${at + 1} of http_token` })),
    "http_token",
  );
}

/** The same with one item per line; empty lines and lines that start with `#` are ignored. */
export function fileTokens(text: string): KnownToken[] {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  const items = lines.map((line, at) => ({ text: line.trim(), where: `Line ${at + 1} of http_token_file` }));
  return parse(
    items.filter((item) => item.text !== "" && !item.text.startsWith("#")),
    "http_token_file",
  );
}

/** Two tokens may have the same name, for rotation. Throws `invalid` for one token with two names. */
export function checkDistinct(tokens: KnownToken[]): KnownToken[] {
  const owners = new Map<string, string>();
  for (const { name, hash } of tokens) {
    const key = hash.toString("hex");
    if ((owners.get(key) ?? name) !== name) {
      throw new LakeError("invalid", "The same token stands under two names in http_token or http_token_file.", {
        hint: "Give every name a token of its own.",
      });
    }
    owners.set(key, name);
  }
  return tokens;
}

export function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

function parse(items: { text: string; where: string }[], setting: string): KnownToken[] {
  if (items.length === 0) throw new LakeError("invalid", `There is no token in ${setting}.`, { hint: FORMS_HINT });
  return items.map(({ text, where }) => {
    const colon = text.indexOf(":");
    if (colon < 0 && items.length > 1) throw mistake(`${where} has no name.`);
    const name = colon < 0 ? SOLE_NAME : text.slice(0, colon);
    // The name is not shown, either: with a misplaced colon it is part of the token.
    if (!NAME.test(name)) throw mistake(`${where} has a name that is not 1 to 64 of A-Z a-z 0-9 . _ -`);
    const token = text.slice(colon + 1);
    if (token.length < MIN_CHARS) throw mistake(`${where} is shorter than ${MIN_CHARS} characters.`);
    if (token.length > MAX_CHARS) throw mistake(`${where} is longer than ${MAX_CHARS} characters.`);
    if (!TOKEN.test(token))
      throw mistake(`${where} has characters other than A-Z a-z 0-9 - . _ ~ + / and = at its end.`);
    return { name, hash: hashOf(token) };
  });
}

function mistake(message: string): LakeError {
  return new LakeError("invalid", message, { hint: FORMS_HINT });
}
