"""Writes the files beside it, as pyarrow 26.0.1 and polars 2.1.0 do: python make.py"""

import datetime as dt
import os
import uuid
from decimal import Decimal as D

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def write(name, batches, schema=None, stream=False, **options):
    opened = (ipc.new_stream if stream else ipc.new_file)(
        name, schema or batches.schema, options=ipc.IpcWriteOptions(**options)
    )
    with opened as out:
        for batch in batches if isinstance(batches, list) else batches.to_batches():
            out.write_batch(batch)


def array(values, kind, stored):
    return pa.array(values, stored).view(kind)


def storage(kind, values, stored):
    return pa.ExtensionArray.from_storage(kind, pa.array(values, stored))


I64 = 2**63
write(
    "moments.arrow",
    pa.table(
        {
            "time_s": array([0, 86399, None], pa.time32("s"), pa.int32()),
            "time_ms": array([0, 86400000, None], pa.time32("ms"), pa.int32()),
            "time_us": array([1, 86400000000, None], pa.time64("us"), pa.int64()),
            "time_ns": array([1, 86399999999999, None], pa.time64("ns"), pa.int64()),
            "date32": array([-1, 2**31 - 2, None], pa.date32(), pa.int32()),
            "endless": array([2**31 - 1, -(2**31) + 1, None], pa.date32(), pa.int32()),
            "date64": array([-86400000, 86400000 * 3000000, None], pa.date64(), pa.int64()),
            "s": array([-1, 9223372036854, None], pa.timestamp("s"), pa.int64()),
            "ms": array([-1, 9223372036854775, None], pa.timestamp("ms", "UTC"), pa.int64()),
            "us": array([-1, I64 - 2, None], pa.timestamp("us", "Asia/Tokyo"), pa.int64()),
            "ns": array([-1, I64 - 2, None], pa.timestamp("ns"), pa.int64()),
            "ns_utc": array([-1, I64 - 2, None], pa.timestamp("ns", "UTC"), pa.int64()),
            "nowhere": array([0, 1, None], pa.timestamp("us", ""), pa.int64()),
            "duration_ns": array([-1, -I64, None], pa.duration("ns"), pa.int64()),
            "duration_s": array([-1, I64 - 1, None], pa.duration("s"), pa.int64()),
            "interval": pa.array([pa.MonthDayNano([-14, 2, 1]), pa.MonthDayNano([2**31 - 1, -(2**31), I64 - 1]), None]),
            "nested": pa.array([[{"x": 5}], [None], None], pa.list_(pa.struct([("x", pa.time32("s"))]))),
        }
    ),
)
write(
    "numbers.arrow",
    pa.table(
        {
            "d32": pa.array([D("-9999999.99"), None], pa.decimal32(9, 2)),
            "d64": pa.array([D("-9999999999999999.99"), None], pa.decimal64(18, 2)),
            "d128": pa.array([D("-999999999999999999999999999999999999.99"), None], pa.decimal128(38, 2)),
            "d256": pa.array([D("-999999999999999999999999999999999999.99"), None], pa.decimal256(38, 2)),
            "hundreds": pa.array([D("-9999900"), None], pa.decimal128(5, -2)),
            "millionths": pa.Array.from_buffers(
                pa.decimal128(2, 6), 2, [pa.py_buffer(b"\1"), pa.py_buffer(np.array([99, 0, 0, 0], "<i8").tobytes())]
            ),
            "f16": pa.array(np.array([65504, -0.5], "f2")),
            "bool8": storage(pa.bool8(), [2, None], pa.int8()),
        }
    ),
)
words = pa.array(["p", "q", "p"]).dictionary_encode()
write(
    "nested.arrow",
    pa.table(
        {
            "dict_list": pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), pa.array([[1, 2], [3]])),
            "dict_struct": pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), pa.array([{"a": 1}, None])),
            "dict_words": pa.DictionaryArray.from_arrays(
                pa.array([1, 0, None]), pa.ListArray.from_arrays(pa.array([0, 2, 3]), words)
            ),
            "dict_bool": pa.array([True, False, None]).dictionary_encode(),
            "dict_null": pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.uint8()), pa.array(["x", None])),
            "dict_view": pa.DictionaryArray.from_arrays(
                pa.array([0, 1, None], pa.int64()), pa.array(["x", "a text that is not in its view"], pa.string_view())
            ),
            "list_dict": pa.ListArray.from_arrays(pa.array([0, 2, 2, 3]), words),
            "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int16()), pa.array([[1], None])),
            "list_view": pa.ListViewArray.from_arrays(pa.array([2, 0, 0]), pa.array([1, 2, 0]), pa.array([1, 2, 3])),
            "large_view": pa.LargeListViewArray.from_arrays(
                pa.array([0, 1, 3], pa.int64()), pa.array([1, 2, 0], pa.int64()), pa.array(["x", "y", "z"])
            ),
            "large_list": pa.array([["x"], None, []], pa.large_list(pa.large_string())),
            "pairs": pa.array([[1, 2], None, [3, None]], pa.list_(pa.int32(), 2)),
            "nothings": pa.array([[], None, []], pa.list_(pa.int32(), 0)),
            "empty": pa.array([{}, None, {}], pa.struct([])),
            "empties": pa.array([[{}, None], None, []], pa.list_(pa.struct([]))),
            "nulls": pa.array([[None], None, []], pa.list_(pa.null())),
            "null": pa.nulls(3),
            "twice": pa.array([[("a", 1), ("a", 2)], None, []], pa.map_(pa.string(), pa.int32())),
            "set": pa.array([[("a", None)], None, []], pa.map_(pa.string(), pa.null())),
        }
    ),
)
write(
    "texts.arrow",
    pa.table(
        {
            "view": pa.array(["short", "a text that is not in its view"], pa.string_view()),
            "bytes": pa.array([b"\0", None], pa.binary_view()),
            "none": pa.array([b"", None], pa.binary(0)),
            "uuid": storage(pa.uuid(), [uuid.UUID(int=5).bytes, None], pa.binary(16)),
            "uuids": pa.ListArray.from_arrays(
                pa.array([0, 1, 1]), storage(pa.uuid(), [uuid.UUID(int=5).bytes], pa.binary(16))
            ),
            "json": storage(pa.json_(), ['{"a": 1.0}', None], pa.string()),
            "opaque": storage(pa.opaque(pa.binary(), "geometry", "PostGIS"), [b"x", None], pa.binary()),
        }
    ),
)
write("not-json.arrow", pa.table({"a": storage(pa.json_(), ["{bad"], pa.string())}))
for name, kind in {"dense": pa.UnionArray.from_dense, "sparse": pa.UnionArray.from_sparse}.items():
    parts = [pa.array([1, 2]), pa.array(["x", "y"])]
    ids = pa.array([0, 1], pa.int8())
    union = kind(ids, pa.array([0, 1], pa.int32()), parts) if name == "dense" else kind(ids, parts)
    write(f"{name}-union.arrow", pa.table({"a": union}))

