/** The answer to a request that is not let through. `message` is for the client and contains no secret. */
export interface Refusal {
  /** HTTP status. */
  status: number;
  message: string;
  headers?: Record<string, string>;
}

/** Whether the result of a gate is a refusal. */
export function isRefusal(verdict: object): verdict is Refusal {
  return "status" in verdict;
}
