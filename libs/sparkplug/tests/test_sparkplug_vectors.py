"""Bytes assembled by hand from the tables of the Sparkplug B 3.0 specification, field by field.

A tag byte is (field number << 3) | wire type: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes.
"""

from __future__ import annotations

import numpy as np
import pytest

from twinloop.sparkplug import (
    DataType,
    DeviceBorn,
    DeviceData,
    EdgeSession,
    HostState,
    MetricSpec,
    NodeBorn,
    NodeDied,
    NodeId,
    Value,
    asks_for_rebirth,
    decode,
    encode_rebirth_command,
)
from twinloop.sparkplug import sparkplug_pb2 as pb
from twinloop.sparkplug.datatypes import read_value, write_value

NODE = NodeId("acme.berlin", "packs.line1")

# 1486144502122 ms = 0b101011010_0000010_0010001_1011011_0101010_1101010 in groups of seven, least first.
AT = bytes([0xEA, 0xF2, 0xF5, 0xA8, 0xA0, 0x2B])
AT_MS = 1486144502122

NDEATH = bytes(
    [
        *[0x08, *AT],  # Payload.timestamp
        *[0x12, 18],  # Payload.metrics, 18 bytes
        *[0x0A, 5, *b"bdSeq"],  # Metric.name
        *[0x18, *AT],  # Metric.timestamp
        *[0x20, 4],  # Metric.datatype = Int64
        *[0x58, 7],  # Metric.long_value
    ]
)  # no Payload.seq: an NDEATH has none

NBIRTH = bytes(
    [
        *[0x08, *AT],
        *[0x12, 18, 0x0A, 5, *b"bdSeq", 0x18, *AT, 0x20, 4, 0x58, 7],
        *[0x12, 33],
        *[0x0A, 20, *b"Node Control/Rebirth"],  # Metric.name; no alias on this one
        *[0x18, *AT],
        *[0x20, 11],  # Metric.datatype = Boolean
        *[0x70, 0],  # Metric.boolean_value = false, present
        *[0x18, 0],  # Payload.seq = 0, present
    ]
)

DBIRTH = bytes(
    [
        *[0x08, *AT],
        *[0x12, 29],
        *[0x0A, 14, *b"Signals/plasma"],
        *[0x10, 1],  # Metric.alias
        *[0x18, *AT],
        *[0x20, 30],  # Metric.datatype = FloatArray
        *[0x38, 1],  # Metric.is_null: no weld yet
        *[0x12, 27],
        *[0x0A, 12, *b"Part/Counter"],
        *[0x10, 2],
        *[0x18, *AT],
        *[0x20, 8],  # Metric.datatype = UInt64
        *[0x58, 0],  # Metric.long_value = 0, present
        *[0x18, 1],  # Payload.seq
    ]
)

DDATA = bytes(
    [
        *[0x08, *AT],
        *[0x12, 20],
        *[0x10, 1],  # Metric.alias; a DATA has neither name nor datatype
        *[0x18, *AT],
        *[0x82, 0x01, 8],  # Metric.bytes_value: field 16 takes a tag of two bytes
        *[0x00, 0x00, 0x80, 0x3F],  # 1.0 as a little-endian 32-bit float
        *[0x00, 0x00, 0x20, 0xC0],  # -2.5
        *[0x12, 12],
        *[0x10, 2],
        *[0x18, *AT],
        *[0x58, 0xAC, 0x02],  # 300
        *[0x18, 2],  # Payload.seq
    ]
)

NCMD = bytes(
    [
        *[0x08, *AT],
        *[0x12, 33],
        *[0x0A, 20, *b"Node Control/Rebirth"],
        *[0x18, *AT],
        *[0x20, 11],
        *[0x70, 1],
    ]
)


def edge() -> EdgeSession:
    specs = [
        MetricSpec("Signals/plasma", DataType.FLOAT_ARRAY),
        MetricSpec("Part/Counter", DataType.UINT64),
    ]
    return EdgeSession(NODE, {"weld1": specs}, bd_seq=7)


def test_the_edge_writes_these_very_bytes() -> None:
    session = edge()
    will = session.will(at_ms=AT_MS)
    assert (will.topic, will.payload, will.qos) == ("spBv1.0/acme.berlin/NDEATH/packs.line1", NDEATH, 1)
    node, device = session.births({"weld1": {"Part/Counter": 0}}, at_ms=AT_MS)
    assert (node.topic, node.payload, node.qos) == ("spBv1.0/acme.berlin/NBIRTH/packs.line1", NBIRTH, 0)
    assert (device.topic, device.payload) == ("spBv1.0/acme.berlin/DBIRTH/packs.line1/weld1", DBIRTH)
    plasma = np.array([1.0, -2.5], np.float32)
    data = session.data("weld1", {"Signals/plasma": plasma, "Part/Counter": 300}, at_ms=AT_MS)
    assert (data.topic, data.payload) == ("spBv1.0/acme.berlin/DDATA/packs.line1/weld1", DDATA)


