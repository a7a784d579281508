/**
 * Whether a file begins with `name` and binary data. Thrift and FlatBuffers begin with control characters, which do not
 * follow when `name` begins the header of a CSV.
 */
export function startsWithName(start: Buffer, name: string): boolean {
  const text = start.toString("latin1", 0, name.length + 4);
  return text.startsWith(name) && !/^[\x20-\x7e\s]{4}/.test(text.slice(name.length));
}
