import {
  DataType,
  Dictionary as DictionaryType,
  Field,
  FixedSizeList,
  Int,
  type Int32,
  List,
  Map_,
  Struct,
  Utf8,
} from "apache-arrow";
import { Refusal } from "../kernel/refusal.ts";
import {
  type BatchReader,
  type ListView,
  readFixed,
  readFixedList,
  readList,
  readListView,
  readRuns,
  readStruct,
} from "./arrow-batch.ts";
import {
  allocate,
  type Column,
  claim,
  column,
  hasBit,
  int32s,
  isValid,
  type Memory,
  NoMemory,
  nullsOf,
  numbers,
  take,
} from "./arrow-column.ts";
import { ArrowFormatError } from "./arrow-errors.ts";
import type { ArrowField } from "./arrow-ipc-format.ts";
import { KEPT_EXTENSIONS, planLogical } from "./arrow-logical.ts";
import { arrowTypeName, distinctNames, quoted } from "./arrow-names.ts";
import { type Dictionary, fieldOf, type NamedPlan, type Plan, type Planning, type Told } from "./arrow-planning.ts";
import { texts } from "./arrow-values.ts";

export interface Planned {
  plans: NamedPlan[];
  told: Told;
  dictionaries: Dictionary[];
}

export function planColumns(fields: readonly ArrowField[]): Planned {
  const told: Told = { converted: [], renamed: [] };
  const dictionaries: Dictionary[] = [];
  const plans = fields.map((field) => {
    const planning = { ...told, dictionaries, path: [field.name], isInDictionary: false };
    return { ...planField(field, planning), name: field.name };
  });
  return { plans, told, dictionaries };
}

function planField(field: ArrowField, planning: Planning): Plan {
  if (field.name.includes("\0")) {
    const path = JSON.stringify(planning.path.join("."));
    throw new Refusal("invalid", `: the name of column ${path} has a NUL character in it.`, "Rename it in the source.");
  }
  return field.dictionary ? planDictionary(field, field.dictionary, planning) : planValues(field, planning);
}

/** Texts and bytes stay in their dictionary; Parquet has none for anything else, so that is written out. */
function planDictionary(
  field: ArrowField,
  { id, bits, isSigned }: NonNullable<ArrowField["dictionary"]>,
  planning: Planning,
): Plan {
  const plan = planValues({ ...field, dictionary: undefined }, { ...planning, isInDictionary: true });
  const isKept = !planning.isInDictionary && (DataType.isUtf8(plan.out) || DataType.isBinary(plan.out));
  const number = planning.dictionaries.length;
  const dictionary: Dictionary = {
    id,
    column: planning.path.join("."),
    plan,
    values: undefined,
    out: isKept ? number : undefined,
  };
  planning.dictionaries.push(dictionary);
  return {
    ...plan,
    out: isKept ? new DictionaryType(plan.out, new Int(isSigned as true, bits as 32) as Int32, number) : plan.out,
    read(batch) {
      const indices = readFixed(batch, bits / 8);
      if (isKept) return { ...indices, layout: "dictionary", dictionary: number };
      const values = dictionaryValues(dictionary);
      return take(values, indicesOf(indices, isSigned, values.length, batch.memory), batch.memory);
    },
  };
}

/** A column of NULLs alone may do without its dictionary. */
export function dictionaryValues({ plan, values }: Dictionary): Column {
  return values ?? plan.read(NO_ROWS);
}

const NO_ROWS: BatchReader = {
  rows: 0,
  memory: { left: 2 ** 20 },
  node: () => ({ length: 0, nulls: 0 }),
  buffer: () => new Uint8Array(),
  variadicCount: () => 0,
};

function indicesOf(column: Column, isSigned: boolean, count: number, memory: Memory): Int32Array {
  claim(memory, column.length * 4);
  const at = numbers(column.data, column.width, isSigned);
  return Int32Array.from({ length: column.length }, (_, row) => {
    if (!isValid(column, row)) return -1;
    const index = at(row);
    if (index < 0 || index >= count) throw new ArrowFormatError("an index outside its dictionary");
    return index;
  });
}

function planValues(field: ArrowField, planning: Planning): Plan {
  const plan = planNested(field, planning) ?? planLogical(field, planning);
  if (field.extension && !KEPT_EXTENSIONS.has(field.extension.name)) {
    const about = field.extension.metadata === "" ? "" : ` Its metadata: ${field.extension.metadata.slice(0, 200)}`;
    tell(planning, field, plan.cast ?? plan.duck, `The values are kept as they are stored.${about}`);
  }
  return plan;
}

function tell({ converted, path }: Planning, field: ArrowField, to: string, reason: string): void {
  converted.push({ column: path.join("."), from: arrowTypeName(field), to, reason });
}

function planNested(field: ArrowField, planning: Planning): Plan | undefined {
  const [first, second] = field.children;
  switch (field.type.kind) {
    case "List":
    case "LargeList":
      return planList(first, planning, (batch, readItems) =>
        readList(batch, field.type.kind === "LargeList", readItems),
      );
    case "ListView":
    case "LargeListView":
      return planList(first, planning, (batch, readItems) => {
        const view = readListView(batch, field.type.kind === "LargeListView");
        return listOfViews(view, readItems(), batch.memory);
      });
    case "FixedSizeList":
      return planFixedList(field, first, planning);
    case "Struct":
      return planStruct(field, planning);
    case "Map":
      return planMap(field, first, planning);
    case "RunEndEncoded": {
      if (!first || !second) throw new ArrowFormatError("runs without values");
      const values = planField(second, planning);
      return {
        ...values,
        read: (batch) => {
          const indices = readRuns(batch, first.type.bits);
          const read = values.read(batch);
          if (indices.some((index) => index >= read.length)) throw new ArrowFormatError("runs without values");
          return take(read, indices, batch.memory);
        },
      };
    }
    default:
      return undefined;
  }
}

