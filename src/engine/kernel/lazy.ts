/** Something that takes long to open, and is opened by the first who needs it. */
export interface Lazy<Opened> {
  /** Opens it, or waits for who is opening it. A failure is not remembered: the next call opens anew. */
  get(): Promise<Opened>;
  /** What is open, or being opened, at this moment. */
  current(): Promise<Opened> | undefined;
  /** What is open at this moment. */
  value(): Opened | undefined;
}

export function lazy<Opened>(open: () => Promise<Opened>): Lazy<Opened> {
  let opening: Promise<Opened> | undefined;
  let value: Opened | undefined;
  const start = async (): Promise<Opened> => {
    try {
      value = await open();
      return value;
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
  return {
    get: () => (opening ??= start()),
    current: () => opening,
    value: () => value,
  };
}
