/** What is not Arrow, or contradicts itself. */
export class ArrowFormatError extends Error {}