function planChild(field: ArrowField | undefined, name: string, planning: Planning): NamedPlan {
  if (!field) throw new ArrowFormatError("a nested type without its children");
  return { ...planField(field, { ...planning, path: [...planning.path, name] }), name };
}

function planList(
  item: ArrowField | undefined,
  planning: Planning,
  read: (batch: BatchReader, readItems: () => Column) => Column,
  type: (item: Field) => DataType = (element) => new List(element),
): Plan {
  const items = planChild(item, "element", planning);
  return {
    out: type(fieldOf(items)),
    duck: `${items.duck}[]`,
    ...(items.cast !== undefined && { cast: `${items.cast}[]` }),
    read: (batch) => read(batch, () => items.read(batch)),
  };
}

/** Parquet has no lists of a fixed size, and cannot write one of size 0. */
function planFixedList(field: ArrowField, item: ArrowField | undefined, planning: Planning): Plan {
  const { size } = field.type;
  if (size < 0) throw new ArrowFormatError("a list of a negative size");
  if (size > 0) {
    return planList(
      item,
      planning,
      (batch, readItems) => readFixedList(batch, size, readItems),
      (element) => new FixedSizeList(size, element),
    );
  }
  return planList(item, planning, (batch, readItems) => {
    const { length, validity, children } = readFixedList(batch, 0, readItems);
    return column("list", length, { validity, children, offsets: allocate(batch.memory, 4 * (length + 1)) });
  });
}

function planStruct(field: ArrowField, planning: Planning): Plan {
  if (field.children.length === 0) {
    tell(planning, field, "VARCHAR", "A struct without fields is kept as the text {}.");
    return {
      out: new Utf8(),
      duck: "VARCHAR",
      read: (batch) => {
        const rows = readStruct(batch, []);
        return texts(rows, batch.memory, () => "{}");
      },
    };
  }
  const names = distinctNames(field.children.map(({ name }) => name));
  const children = field.children.map((child, index) => {
    const name = names[index] ?? child.name;
    if (name !== child.name) {
      planning.renamed.push({ from: [...planning.path, child.name].join("."), to: [...planning.path, name].join(".") });
    }
    return planChild(child, name, planning);
  });
  const struct = (types: readonly string[]): string =>
    `STRUCT(${types.map((type, index) => `${quoted(names[index] ?? "")} ${type}`).join(", ")})`;
  return {
    out: new Struct(children.map((child) => fieldOf(child))),
    duck: struct(children.map(({ duck }) => duck)),
    ...(children.some(({ cast }) => cast !== undefined) && {
      cast: struct(children.map(({ cast, duck }) => cast ?? duck)),
    }),
    read: (batch) =>
      readStruct(
        batch,
        children.map(
          ({ read }) =>
            () =>
              read(batch),
        ),
      ),
  };
}

function planMap(field: ArrowField, entries: ArrowField | undefined, planning: Planning): Plan {
  const [keyField, valueField] = entries?.children ?? [];
  if (entries?.type.kind !== "Struct" || entries.children.length !== 2)
    throw new ArrowFormatError("a map without entries");
  const key = planChild(keyField, "key", planning);
  const value = planChild(valueField, "value", planning);
  const struct = new Struct<{ key: DataType; value: DataType }>([fieldOf(key, false), fieldOf(value)]);
  return {
    out: new Map_(new Field("entries", struct, false)),
    duck: `MAP(${key.duck}, ${value.duck})`,
    ...((key.cast ?? value.cast) !== undefined && {
      cast: `MAP(${key.cast ?? key.duck}, ${value.cast ?? value.duck})`,
    }),
    read: (batch) => {
      const map = readList(batch, false, () => readStruct(batch, [() => key.read(batch), () => value.read(batch)]));
      const [pairs] = map.children;
      if (!pairs || nullsOf(pairs) > 0) throw new ArrowFormatError("a map with an entry that is NULL");
      if (pairs.children[0] && nullsOf(pairs.children[0]) > 0) {
        throw new Refusal(
          "invalid",
          `: column ${JSON.stringify(planning.path.join("."))} is a ${arrowTypeName(field)} with a key that is NULL.`,
          "Leave such keys out, or write the column as a list of structs.",
        );
      }
      return map;
    },
  };
}

/** List views may share, skip and reorder their items; where they do not, nothing is copied. */
function listOfViews({ length, validity, offset, size }: ListView, items: Column, memory: Memory): Column {
  const offsets = allocate(memory, 4 * (length + 1));
  const ends = int32s(offsets);
  const isIn = (row: number): boolean => validity === undefined || hasBit(validity, row);
  let total = 0;
  let inOrder = true;
  for (let row = 0; row < length; row++) {
    if (isIn(row) && size(row) !== 0) {
      if (offset(row) < 0 || size(row) < 0 || offset(row) + size(row) > items.length) {
        throw new ArrowFormatError("a list view outside its items");
      }
      inOrder &&= offset(row) === total;
      total += size(row);
      if (total > memory.left) throw new NoMemory();
    }
    ends[row + 1] = total;
  }
  if (inOrder) return column("list", length, { validity, offsets, children: [items] });
  claim(memory, total * 4);
  const indices = new Int32Array(total);
  let to = 0;
  for (let row = 0; row < length; row++) {
    if (isIn(row)) for (let at = 0; at < size(row); at++) indices[to++] = offset(row) + at;
  }
  return column("list", length, { validity, offsets, children: [take(items, indices, memory)] });
}
