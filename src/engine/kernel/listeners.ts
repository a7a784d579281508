/** Who wants to hear of something. */
export interface Listeners<Event> {
  /** Returns the way to stop. */
  add(listener: (event: Event) => void): () => void;
  tell(event: Event): void;
}

export function openListeners<Event>(): Listeners<Event> {
  const all = new Set<(event: Event) => void>();
  return {
    add: (listener) => {
      all.add(listener);
      return () => all.delete(listener);
    },
    tell: (event) => {
      for (const listener of all) listener(event);
    },
  };
}
