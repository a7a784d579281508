import { type Field, Message, Schema } from "apache-arrow";
import { BufferRegion, DictionaryBatch, FieldNode, RecordBatch } from "apache-arrow/ipc/metadata/message";
import { type Column, nullsOf } from "./arrow-column.ts";

/** A message with its body. */
export interface IpcMessage {
  metadata: Uint8Array;
  body: Uint8Array;
}

const NOTHING = new Uint8Array();

export function schemaMessage(fields: Field[]): IpcMessage {
  return { metadata: Message.encode(Message.from(new Schema(fields))), body: NOTHING };
}

export function batchMessage(rows: number, columns: readonly Column[]): IpcMessage {
  const { batch, body } = layOut(rows, columns);
  return { metadata: Message.encode(Message.from(batch, body.length)), body };
}

export function dictionaryMessage(id: number, values: Column): IpcMessage {
  const { batch, body } = layOut(values.length, [values]);
  return { metadata: Message.encode(Message.from(new DictionaryBatch(batch, id), body.length)), body };
}

/** apache-arrow's own writer mixes up the types of columns with the same name (21.2), so that is done here. */
function layOut(rows: number, columns: readonly Column[]): { batch: RecordBatch; body: Uint8Array } {
  const nodes: FieldNode[] = [];
  const buffers: BufferRegion[] = [];
  const variadic: number[] = [];
  const parts: Uint8Array[] = [];
  let size = 0;
  const put = (bytes: Uint8Array): void => {
    buffers.push(new BufferRegion(size, bytes.length));
    const padding = (8 - (bytes.length % 8)) % 8;
    parts.push(bytes, padding === 0 ? NOTHING : new Uint8Array(padding));
    size += bytes.length + padding;
  };
  const visit = (column: Column): void => {
    const { layout, length, data, offsets, children } = column;
    const nulls = nullsOf(column);
    nodes.push(new FieldNode(length, nulls));
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
  return { batch: new RecordBatch(rows, nodes, buffers, null, variadic), body: Buffer.concat(parts, size) };
}

const CONTINUATION = Uint8Array.of(0xff, 0xff, 0xff, 0xff);

/** Messages as one Arrow stream. */
export function toStream(messages: readonly IpcMessage[]): Uint8Array {
  const parts = messages.flatMap(({ metadata, body }) => {
    const padding = new Uint8Array((8 - (metadata.length % 8)) % 8);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(metadata.length + padding.length);
    return [CONTINUATION, length, metadata, padding, body];
  });
  return Buffer.concat([...parts, CONTINUATION, new Uint8Array(4)]);
}
