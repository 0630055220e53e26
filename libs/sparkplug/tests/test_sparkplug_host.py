"""The host's state machine: what each message means after what came before it."""

from __future__ import annotations

import numpy as np
import pytest

from twinloop.sparkplug import (
    DataBeforeBirth,
    DataType,
    DeviceBorn,
    DeviceData,
    DeviceDied,
    EdgeSession,
    HostState,
    Message,
    MetricSpec,
    NodeBorn,
    NodeDied,
    NodeId,
    RebirthNeeded,
    Undecodable,
    UnknownAlias,
    decode,
)
from twinloop.sparkplug import sparkplug_pb2 as pb

NODE = NodeId("acme.berlin", "packs.line1")
SPECS = [MetricSpec("Signals/plasma", DataType.FLOAT_ARRAY), MetricSpec("Part/Counter", DataType.UINT64)]
AT_MS = 1_800_000_000_000


def edge(bd_seq: int = 0) -> EdgeSession:
    return EdgeSession(NODE, {"weld1": SPECS, "weld2": SPECS}, bd_seq)


def counter(session: EdgeSession, number: int, device: str = "weld1") -> Message:
    return session.data(device, {"Part/Counter": number}, at_ms=AT_MS)


def hear(state: HostState, *messages: Message) -> list[object]:
    return [event for message in messages for event in decode(message.topic, message.payload, state)]


def born(bd_seq: int = 0) -> tuple[EdgeSession, HostState]:
    session, state = edge(bd_seq), HostState()
    hear(state, *session.births({}, at_ms=AT_MS))
    return session, state


def test_births_come_first_and_give_one_event_each() -> None:
    events = hear(HostState(), *edge().births({}, at_ms=AT_MS))
    assert [type(event) for event in events] == [NodeBorn, DeviceBorn, DeviceBorn]


def test_data_before_any_birth_asks_for_a_rebirth() -> None:
    session = edge()
    session.births({}, at_ms=AT_MS)
    message = counter(session, 1)
    with pytest.raises(DataBeforeBirth) as caught:
        decode(message.topic, message.payload, HostState())
    assert caught.value.rebirth_of == NODE


def test_device_data_before_its_own_birth_asks_for_a_rebirth() -> None:
    session, state = edge(), HostState()
    hear(state, session.births({}, at_ms=AT_MS)[0])
    with pytest.raises(DataBeforeBirth) as caught:
        hear(state, counter(session, 1))
    assert caught.value.rebirth_of == NODE


def test_device_birth_before_the_nodes_asks_for_a_rebirth() -> None:
    with pytest.raises(DataBeforeBirth):
        hear(HostState(), edge().births({}, at_ms=AT_MS)[1])


def test_aliases_keep_devices_apart() -> None:
    session, state = born()
    events = hear(state, counter(session, 5, "weld1"), counter(session, 9, "weld2"))
    assert [
        (one.device, one.metrics["Part/Counter"].value) for one in events if isinstance(one, DeviceData)
    ] == [
        ("weld1", 5),
        ("weld2", 9),
    ]


def test_an_alias_of_another_device_is_unknown() -> None:
    session, state = born()
    message = counter(session, 5, "weld2")
    with pytest.raises(UnknownAlias) as caught:
        decode(message.topic.replace("weld2", "weld1"), message.payload, state)
    assert caught.value.rebirth_of == NODE


def test_an_alias_or_a_name_that_no_birth_gave_is_unknown() -> None:
    _, state = born()
    topic = "spBv1.0/acme.berlin/DDATA/packs.line1/weld1"
    for metric in (pb.Metric(alias=99, long_value=1), pb.Metric(name="Part/Colour", long_value=1)):
        seq = state.nodes[NODE].next_seq
        payload = pb.Payload(timestamp=AT_MS, seq=seq, metrics=[metric])
        with pytest.raises(UnknownAlias):
            decode(topic, payload.SerializeToString(), state)


def test_a_metric_may_go_by_its_name() -> None:
    _, state = born()
    seq = state.nodes[NODE].next_seq
    payload = pb.Payload(timestamp=AT_MS, seq=seq, metrics=[pb.Metric(name="Part/Counter", long_value=4)])
    [event] = decode("spBv1.0/acme.berlin/DDATA/packs.line1/weld1", payload.SerializeToString(), state)
    assert isinstance(event, DeviceData)
    assert event.metrics["Part/Counter"].value == 4


def test_a_gap_delivers_the_data_and_asks_once() -> None:
    session, state = born()
    counter(session, 1)  # lost
    events = hear(state, counter(session, 2), counter(session, 3))
    assert [type(event) for event in events] == [RebirthNeeded, DeviceData, DeviceData]
    assert events[0] == RebirthNeeded(NODE, "sequence 4 came where 3 was expected")


def test_repeated_and_overtaken_messages_are_late_and_ask_for_nothing() -> None:
    session, state = born()
    first, second, third = (counter(session, number) for number in (1, 2, 3))
    hear(state, first)
    [repeated] = hear(state, first)
    assert isinstance(repeated, DeviceData)
    assert repeated.late
    need, ahead, overtaken = hear(state, third, second)
    assert isinstance(need, RebirthNeeded)
    assert isinstance(ahead, DeviceData)
    assert isinstance(overtaken, DeviceData)
    assert (ahead.late, overtaken.late) == (False, True)
    [on] = hear(state, counter(session, 4))
    assert isinstance(on, DeviceData)


def test_the_sequence_wraps_after_255() -> None:
    session, state = born()
    events = hear(state, *(counter(session, number) for number in range(600)))
    assert {type(event) for event in events} == {DeviceData}
    assert len(events) == 600


