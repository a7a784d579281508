import { type ArrowField, readMessage, readSchema } from "../../parquet/arrow-ipc-format.ts";
import type { ParquetFooter } from "../../parquet/parquet-footer.ts";
import type { IngestNotes } from "../types.ts";

type Converted = IngestNotes["converted"][number];

/** What the writer's own notes in the footer say about columns, and the types of Parquet do not: their meaning is lost. */
export function writersNotes(
  { metadata }: ParquetFooter,
  columns: readonly { name: string; type: string }[],
): Converted[] {
  const typeOf = new Map(columns.map(({ name, type }) => [name, type]));
  return [...durations(arrowFields(metadata.get("ARROW:schema")), []), ...geometries(metadata.get("geo"))].flatMap(
    (note) => {
      const to = typeOf.get(note.path[0] ?? "");
      return to === undefined || (note.only !== undefined && note.only !== to)
        ? []
        : [{ column: note.path.join("."), from: note.from, to, reason: note.reason }];
    },
  );
}

interface Note {
  path: string[];
  from: string;
  reason: string;
  /** Where it is kept as this type. */
  only?: string;
}

/** Whole numbers in Parquet, whose unit only the Arrow schema has. */
function durations(fields: readonly ArrowField[], path: string[]): Note[] {
  return fields.flatMap((field) => {
    const here = [...path, field.name];
    if (field.type.kind !== "Duration") return durations(field.children, here);
    const { unit } = field.type;
    return [{ path: here, from: `duration in ${unit}s`, reason: `the numbers are ${unit}s` }];
  });
}

/** The message that Arrow's writers keep: a marker, a length, then the message. */
const MESSAGE_HEAD = 8;

function arrowFields(text: string | undefined): ArrowField[] {
  if (text === undefined) return [];
  try {
    const message = readMessage(Buffer.from(text, "base64").subarray(MESSAGE_HEAD));
    return message.kind === "schema" ? readSchema(message.schema) : [];
  } catch {
    // A note of the writer, which the data does not depend on.
    return [];
  }
}

/** https://geoparquet.org/releases/v1.1.0/ */
function geometries(text: string | undefined): Note[] {
  if (text === undefined) return [];
  try {
    const { columns } = JSON.parse(text) as { columns?: Record<string, { encoding?: unknown } | null> };
    return Object.entries(columns ?? {}).flatMap(([name, column]) =>
      column?.encoding === "WKB"
        ? [{ path: [name], from: "geometry (WKB)", reason: "the bytes are Well-Known Binary", only: "BLOB" }]
        : [],
    );
  } catch {
    return [];
  }
}
