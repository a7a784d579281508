import type { ArrowField, ArrowType } from "./arrow-ipc-format.ts";

/** The type of a field as pyarrow writes it: what people know it by. */
export function arrowTypeName(field: ArrowField): string {
  const plain = plainName(field);
  const name = field.dictionary ? `dictionary<values=${plain}>` : plain;
  return field.extension ? `extension<${plainText(field.extension.name)}>` : name;
}

function plainName({ type, children }: ArrowField): string {
  const inside = (): string => children.map((child) => arrowTypeName(child)).join(", ");
  switch (type.kind) {
    case "Int":
      return `${type.isSigned ? "" : "u"}int${type.bits}`;
    case "FloatingPoint":
      return `float${type.bits}`;
    case "Decimal":
      return `decimal${type.bits}(${type.precision}, ${type.scale})`;
    case "Date":
      return type.unit === "day" ? "date32" : "date64";
    case "Time":
      return `time${timeBits(type)}[${shortUnit(type)}]`;
    case "Timestamp":
      return `timestamp[${shortUnit(type)}${type.zone === "" ? "" : `, tz=${plainText(type.zone)}`}]`;
    case "Duration":
    case "Interval":
      return `${type.kind.toLowerCase()}[${shortUnit(type)}]`;
    case "FixedSizeBinary":
      return `fixed_size_binary[${type.size}]`;
    case "?":
      return "of a newer version of the format";
    case "Struct":
    case "Union":
    case "RunEndEncoded":
    case "List":
    case "LargeList":
    case "ListView":
    case "LargeListView":
    case "FixedSizeList":
    case "Map":
      return `${snake(type.kind)}<${inside()}>`.slice(0, 200);
    default:
      return snake(type.kind).replace("utf8", "string");
  }
}

/** Text of the file in a sentence of ours. */
function plainText(text: string): string {
  return /^[\w+:/.-]{1,60}$/.test(text) ? text : JSON.stringify(text.slice(0, 60));
}

const SHORT: Record<string, string> = { second: "s", millisecond: "ms", microsecond: "us", nanosecond: "ns" };

export function shortUnit({ unit }: ArrowType): string {
  return SHORT[unit] ?? unit;
}

export function timeBits({ unit }: ArrowType): 32 | 64 {
  return unit === "second" || unit === "millisecond" ? 32 : 64;
}

function snake(kind: string): string {
  return kind.replace(/(?<=[a-z0-9])[A-Z]/g, "_$&").toLowerCase();
}

/** As DuckDB compares names: by case of ASCII letters alone. */
function folded(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** Names of one struct that differ by more than case: the second `a` becomes `a_1`, one without a name `field2`. */
export function distinctNames(names: readonly string[]): string[] {
  const taken = new Set(names.map(folded));
  const used = new Set<string>();
  return names.map((name, index) => {
    const base = name === "" ? `field${index + 1}` : name;
    let chosen = base;
    for (let n = 1; used.has(folded(chosen)) || (chosen !== name && taken.has(folded(chosen))); n++) {
      chosen = `${base}_${n}`;
    }
    used.add(folded(chosen));
    return chosen;
  });
}

/** As a name in SQL. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