def test_death_forgets_the_node_and_names_its_devices() -> None:
    session, state = born()
    assert hear(state, session.will(at_ms=AT_MS)) == [NodeDied(NODE, ("weld1", "weld2"))]
    with pytest.raises(DataBeforeBirth):
        hear(state, counter(session, 1))


def test_the_death_of_an_earlier_session_is_no_news() -> None:
    old = edge(255)
    will = old.will(at_ms=AT_MS)
    state = HostState()
    hear(state, *old.births({}, at_ms=AT_MS))
    old.next_session()
    assert old.bd_seq == 0
    hear(state, *old.births({}, at_ms=AT_MS))
    assert hear(state, will) == []
    assert [type(one) for one in hear(state, counter(old, 1))] == [DeviceData]


def test_a_rebirth_replaces_what_was_known() -> None:
    session, state = born()
    hear(state, counter(session, 1))
    events = hear(state, *session.births({}, at_ms=AT_MS), counter(session, 2))
    assert [type(one) for one in events] == [NodeBorn, DeviceBorn, DeviceBorn, DeviceData]


def test_device_death_takes_that_device_only() -> None:
    session, state = born()
    assert hear(state, session.device_death("weld1", at_ms=AT_MS)) == [DeviceDied(NODE, "weld1", AT_MS)]
    with pytest.raises(DataBeforeBirth):
        hear(state, counter(session, 1, "weld1"))
    assert [type(one) for one in hear(state, counter(session, 1, "weld2"))] == [DeviceData]


def test_commands_are_no_events() -> None:
    assert decode("spBv1.0/acme.berlin/NCMD/packs.line1", b"", HostState()) == []


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "spBv1.0/acme.berlin/NBIRTH",
        "spAv1.0/acme.berlin/NBIRTH/packs.line1",
        "spBv1.0/acme.berlin/NBURTH/packs.line1",
        "spBv1.0/acme.berlin/DDATA/packs.line1",
        "spBv1.0/acme.berlin/NDATA/packs.line1/weld1",
        "spBv1.0/acme.berlin/DDATA/packs.line1/",
        "spBv1.0/acme.berlin/DDATA/packs.line1/weld1/more",
        "spBv1.0/STATE/host",
    ],
)
def test_other_topics_are_undecodable(topic: str) -> None:
    with pytest.raises(Undecodable):
        decode(topic, b"", HostState())


def birth_of(*metrics: pb.Metric) -> bytes:
    return pb.Payload(timestamp=AT_MS, seq=1, metrics=metrics).SerializeToString()


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff not protobuf",
        b"",
        pb.Payload(timestamp=AT_MS).SerializeToString(),
        pb.Payload(seq=1).SerializeToString(),
        pb.Payload(timestamp=AT_MS, seq=256).SerializeToString(),
        birth_of(pb.Metric(name="a", int_value=1)),
        birth_of(pb.Metric(datatype=7, int_value=1)),
        birth_of(pb.Metric(name="a", datatype=99, int_value=1)),
        birth_of(pb.Metric(name="a", datatype=20, is_null=True)),
        birth_of(pb.Metric(name="a", datatype=7, string_value="1")),
        birth_of(pb.Metric(name="a", datatype=5, int_value=256)),
        birth_of(pb.Metric(name="a", datatype=7)),
        birth_of(pb.Metric(name="a", datatype=30, bytes_value=b"12345")),
        birth_of(pb.Metric(name="a", datatype=32, bytes_value=b"\x09\0\0\0\x01")),
        birth_of(pb.Metric(name="a", datatype=33, bytes_value=b"abc")),
        birth_of(pb.Metric(name="a", datatype=33, bytes_value=b"\xff\0")),
        birth_of(pb.Metric(name="a", datatype=7, int_value=1), pb.Metric(name="a", datatype=7, int_value=1)),
        birth_of(
            pb.Metric(name="a", alias=1, datatype=7, int_value=1),
            pb.Metric(name="b", alias=1, datatype=7, int_value=1),
        ),
        birth_of(pb.Metric(name="a", datatype=7, int_value=1)).replace(b"\x0a\x01a", b"\x0a\x01\xff"),
        birth_of(pb.Metric(name="a", datatype=12, string_value="text")).replace(b"text", b"te\xfft"),
    ],
)
def test_a_broken_birth_is_undecodable_and_leaves_what_was_known(payload: bytes) -> None:
    session, state = born()
    with pytest.raises(Undecodable):
        decode("spBv1.0/acme.berlin/DBIRTH/packs.line1/weld1", payload, state)
    events = hear(state, counter(session, 1))
    assert isinstance(events[-1], DeviceData)


def test_data_of_another_type_than_born_is_undecodable() -> None:
    _, state = born()
    for metric in (pb.Metric(alias=2, string_value="1"), pb.Metric(alias=2, datatype=7, int_value=1)):
        payload = pb.Payload(timestamp=AT_MS, seq=state.nodes[NODE].next_seq, metrics=[metric])
        with pytest.raises(Undecodable):
            decode("spBv1.0/acme.berlin/DDATA/packs.line1/weld1", payload.SerializeToString(), state)


def test_not_a_number_is_carried_as_it_is() -> None:
    session, state = born()
    samples = np.array([1, np.nan, np.inf], np.float32)
    [event] = hear(state, session.data("weld1", {"Signals/plasma": samples}, at_ms=AT_MS))
    assert isinstance(event, DeviceData)
    got = event.metrics["Signals/plasma"].value
    assert isinstance(got, np.ndarray)
    assert np.array_equal(got, samples, equal_nan=True)
    assert not got.flags.writeable
