"""Datatypes and values: the numbers and byte forms of the specification's tables.

Python's side of a value: `int` for integers and DateTime (milliseconds since 1970), `float`, `bool`, `str`,
`bytes`, a one-dimensional numpy array for the arrays of numbers and booleans, a tuple of `str` for
StringArray, `None` for null.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinloop.sparkplug import sparkplug_pb2 as pb
from twinloop.sparkplug.errors import Undecodable


class DataType(IntEnum):
    """The datatype numbers."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATE_TIME = 13
    TEXT = 14
    UUID = 15
    DATA_SET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTY_SET = 20
    PROPERTY_SET_LIST = 21
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32
    STRING_ARRAY = 33
    DATE_TIME_ARRAY = 34


Array: TypeAlias = NDArray[np.generic]
Value: TypeAlias = bool | int | float | str | bytes | Array | tuple[str, ...] | None

_SIGNED_BITS = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_UNSIGNED_BITS = {
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.DATE_TIME: 64,
}
# The text of the specification says that every array is little endian. Its examples of FloatArray and
# DoubleArray print their bytes the other way round; the text and the integer examples are what we follow.
_ARRAYS: dict[DataType, np.dtype[np.generic]] = {
    DataType.INT8_ARRAY: np.dtype("i1"),
    DataType.INT16_ARRAY: np.dtype("<i2"),
    DataType.INT32_ARRAY: np.dtype("<i4"),
    DataType.INT64_ARRAY: np.dtype("<i8"),
    DataType.UINT8_ARRAY: np.dtype("u1"),
    DataType.UINT16_ARRAY: np.dtype("<u2"),
    DataType.UINT32_ARRAY: np.dtype("<u4"),
    DataType.UINT64_ARRAY: np.dtype("<u8"),
    DataType.FLOAT_ARRAY: np.dtype("<f4"),
    DataType.DOUBLE_ARRAY: np.dtype("<f8"),
    DataType.DATE_TIME_ARRAY: np.dtype("<u8"),
}
_STRINGS = frozenset({DataType.STRING, DataType.TEXT, DataType.UUID})
_OPAQUE = {
    DataType.BYTES: "bytes_value",
    DataType.FILE: "bytes_value",
    DataType.DATA_SET: "dataset_value",
    DataType.TEMPLATE: "template_value",
}


def datatype_of(number: int) -> DataType:
    """The datatype with this number. Raises `Undecodable` when a metric cannot have it."""
    if number in (DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST):
        raise Undecodable(f"datatype {number} is for properties only")
    try:
        return DataType(number)
    except ValueError as error:
        raise Undecodable(f"there is no datatype {number}") from error


def field_of(datatype: DataType) -> str:
    """The name of the `oneof value` field that carries `datatype`."""
    bits = _SIGNED_BITS.get(datatype) or _UNSIGNED_BITS.get(datatype)
    if bits is not None:
        return "long_value" if bits == 64 else "int_value"
    if datatype is DataType.FLOAT:
        return "float_value"
    if datatype is DataType.DOUBLE:
        return "double_value"
    if datatype is DataType.BOOLEAN:
        return "boolean_value"
    if datatype in _STRINGS:
        return "string_value"
    return _OPAQUE.get(datatype, "bytes_value")


def write_value(metric: pb.Metric, datatype: DataType, value: Value) -> None:
    """Set the value of `metric`. Raises `ValueError` when `value` is not of `datatype` or out of range."""
    if value is None:
        metric.is_null = True
        return
    setattr(metric, field_of(datatype), _to_wire(datatype, value))


