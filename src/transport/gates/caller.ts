/** Who calls, and how long the token is good for that they came with. */
export interface Caller {
  name: string;
  /** When it runs out, in ms since the epoch. */
  expires?: number;
  /** Whether it was taken away since. */
  isRemoved?(): boolean;
}
