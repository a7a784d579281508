"""Writes the files beside it, as pyarrow 26.0.1 does: python make.py

The fuzzer loads each, and changes those that are sound. `hostile-` ones must be refused by name. `found-` ones are written
by the fuzzer, not here: what once ended a process or was refused without a name."""

import base64
import datetime as dt
import gzip
import os
import uuid
from decimal import Decimal as D

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

os.chdir(os.path.dirname(os.path.abspath(__file__)))

ROWS = range(40)
plain = pa.table(
    {
        "i": pa.array(ROWS, pa.int32()),
        "big": pa.array([row * 2**40 if row % 5 else None for row in ROWS], pa.int64()),
        "d": pa.array([row / 8 for row in ROWS], pa.float64()),
        "s": [f"text {row % 7}" if row % 3 else None for row in ROWS],
        "b": [row % 2 == 0 for row in ROWS],
    }
)
nested = pa.table(
    {
        "list": pa.array([[row, None] if row % 4 else None for row in ROWS], pa.list_(pa.int32())),
        "struct": [{"a": row, "b": {"c": "x" if row % 2 else None}} for row in ROWS],
        "map": pa.array([[("k", row), ("l", None)] for row in ROWS], pa.map_(pa.string(), pa.int64())),
        "lists": pa.array([[[row], [], None] for row in ROWS], pa.list_(pa.list_(pa.int16()))),
        "structs": [[{"a": [row]}, {"a": None}] for row in ROWS],
    }
)
moment = dt.datetime(2024, 2, 29, 1, 2, 3, 456789)
types = pa.table(
    {
        "date": [moment.date(), None],
        "time_ms": pa.array([1, 86_400_000], pa.int32()).view(pa.time32("ms")),
        "time_us": pa.array([1, 86_400_000_000], pa.int64()).view(pa.time64("us")),
        "time_ns": pa.array([1, 86_400_000_000_000], pa.int64()).view(pa.time64("ns")),
        "ms": pa.array([1, None], pa.timestamp("ms")),
        "us": pa.array([moment, None], pa.timestamp("us", "UTC")),
        "ns": pa.array([1, None], pa.timestamp("ns")),
        "endless": pa.array([2**63 - 1, 1 - 2**63], pa.int64()).view(pa.timestamp("us")),
        "d9": pa.array([D("1.50"), None], pa.decimal128(9, 2)),
        "d38": pa.array([D("-1.50"), None], pa.decimal128(38, 10)),
        "i8": pa.array([-128, 127], pa.int8()),
        "u16": pa.array([0, 65535], pa.uint16()),
        "u64": pa.array([2**64 - 1, None], pa.uint64()),
        "f16": pa.array([0.5, None], pa.float16()),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=5).bytes] * 2, pa.binary(16))),
        "bytes": pa.array([b"\0\xff", None], pa.binary()),
        "null": pa.nulls(2),
    }
)


def write(name, table, **options):
    options = {"compression": "none", "use_dictionary": False, "store_schema": False, **options}
    pq.write_table(table, f"{name}.parquet", **options)


for version in ("1.0", "2.0"):
    pages = {"data_page_version": version}
    write(f"plain-v{version[0]}", plain, **pages)
    write(f"nested-v{version[0]}", nested, compression="snappy", **pages)
    write(f"dictionary-v{version[0]}", plain, use_dictionary=True, data_page_size=64, write_batch_size=8, **pages)
    for codec in ("snappy", "gzip", "brotli", "zstd", "lz4"):
        write(f"{codec}-v{version[0]}", plain.select(["i", "s"]), compression=codec, **pages)
