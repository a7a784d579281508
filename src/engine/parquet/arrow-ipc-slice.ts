import { type DataType, type Field, RecordBatchReader, RecordBatchStreamWriter, Type } from "apache-arrow";
import { type IpcMessage, toParts } from "./arrow-ipc-reader.ts";

/**
 * One record batch as several Arrow streams of at most `rows` rows, each made when it is asked for. `context` is the
 * schema and the dictionaries it needs. Undefined when apache-arrow does not know a type in it, or slices it badly.
 */
export function sliceBatch(
  context: readonly IpcMessage[],
  batch: IpcMessage,
  rows: number,
): Iterable<Uint8Array> | undefined {
  try {
    const reader = RecordBatchReader.from(toParts([...context, batch])).open();
    const [whole] = reader;
    return whole && !whole.schema.fields.some(hasNulls) ? streams() : undefined;

    function* streams(): Generator<Uint8Array> {
      for (let from = 0; whole && from < whole.numRows; from += rows) {
        const writer = new RecordBatchStreamWriter();
        writer.write(whole.slice(from, from + rows));
        writer.finish();
        yield writer.toUint8Array(true);
      }
    }
  } catch {
    return undefined;
  }
}

/** Whether the type Null is in it: slices of that are written with a null count of -1. */
function hasNulls(field: Field): boolean {
  const { typeId, children }: DataType = field.type;
  return typeId === Type.Null || ((children as Field[] | null | undefined) ?? []).some(hasNulls);
}