one = pa.array([1])
odd = {b"\xff\x00": b"\xfe" * 100, b"pandas": b"{"}
write(
    "names.arrow",
    pa.Table.from_arrays(
        [pa.StructArray.from_arrays([one] * 7, ["a", "A", "", "a_1", "element", "é", "É"]), one, one],
        schema=pa.schema(
            [
                pa.field("s", pa.struct([(n, pa.int64()) for n in ["a", "A", "", "a_1", "element", "é", "É"]])),
                pa.field("", pa.int64(), metadata=odd),
                pa.field("S", pa.int64(), nullable=False),
            ],
            metadata=odd,
        ),
    ),
)


def growing(values_type, batches, name, **options):
    schema = pa.schema([("a", pa.dictionary(pa.int32(), values_type))])
    made = [
        pa.record_batch(
            [pa.DictionaryArray.from_arrays(pa.array(i, pa.int32()), pa.array(v, values_type))], schema=schema
        )
        for i, v in batches
    ]
    write(name, made, schema, stream=True, **options)


growing(pa.string(), [([0, 1], ["x", "y"]), ([2, 0], ["x", "y", "z"])], "delta.arrow", emit_dictionary_deltas=True)
lists = [([0, 1], [[1], [2, 3]]), ([2, None], [[1], [2, 3], [4]])]
growing(pa.list_(pa.int64()), lists, "delta-lists.arrow", emit_dictionary_deltas=True)
growing(pa.string(), [([0, 1], ["x", "y"]), ([0, 1], ["p", "q"])], "replaced.arrow")
rows = pa.table({"n": [1, None, 3] * 300, "s": ["a" * 30, None, "b"] * 300, "d": pa.array(["u", "v", None] * 300).dictionary_encode()})
write("lz4.arrow", rows, compression="lz4")
write("zstd.arrow", rows, stream=True, compression="zstd")

def few(count, make):
    return [make(at) for at in range(count % 4)]


def rows_of(make):
    return [None if row % 5 == 3 else make(row) for row in range(61)]


write(
    "layouts.arrow",
    pa.table(
        {
            "n": pa.array(range(61)),
            "bool": pa.array(rows_of(lambda r: r % 3 == 0)),
            "text": pa.array(rows_of(lambda r: "x" * (r % 7)), pa.large_string()),
            "view": pa.array(rows_of(lambda r: f"{r}" * (r % 9)), pa.string_view()),
            "word": pa.array(rows_of(lambda r: f"w{r % 3}")).dictionary_encode(),
            "bools": pa.array(rows_of(lambda r: few(r, lambda at: None if at == 1 else r % 2 == 0)), pa.list_(pa.bool_())),
            "views": pa.array(rows_of(lambda r: few(r, lambda at: f"{at}" * r)), pa.list_(pa.string_view())),
            "lists": pa.array(rows_of(lambda r: few(r, lambda at: [at, None, r][:at])), pa.list_(pa.list_(pa.int16()))),
            "pair": pa.array(rows_of(lambda r: [r % 2 == 0, None]), pa.list_(pa.bool_(), 2)),
            "struct": pa.array(rows_of(lambda r: {"a": r if r % 2 else None, "b": few(r, str)})),
            "map": pa.array(rows_of(lambda r: few(r, lambda at: (f"k{at}", {"v": r}))), pa.map_(pa.string(), pa.struct([("v", pa.int8())]))),
        }
    ),
)

frame = pl.DataFrame(
    {
        "cat": pl.Series(["a", "b", None], dtype=pl.Categorical),
        "enum": pl.Series(["x", "y", "x"], dtype=pl.Enum(["x", "y", "zz"])),
        "cats": pl.Series([["a"], ["b", "a"], None], dtype=pl.List(pl.Categorical)),
        "text": ["short", "a text that is not in its view", None],
        "time": [dt.time(1, 2, 3, 4), None, dt.time(0)],
        "took": [dt.timedelta(days=1), None, dt.timedelta(microseconds=-1)],
        "big": pl.Series([1, 2**100, None], dtype=pl.Int128),
        "pair": pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int64, 2)),
        "struct": [{"a": 1, "b": {"c": "x"}}, None, {"a": None, "b": None}],
        "null": [None, None, None],
    }
)
frame.write_ipc("polars.arrow", compression="lz4")
frame.clear().write_ipc_stream("polars-no-rows.arrow")
