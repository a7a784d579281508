/** What a gate answers instead of letting a request through. `message` is for the client and holds no secret. */
export interface Refusal {
  /** HTTP status. */
  status: number;
  message: string;
  headers?: Record<string, string>;
}

/** Whether a gate that returns something on success refused. */
export function isRefusal(verdict: object): verdict is Refusal {
  return "status" in verdict;
}