def test_the_host_reads_these_very_bytes() -> None:
    state = HostState()
    [born] = decode("spBv1.0/acme.berlin/NBIRTH/packs.line1", NBIRTH, state)
    assert isinstance(born, NodeBorn)
    assert (born.node, born.at_ms, born.metrics["bdSeq"].value) == (NODE, AT_MS, 7)
    assert born.metrics["Node Control/Rebirth"].value is False
    [device] = decode("spBv1.0/acme.berlin/DBIRTH/packs.line1/weld1", DBIRTH, state)
    assert isinstance(device, DeviceBorn)
    assert device.asset == "acme.berlin.packs.line1.weld1"
    assert device.metrics["Signals/plasma"].value is None
    assert device.metrics["Part/Counter"].value == 0
    [data] = decode("spBv1.0/acme.berlin/DDATA/packs.line1/weld1", DDATA, state)
    assert isinstance(data, DeviceData)
    plasma = data.metrics["Signals/plasma"].value
    assert isinstance(plasma, np.ndarray)
    assert plasma.dtype == np.float32
    assert plasma.tolist() == [1.0, -2.5]
    assert (data.metrics["Part/Counter"].value, data.metrics["Part/Counter"].at_ms) == (300, AT_MS)
    assert not data.late
    [died] = decode("spBv1.0/acme.berlin/NDEATH/packs.line1", NDEATH, state)
    assert died == NodeDied(NODE, ("weld1",))


def test_the_rebirth_command() -> None:
    assert encode_rebirth_command(at_ms=AT_MS) == NCMD
    assert asks_for_rebirth(NCMD)
    assert not asks_for_rebirth(NCMD[:-1] + b"\x00")


# The examples of the specification's tables; those of the two float arrays in the byte order of its text.
TABLE: list[tuple[DataType, Value, str]] = [
    (DataType.INT8_ARRAY, np.array([-23, 123], np.int8), "e9 7b"),
    (DataType.INT16_ARRAY, np.array([-30000, 30000], np.int16), "d0 8a 30 75"),
    (DataType.INT32_ARRAY, np.array([-1, 315338746], np.int32), "ff ff ff ff fa af cb 12"),
    (DataType.INT64_ARRAY, np.array([-2, 1], np.int64), "fe ff ff ff ff ff ff ff 01 00 00 00 00 00 00 00"),
    (DataType.UINT8_ARRAY, np.array([23, 250], np.uint8), "17 fa"),
    (DataType.UINT16_ARRAY, np.array([30, 52360], np.uint16), "1e 00 88 cc"),
    (DataType.UINT32_ARRAY, np.array([52, 3293969225], np.uint32), "34 00 00 00 49 fb 55 c4"),
    (
        DataType.UINT64_ARRAY,
        np.array([52, 16444743074749521625], np.uint64),
        "34 00 00 00 00 00 00 00 d9 9e 02 d1 b2 76 37 e4",
    ),
    (DataType.FLOAT_ARRAY, np.array([1.23, 89.341], np.float32), "a4 70 9d 3f 98 ae b2 42"),
    (DataType.DOUBLE_ARRAY, np.array([12.354213], np.float64), "d7 a2 05 68 5b b5 28 40"),
    (
        DataType.BOOLEAN_ARRAY,
        np.array([0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1], np.bool_),
        "0c 00 00 00 34 d0",
    ),
    (DataType.STRING_ARRAY, ("ABC", "hello"), "41 42 43 00 68 65 6c 6c 6f 00"),
    (DataType.DATE_TIME_ARRAY, np.array([AT_MS], np.uint64), "6a 79 1d 05 5a 01 00 00"),
]


@pytest.mark.parametrize(("datatype", "value", "hexadecimal"), TABLE, ids=[row[0].name for row in TABLE])
def test_array_bytes(datatype: DataType, value: Value, hexadecimal: str) -> None:
    metric = pb.Metric()
    write_value(metric, datatype, value)
    assert metric.bytes_value.hex(" ") == hexadecimal
    back = read_value(metric, datatype)
    if isinstance(value, np.ndarray):
        assert isinstance(back, np.ndarray)
        assert back.dtype == value.dtype
        assert np.array_equal(back, value)
    else:
        assert back == value


@pytest.mark.parametrize(
    ("datatype", "value", "field", "raw"),
    [
        (DataType.INT8, -1, "int_value", 0xFFFFFFFF),
        (DataType.INT16, -32768, "int_value", 0xFFFF8000),
        (DataType.INT32, -2, "int_value", 0xFFFFFFFE),
        (DataType.INT64, -1, "long_value", 0xFFFFFFFFFFFFFFFF),
        (DataType.UINT32, 0xFFFFFFFF, "int_value", 0xFFFFFFFF),
        (DataType.UINT64, 0xFFFFFFFFFFFFFFFF, "long_value", 0xFFFFFFFFFFFFFFFF),
        (DataType.DATE_TIME, AT_MS, "long_value", AT_MS),
        (DataType.DOUBLE, 0.1, "double_value", 0.1),
        (DataType.BOOLEAN, False, "boolean_value", False),
        (DataType.STRING, "weld.v1", "string_value", "weld.v1"),
        (DataType.BYTES, b"\x00\xff", "bytes_value", b"\x00\xff"),
    ],
)
def test_scalars_ride_in_the_field_of_the_table(
    datatype: DataType, value: Value, field: str, raw: object
) -> None:
    metric = pb.Metric()
    write_value(metric, datatype, value)
    assert metric.WhichOneof("value") == field
    assert getattr(metric, field) == raw
    assert read_value(metric, datatype) == value


def test_a_narrow_negative_number_is_read_in_either_width() -> None:
    """Publishers differ: some sign-extend an Int8 to 32 bits, some send its eight bits."""
    assert read_value(pb.Metric(int_value=0xFF), DataType.INT8) == -1
    assert read_value(pb.Metric(int_value=0xFFFFFFFF), DataType.INT8) == -1
