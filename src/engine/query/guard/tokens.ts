export interface Token {
  /** `word` and `number` are bare; `quoted` is "…", `string` '…' or $tag$…$tag$, `symbol` one character. */
  kind: "word" | "number" | "quoted" | "string" | "symbol";
  /** As written; words in upper case. */
  text: string;
  start: number;
  end: number;
}

const SPACE = /[\s\u00a0\u2000-\u200a\u202f\u3000\ufeff]/u;
const WORD_START = /[\p{L}_\u0080-\uffff]/u;
const WORD = /[\p{L}\p{N}_$\u0080-\uffff]/u;

const DOLLAR_TAG = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/y;

/**
 * The tokens of SQL text, without space and comments. Only for finding places in a statement and for wording refusals:
 * nothing is allowed because of them, so where DuckDB's lexer differs, a statement is refused at worst.
 */
export function* tokenize(sql: string): Generator<Token, undefined> {
  let at = 0;
  const token = (kind: Token["kind"], end: number): Token => {
    const text = sql.slice(at, end);
    const start = at;
    at = end;
    return { kind, text: kind === "word" ? text.toUpperCase() : text, start, end };
  };
  while (at < sql.length) {
    const char = sql[at] ?? "";
    const next = sql[at + 1] ?? "";
    if (char === "-" && next === "-") at = lineEnd(sql, at);
    else if (char === "/" && next === "*") at = commentEnd(sql, at);
    else if (char === "'") yield token("string", quoteEnd(sql, at, "'"));
    else if ((char === "e" || char === "E") && next === "'") yield token("string", escapedEnd(sql, at + 1));
    else if (char === '"') yield token("quoted", quoteEnd(sql, at, '"'));
    else if (char === "$" && dollarTag(sql, at)) yield token("string", dollarEnd(sql, at));
    else if (/[0-9]/.test(char)) yield token("number", numberEnd(sql, at));
    else if (SPACE.test(char)) at++;
    else if (WORD_START.test(char)) yield token("word", runEnd(sql, at, WORD));
    else yield token("symbol", at + 1);
  }
  return undefined;
}

function lineEnd(sql: string, from: number): number {
  const end = sql.slice(from).search(/[\n\r]/);
  return end < 0 ? sql.length : from + end;
}

/** Comments nest, as in PostgreSQL. */
function commentEnd(sql: string, from: number): number {
  let depth = 0;
  for (let at = from; at < sql.length; at++) {
    if (sql.startsWith("/*", at)) {
      depth++;
      at++;
    } else if (sql.startsWith("*/", at)) {
      depth--;
      at++;
      if (depth === 0) return at + 1;
    }
  }
  return sql.length;
}

function quoteEnd(sql: string, from: number, quote: string): number {
  for (let at = from + 1; at < sql.length; at++) {
    if (sql[at] !== quote) continue;
    if (sql[at + 1] !== quote) return at + 1;
    at++;
  }
  return sql.length;
}

function escapedEnd(sql: string, from: number): number {
  for (let at = from + 1; at < sql.length; at++) {
    if (sql[at] === "\\") at++;
    else if (sql[at] === "'" && sql[at + 1] === "'") at++;
    else if (sql[at] === "'") return at + 1;
  }
  return sql.length;
}

function dollarTag(sql: string, from: number): string | undefined {
  DOLLAR_TAG.lastIndex = from;
  return DOLLAR_TAG.exec(sql)?.[0];
}

function dollarEnd(sql: string, from: number): number {
  const tag = dollarTag(sql, from) ?? "$$";
  const end = sql.indexOf(tag, from + tag.length);
  return end < 0 ? sql.length : end + tag.length;
}

function runEnd(sql: string, from: number, pattern: RegExp): number {
  let at = from + 1;
  while (at < sql.length && pattern.test(sql[at] ?? "")) at++;
  return at;
}

/** In `1e'…'` the e belongs to the string. */
function numberEnd(sql: string, from: number): number {
  const end = runEnd(sql, from, /[0-9a-zA-Z_.]/);
  return sql[end] === "'" && /^[0-9_.]+e$/i.test(sql.slice(from, end)) ? end - 1 : end;
}

/** Folds a name as DuckDB does: only A to Z. JavaScript would make a k of the Kelvin sign. */
export function foldCase(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** The statement with `?` for every string and number, and without comments: for readers who may not see those. */
export function withoutLiterals(sql: string): string {
  let shown = "";
  let end = 0;
  for (const { kind, start, end: next } of tokenize(sql)) {
    const between = sql.slice(end, start);
    // What is neither space nor token is a comment.
    shown += /^\s*$/.test(between) ? between : " ";
    shown += kind === "string" || kind === "number" ? "?" : sql.slice(start, next);
    end = next;
  }
  return shown.trim();
}

/** The statement without the `;` and comments after it, so that it can stand in parentheses. */
export function withoutEnd(sql: string): string {
  let end = 0;
  for (const token of tokenize(sql)) if (token.text !== ";") end = token.end;
  return sql.slice(0, end);
}
