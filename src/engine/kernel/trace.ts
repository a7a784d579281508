/** What is known about a piece of work: counts, kinds, models. Never SQL, texts, names of datasets, or secrets. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Span {
  /** 32 hex digits; undefined when nothing is traced. */
  readonly traceId: string | undefined;
  note(attributes: Attributes): void;
  /** The work failed as `type` says; without it, what is thrown tells. */
  fail(type: string): void;
}

export interface TraceOptions {
  /** `server`: work for a caller elsewhere; `client`: waiting for a service elsewhere. Default: neither. */
  kind?: "server" | "client" | undefined;
  /** What a caller elsewhere says of its own span, as W3C Trace Context writes it. */
  parent?: { traceparent: string; tracestate?: string | undefined } | undefined;
}

/** Runs `work` as a step of whatever step it is called in. Its result, and what it throws, pass through untouched. */
export type Trace = <Result>(
  name: string,
  attributes: Attributes,
  work: (span: Span) => Promise<Result>,
  options?: TraceOptions,
) => Promise<Result>;

const NO_SPAN: Span = { traceId: undefined, note: () => undefined, fail: () => undefined };

export const untraced: Trace = (_name, _attributes, work) => work(NO_SPAN);
