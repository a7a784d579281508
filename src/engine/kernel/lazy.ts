/** Something that is opened when it is first needed. */
export interface Lazy<T> {
  /** Opens it unless that was done or is under way. After a failure the next call opens again. */
  get(): Promise<T>;
  /** The opening that is under way or has succeeded. */
  opening(): Promise<T> | undefined;
  /** Undefined until it is open. */
  value(): T | undefined;
}

/** `open` runs at most once at a time, and not again after a success. */
export function lazy<T>(open: () => Promise<T>): Lazy<T> {
  let opening: Promise<T> | undefined;
  let value: T | undefined;
  return {
    get: () => {
      if (opening !== undefined) return opening;
      opening = open();
      // Before anybody who waits for it: who then calls again finds it opened, or opens it again.
      opening.then(
        (opened) => {
          value = opened;
        },
        () => {
          opening = undefined;
        },
      );
      return opening;
    },
    opening: () => opening,
    value: () => value,
  };
}
