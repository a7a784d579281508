import { openBatch } from "./arrow-batch.ts";
import { type Column, concat, type Memory } from "./arrow-column.ts";
import { batchMessage, dictionaryMessage, schemaMessage, toStream } from "./arrow-encode.ts";
import { ArrowFormatError } from "./arrow-errors.ts";
import type { BatchHeader } from "./arrow-ipc-format.ts";
import { dictionaryValues, type Planned } from "./arrow-plan.ts";
import { fieldOf } from "./arrow-planning.ts";
import { sliceColumn } from "./arrow-slice.ts";

/** Rows of a batch as columns that can be written. */
export interface Piece {
  rows: number;
  columns: Column[];
  bytes: number;
}

/** Limiter the messages of a file, in their order, into streams of the types that Parquet has. */
export interface Rewriter {
  names: string[];
  dictionary(message: { id: string; isDelta: boolean; batch: BatchHeader }, body: Uint8Array): void;
  /** A batch much larger than `bytes` comes in slices of about that. */
  batch(header: BatchHeader, body: Uint8Array, bytes: number): Iterable<Piece>;
  /** One stream of the pieces, with the dictionaries as they are now; `column` alone where that is given. */
  stream(pieces: readonly Piece[], column?: number): Uint8Array;
}

/** Of a batch, as it is and as it becomes. */
export const MAX_BATCH_BYTES = 256 * 1024 ** 2;

export function openRewriter({ plans, dictionaries }: Planned): Rewriter {
  const names = plans.map(({ name }) => name);
  return {
    names,
    dictionary({ id, isDelta, batch: header }, body) {
      for (const dictionary of dictionaries.filter((known) => known.id === id)) {
        const memory = { left: MAX_BATCH_BYTES };
        const batch = openBatch(header, body, memory);
        const column = `column ${JSON.stringify(dictionary.column)}`;
        const values = named(column, () => dictionary.plan.read(batch));
        dictionary.values =
          isDelta && dictionary.values
            ? named(column, () => concat(dictionaryValues(dictionary), values, memory))
            : values;
      }
    },
    *batch(header, body, bytes) {
      const memory: Memory = { left: MAX_BATCH_BYTES };
      const batch = openBatch(header, body, memory);
      const columns = plans.map((plan, index) =>
        named(`column ${JSON.stringify(names[index])}`, () => {
          const column = plan.read(batch);
          if (column.length !== batch.rows) throw new ArrowFormatError("not as many values as the batch has rows");
          return column;
        }),
      );
      // What decoding took, and the bytes that it left as they were.
      const size = body.length + MAX_BATCH_BYTES - memory.left;
      if (size <= 2 * bytes || batch.rows < 2) {
        yield { rows: batch.rows, columns, bytes: size };
        return;
      }
      const rows = Math.max(8, Math.ceil((batch.rows * bytes) / size / 8) * 8);
      for (let from = 0; from < batch.rows; from += rows) {
        const to = Math.min(batch.rows, from + rows);
        const sliced = columns.map((column, index) =>
          named(`column ${JSON.stringify(names[index])}`, () =>
            sliceColumn(column, from, to, { left: MAX_BATCH_BYTES }),
          ),
        );
        yield { rows: to - from, columns: sliced, bytes: (size * (to - from)) / batch.rows };
      }
    },
    stream(pieces, only) {
      const kept = only === undefined ? plans : plans.slice(only, only + 1);
      const schema = schemaMessage(kept.map((plan) => fieldOf(plan)));
      const written = dictionaries.flatMap((dictionary) =>
        dictionary.out === undefined ? [] : [dictionaryMessage(dictionary.out, dictionaryValues(dictionary))],
      );
      const batches = pieces.map(({ rows, columns }) =>
        batchMessage(rows, only === undefined ? columns : columns.slice(only, only + 1)),
      );
      return toStream([schema, ...written, ...batches]);
    },
  };
}

/** What is wrong inside of a column, with its name. */
function named<Result>(column: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof ArrowFormatError) throw new ArrowFormatError(`${column}: ${error.message}`);
    if (error instanceof RangeError) throw new ArrowFormatError(`${column}: its contents contradict each other`);
    throw error;
  }
}
