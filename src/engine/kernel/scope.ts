/** Stands in for `AsyncDisposableStack`, which Node 20 does not have. */
export interface Scope {
  /** Registers a closer; closers run once, in reverse order; at once when the scope is closed already. */
  defer(close: () => void | Promise<void>): void;
  close(): Promise<void>;
}

/** Runs `work` with a scope that is closed when it has ended. */
export async function inScope<T>(work: (scope: Scope) => Promise<T>): Promise<T> {
  const scope = openScope();
  try {
    return await work(scope);
  } finally {
    await scope.close();
  }
}

/** Opens an empty scope. Closing twice is harmless; every closer runs even when an earlier one throws. */
export function openScope(): Scope {
  const closers: (() => void | Promise<void>)[] = [];
  let closing: Promise<void> | undefined;
  let closed = false;

  const closeAll = async (): Promise<void> => {
    const errors: unknown[] = [];
    for (let close = closers.pop(); close; close = closers.pop()) {
      try {
        await close();
      } catch (error) {
        errors.push(error);
      }
    }
    closed = true;
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, "Several parts failed to close");
  };

  return {
    defer: (close) => {
      closers.push(close);
      // Nobody is left to be told of an error.
      if (closed) closeAll().catch(() => undefined);
    },
    close: () => (closing ??= closeAll()),
  };
}
