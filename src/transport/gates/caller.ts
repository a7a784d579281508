/** Who sent a request, and how long the token is valid. */
export interface Caller {
  name: string;
  /** When the token expires, in ms since the epoch. */
  expires?: number;
  /** Whether the token was removed since. */
  isRemoved?(): boolean;
}