encodings = {
    "i": "DELTA_BINARY_PACKED",
    "big": "DELTA_BINARY_PACKED",
    "d": "BYTE_STREAM_SPLIT",
    "s": "DELTA_BYTE_ARRAY",
    "b": "RLE",
}
write("encodings", plain, column_encoding=encodings, data_page_version="2.0")
write("delta-length", plain.select(["s"]), column_encoding={"s": "DELTA_LENGTH_BYTE_ARRAY"})
write("types", types)
write("int96", types.select(["us", "ns"]), use_deprecated_int96_timestamps=True)
write("groups", plain, row_group_size=7, write_page_index=True, write_page_checksum=True, write_statistics=False)
write("arrow-schema", types.select(["date", "ns"]), store_schema=True, use_dictionary=True)
write("no-rows", nested.slice(0, 0))
deep = pa.array([1, None], pa.int8())
for level in range(12):
    deep = pa.StructArray.from_arrays([deep], [f"g{level}"])
write("deep-schema", pa.table({"deep": deep}))


class Keys(pe.KmsClient):
    def __init__(self, _):
        super().__init__()

    def wrap_key(self, key, _):
        return base64.b64encode(key)

    def unwrap_key(self, key, _):
        return base64.b64decode(key)


def write_encrypted(name, **options):
    encryption = pe.EncryptionConfiguration(footer_key="f", column_keys={"c": ["i"]}, **options)
    properties = pe.CryptoFactory(Keys).file_encryption_properties(pe.KmsConnectionConfig(), encryption)
    with pq.ParquetWriter(name, plain.schema, encryption_properties=properties) as writer:
        writer.write_table(plain)


write_encrypted("hostile-encrypted.parquet")
write_encrypted("hostile-encrypted-column.parquet", plaintext_footer=True)
for unit, bits in (("ms", 32), ("us", 64), ("ns", 64)):
    time = pa.time32(unit) if bits == 32 else pa.time64(unit)
    stored = pa.array([-(2 ** (bits - 1))], pa.int32() if bits == 32 else pa.int64())
    write(f"hostile-time-{unit}", pa.table({"t": stored.view(time)}), write_statistics=False)


# Thrift's compact protocol, as far as it is needed for what no library writes.
def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def i32(number):
    return 5, varint(number << 1)


def i64(number):
    return 6, varint(number << 1)


def text(value):
    return 8, varint(len(value)) + value.encode()


FALSE = 2, b""


def items(*values):
    return 9, bytes([0xF0 | values[0][0]]) + varint(len(values)) + b"".join(value for _, value in values)


def struct(fields):
    out, last = b"", 0
    for number, (kind, value) in fields.items():
        out += bytes([(number - last) << 4 | kind]) + value
        last = number
    return 12, out + b"\0"


def write_raw(name, body, schema, columns, rows):
    groups = [struct({1: items(*columns), 2: i64(len(body)), 3: i64(rows)})] if columns else []
    footer = {1: i32(1), 2: items(*schema), 3: i64(rows), 4: items(*groups) if groups else (9, b"\x0c")}
    _, end = struct(footer)
    data = b"PAR1" + body + end + len(end).to_bytes(4, "little") + b"PAR1"
    with open(f"hostile-{name}.parquet.gz", "wb") as file:
        file.write(gzip.compress(data, mtime=0))


# A page that says it is not compressed, in a chunk with a codec: 65,536 bytes were copied to a place of 16.
sizes = {2: i32(16), 3: i32(65536)}
values = struct({1: i32(2), 2: i32(0), 3: i32(2), 4: i32(0), 5: i32(0), 6: i32(0), 7: FALSE})
body = struct({1: i32(3), **sizes, 8: values})[1] + b"A" * 65536
chunk = {1: i32(2), 2: items(i32(0)), 3: items(text("c")), 4: i32(1), 5: i64(2), 6: i64(16), 7: i64(len(body)), 9: i64(4)}
column = struct({1: i32(2), 3: i32(0), 4: text("c")})
root = struct({4: text("schema"), 5: i32(1)})
write_raw("page-sizes", body, [root, column], [struct({2: i64(0), 3: struct(chunk)})], 2)
group = struct({3: i32(0), 4: text("g"), 5: i32(1)})
write_raw("nested-groups", b"", [root, *[group] * 15000, column], [], 0)
