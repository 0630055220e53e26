"""Whatever goes in: values come back, and no bytes can do more than raise a `SparkplugError`."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twinloop.sparkplug import (
    DataType,
    DeviceData,
    EdgeSession,
    HostState,
    MessageType,
    MetricSpec,
    NodeId,
    SparkplugError,
    Topic,
    Value,
    decode,
    parse_topic,
)

NODE = NodeId("acme.berlin", "packs.line1")
AT_MS = 1_800_000_000_000


def _array(dtype: object) -> st.SearchStrategy[Value]:
    return hnp.arrays(dtype, st.integers(0, 40))  # type: ignore[call-overload, no-any-return]


VALUES: dict[DataType, st.SearchStrategy[Value]] = {
    DataType.INT8: st.integers(-(2**7), 2**7 - 1),
    DataType.INT16: st.integers(-(2**15), 2**15 - 1),
    DataType.INT32: st.integers(-(2**31), 2**31 - 1),
    DataType.INT64: st.integers(-(2**63), 2**63 - 1),
    DataType.UINT8: st.integers(0, 2**8 - 1),
    DataType.UINT16: st.integers(0, 2**16 - 1),
    DataType.UINT32: st.integers(0, 2**32 - 1),
    DataType.UINT64: st.integers(0, 2**64 - 1),
    DataType.FLOAT: st.floats(width=32),
    DataType.DOUBLE: st.floats(),
    DataType.BOOLEAN: st.booleans(),
    DataType.STRING: st.text(),
    DataType.DATE_TIME: st.integers(0, 2**63),
    DataType.TEXT: st.text(),
    DataType.UUID: st.uuids().map(str),
    DataType.DATA_SET: st.binary(),
    DataType.BYTES: st.binary(),
    DataType.FILE: st.binary(),
    DataType.TEMPLATE: st.binary(),
    DataType.INT8_ARRAY: _array(np.int8),
    DataType.INT16_ARRAY: _array(np.int16),
    DataType.INT32_ARRAY: _array(np.int32),
    DataType.INT64_ARRAY: _array(np.int64),
    DataType.UINT8_ARRAY: _array(np.uint8),
    DataType.UINT16_ARRAY: _array(np.uint16),
    DataType.UINT32_ARRAY: _array(np.uint32),
    DataType.UINT64_ARRAY: _array(np.uint64),
    DataType.FLOAT_ARRAY: _array(np.float32),
    DataType.DOUBLE_ARRAY: _array(np.float64),
    DataType.BOOLEAN_ARRAY: _array(np.bool_),
    DataType.STRING_ARRAY: st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))).map(
        tuple
    ),
    DataType.DATE_TIME_ARRAY: _array(np.uint64),
}


def test_every_metric_datatype_is_tried() -> None:
    assert set(VALUES) == set(DataType) - {DataType.PROPERTY_SET, DataType.PROPERTY_SET_LIST}


def same(left: Value, right: Value) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and left.tobytes() == right.tobytes()
    return left == right or (left != left and right != right)


@given(st.data())
def test_what_the_edge_says_is_what_the_host_hears(data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=6))
    specs = [MetricSpec(f"Folder/{number}", DataType(kind)) for number, kind in enumerate(types)]
    values = {spec.name: data.draw(st.none() | VALUES[spec.datatype]) for spec in specs}
    session, state = EdgeSession(NODE, {"weld1": specs}), HostState()
    messages = [
        *session.births({"weld1": values}, at_ms=AT_MS),
        session.data("weld1", values, at_ms=AT_MS, captured_ms=AT_MS - 5),
    ]
    events = [event for one in messages for event in decode(one.topic, one.payload, state)]
    heard = events[-1]
    assert isinstance(heard, DeviceData)
    assert list(heard.metrics) == list(values)
    for name, value in values.items():
        assert same(heard.metrics[name].value, value)
        assert heard.metrics[name].at_ms == AT_MS - 5


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.INT8, 128),
        (DataType.UINT8, -1),
        (DataType.UINT64, 2**64),
        (DataType.INT32, True),
        (DataType.INT32, 1.0),
        (DataType.BOOLEAN, 1),
        (DataType.DOUBLE, "1"),
        (DataType.STRING, b"x"),
        (DataType.BYTES, "x"),
        (DataType.FLOAT_ARRAY, (1.0,)),
        (DataType.FLOAT_ARRAY, np.zeros((2, 2), np.float32)),
        (DataType.UINT8_ARRAY, np.array([300])),
        (DataType.BOOLEAN_ARRAY, np.array([1])),
        (DataType.STRING_ARRAY, ("a\0b",)),
    ],
)
def test_a_value_of_another_type_is_refused(datatype: DataType, value: Value) -> None:
    session = EdgeSession(NODE, {"weld1": [MetricSpec("x", datatype)]})
    with pytest.raises(ValueError, match=r"."):
        session.data("weld1", {"x": value}, at_ms=AT_MS)


names = st.text(st.characters(codec="utf-8", exclude_characters="+/#"), min_size=1)


@given(names, names, names, st.sampled_from(MessageType))
def test_topics_come_back(group: str, node: str, device: str, kind: MessageType) -> None:
    topic = Topic(NodeId(group, node), kind, device if kind.of_device else None)
    assert parse_topic(str(topic)) == topic


@given(st.lists(st.tuples(st.sampled_from(MessageType), st.binary(max_size=60)), max_size=6), st.data())
def test_no_bytes_do_worse_than_a_sparkplug_error(
    messages: list[tuple[MessageType, bytes]], data: st.DataObject
) -> None:
    """Random bytes, and true messages with one byte changed, on every topic."""
    session, state = EdgeSession(NODE, {"weld1": [MetricSpec("x", DataType.STRING_ARRAY)]}), HostState()
    true = [*session.births({}, at_ms=AT_MS), session.data("weld1", {"x": ("a", "b")}, at_ms=AT_MS)]
    for message in true:
        payload = bytearray(message.payload)
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
        with contextlib.suppress(SparkplugError):
            decode(message.topic, bytes(payload), state)
    for kind, raw in messages:
        with contextlib.suppress(SparkplugError):
            decode(str(Topic(NODE, kind, "weld1" if kind.of_device else None)), raw, state)
    for message in [*session.births({}, at_ms=AT_MS), session.data("weld1", {"x": ("a",)}, at_ms=AT_MS)]:
        last = decode(message.topic, message.payload, state)[-1]
    assert isinstance(last, DeviceData)
