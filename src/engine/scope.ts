/** Stands in for `AsyncDisposableStack`, which Node 20 does not have. */
export interface Scope {
  /** Registers a closer; closers run once, in reverse order. */
  defer(close: () => void | Promise<void>): void;
  close(): Promise<void>;
}

/** Opens an empty scope. Closing twice is harmless; every closer runs even when an earlier one throws. */
export function openScope(): Scope {
  const closers: (() => void | Promise<void>)[] = [];
  let closing: Promise<void> | undefined;

  const closeAll = async (): Promise<void> => {
    const errors: unknown[] = [];
    for (let close = closers.pop(); close; close = closers.pop()) {
      try {
        await close();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, "Several parts failed to close");
  };

  return {
    defer: (close) => void closers.push(close),
    close: () => (closing ??= closeAll()),
  };
}
