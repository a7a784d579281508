/** A text that goes beyond the limits. The message says which. */
export class JsonLimitError extends Error {}
