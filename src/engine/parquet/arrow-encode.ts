import { type Column, nullsOf } from "./arrow-column.ts";
import { MESSAGE_KINDS, TYPES } from "./arrow-ipc-format.ts";
import type { IpcMessage } from "./arrow-ipc-reader.ts";
import { type FlatFields, type FlatValue, writeFlat } from "./flatbuffer.ts";

/** A field to write. Every one may hold NULLs, whatever the file said, but the keys of a map. */
export interface OutField {
  name: string;
  nullable: boolean;
  kind: string;
  type: FlatFields;
  children: OutField[];
  /** Which dictionary it has, and the bits of its indices. */
  dictionary?: { id: number; bits: number; isSigned: boolean };
}

/** The name is that of the column or field, given by whoever has it. */
export function outField(kind: string, type: FlatFields = [], children: OutField[] = []): OutField {
  return { name: "", nullable: true, kind, type, children };
}

const V5 = 4;
const NOTHING = new Uint8Array();

export function schemaMessage(fields: readonly OutField[]): IpcMessage {
  const schema: FlatFields = [undefined, { tables: fields.map(fieldTable) }];
  return { metadata: message("schema", schema, 0), body: NOTHING };
}

function fieldTable({ name, nullable, kind, type, children, dictionary }: OutField): FlatFields {
  const index = dictionary && { table: [{ int: dictionary.bits }, { byte: Number(dictionary.isSigned) }] };
  return [
    { text: name },
    { byte: Number(nullable) },
    { byte: TYPES.indexOf(kind) },
    { table: type },
    dictionary && { table: [{ long: dictionary.id }, index] },
    children.length > 0 ? { tables: children.map(fieldTable) } : undefined,
  ];
}

export function batchMessage(rows: number, columns: readonly Column[]): IpcMessage {
  const { batch, body } = layOut(rows, columns);
  return { metadata: message("batch", batch, body.length), body };
}

export function dictionaryMessage(id: number, values: Column): IpcMessage {
  const { batch, body } = layOut(values.length, [values]);
  return { metadata: message("dictionary", [{ long: id }, { table: batch }], body.length), body };
}

function message(kind: (typeof MESSAGE_KINDS)[number], header: FlatFields, bodyLength: number): Uint8Array {
  return writeFlat([{ short: V5 }, { byte: MESSAGE_KINDS.indexOf(kind) }, { table: header }, { long: bodyLength }]);
}

function layOut(rows: number, columns: readonly Column[]): { batch: FlatFields; body: Uint8Array } {
  const nodes: number[] = [];
  const buffers: number[] = [];
  const variadic: number[] = [];
  const parts: Uint8Array[] = [];
  let size = 0;
  const put = (bytes: Uint8Array): void => {
    buffers.push(size, bytes.length);
    const padding = (8 - (bytes.length % 8)) % 8;
    parts.push(bytes, NOTHING.length === padding ? NOTHING : new Uint8Array(padding));
    size += bytes.length + padding;
  };
  const visit = (column: Column): void => {
    const { layout, length, data, offsets, children } = column;
    const nulls = nullsOf(column);
    nodes.push(length, nulls);
    put(nulls > 0 && column.validity ? column.validity : NOTHING);
    if (layout === "bytes" || layout === "list") put(offsets);
    if (layout !== "list" && layout !== "struct" && layout !== "fixedList") put(data);
    if (layout === "view") {
      variadic.push(column.buffers.length);
      for (const buffer of column.buffers) put(buffer);
    }
    for (const child of children) visit(child);
  };
  for (const column of columns) visit(column);
  const counts: FlatValue | undefined = variadic.length > 0 ? { longs: variadic, each: 1 } : undefined;
  return {
    batch: [{ long: rows }, { longs: nodes, each: 2 }, { longs: buffers, each: 2 }, undefined, counts],
    body: Buffer.concat(parts, size),
  };
}
