/** A number with its thousands apart. Not by `toLocaleString`, whose first call in a process takes 30 ms. */
export function grouped(count: number): string {
  return Number.isInteger(count) ? String(count).replace(/\B(?=(?:\d{3})+$)/g, ",") : String(count);
}

export function countOf(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
}

export function bytesOf(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