def _to_wire(datatype: DataType, value: Value) -> object:
    if (bits := _SIGNED_BITS.get(datatype)) is not None:
        number = _integer(value)
        if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
            raise ValueError(f"{number} is no {datatype.name}")
        return number % (1 << max(bits, 32))  # two's complement in 32 or 64 bits
    if (bits := _UNSIGNED_BITS.get(datatype)) is not None:
        number = _integer(value)
        if not 0 <= number < 1 << bits:
            raise ValueError(f"{number} is no {datatype.name}")
        return number
    if datatype in (DataType.FLOAT, DataType.DOUBLE):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{value!r} is no {datatype.name}")
        return float(value)
    if datatype is DataType.BOOLEAN:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is no BOOLEAN")
        return value
    if datatype in _STRINGS:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no {datatype.name}")
        return value
    if datatype in _OPAQUE:
        if not isinstance(value, bytes):
            raise ValueError(f"a {datatype.name} is given as bytes")
        return value
    return _array_to_bytes(datatype, value)


def _integer(value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no integer")
    return value


def _array_to_bytes(datatype: DataType, value: Value) -> bytes:
    if datatype is DataType.STRING_ARRAY:
        if not isinstance(value, tuple) or any("\0" in one for one in value):
            raise ValueError("a STRING_ARRAY is a tuple of strings without the null character")
        return b"".join(one.encode() + b"\0" for one in value)
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise ValueError(f"a {datatype.name} is a one-dimensional numpy array")
    if datatype is DataType.BOOLEAN_ARRAY:
        if value.dtype != np.bool_:
            raise ValueError("a BOOLEAN_ARRAY is an array of bool")
        return len(value).to_bytes(4, "little") + np.packbits(value.astype(np.bool_)).tobytes()
    wanted = _ARRAYS[datatype]
    if not np.can_cast(value.dtype, wanted, "same_kind" if wanted.kind == "f" else "safe"):
        raise ValueError(f"an array of {value.dtype} is no {datatype.name}")
    return np.ascontiguousarray(value, dtype=wanted).tobytes()


def read_value(metric: pb.Metric, datatype: DataType) -> Value:
    """The value of `metric`; arrays of numbers are read-only views of the message's bytes.

    Raises `Undecodable` when the message carries no value, one of another type, or a broken array.
    """
    if metric.is_null:
        return None
    present, wanted = metric.WhichOneof("value"), field_of(datatype)
    if present != wanted:
        raise Undecodable(f"a {datatype.name} is carried by {wanted}, not by {present or 'nothing'}")
    raw = getattr(metric, wanted)
    if (bits := _SIGNED_BITS.get(datatype)) is not None:
        number = raw & ((1 << bits) - 1)
        return int(number - (1 << bits) if number >> (bits - 1) else number)
    if (bits := _UNSIGNED_BITS.get(datatype)) is not None:
        if raw >> bits:
            raise Undecodable(f"{raw} is no {datatype.name}")
        return int(raw)
    if datatype in _STRINGS and not isinstance(raw, str):  # proto2 gives what is not UTF-8 as bytes
        raise Undecodable(f"a {datatype.name} is not UTF-8")
    if wanted == "bytes_value" and datatype not in _OPAQUE:
        return _array_from_bytes(datatype, raw)
    return raw  # type: ignore[no-any-return]


def _array_from_bytes(datatype: DataType, raw: bytes) -> Value:
    if datatype is DataType.STRING_ARRAY:
        if raw and not raw.endswith(b"\0"):
            raise Undecodable("the last string of a STRING_ARRAY is not terminated")
        try:
            return tuple(one.decode() for one in raw.split(b"\0")[:-1])
        except UnicodeDecodeError as error:
            raise Undecodable(f"a STRING_ARRAY is not UTF-8: {error}") from error
    if datatype is DataType.BOOLEAN_ARRAY:
        count = int.from_bytes(raw[:4], "little")
        if len(raw) < 4 or len(raw) - 4 != (count + 7) // 8:
            raise Undecodable(f"a BOOLEAN_ARRAY of {len(raw)} bytes cannot hold {count} values")
        return np.unpackbits(np.frombuffer(raw, np.uint8, offset=4), count=count).astype(np.bool_)
    dtype = _ARRAYS[datatype]
    if len(raw) % dtype.itemsize:
        raise Undecodable(f"{len(raw)} bytes are no whole number of {datatype.name} elements")
    return np.frombuffer(raw, dtype=dtype)
