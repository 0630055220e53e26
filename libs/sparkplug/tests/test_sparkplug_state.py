"""Whether the host is there: what it says of itself, and what an edge node makes of it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twinloop.sparkplug import (
    Act,
    HostSession,
    Message,
    Primary,
    Reply,
    SparkplugError,
    State,
    Undecodable,
    encode_state,
    is_state_topic,
    parse_state,
    parse_topic,
    state_topic,
)

AT_MS = 1_800_000_000_000
states = st.builds(State, st.booleans(), st.integers(0, 2**63))


# ---- the message


@given(states)
def test_a_state_comes_back(state: State) -> None:
    assert parse_state(encode_state(state)) == state


def test_the_payload_is_the_json_of_the_specification() -> None:
    assert json.loads(encode_state(State(True, AT_MS))) == {"online": True, "timestamp": AT_MS}


def test_a_key_more_is_no_harm() -> None:
    assert parse_state(b'{"timestamp": 5, "bdSeq": 1, "online": false}') == State(False, 5)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"ONLINE",  # of Sparkplug 2
        b"\xff",
        b"[" * 100_000,
        b"[true, 5]",
        b'{"online": true}',
        b'{"timestamp": 5}',
        b'{"online": 1, "timestamp": 5}',
        b'{"online": true, "timestamp": true}',
        b'{"online": true, "timestamp": 5.0}',
        b'{"online": true, "timestamp": -1}',
        b'{"online": true, "timestamp": "5"}',
    ],
)
def test_what_is_no_state_is_refused(payload: bytes) -> None:
    with pytest.raises(Undecodable):
        parse_state(payload)


@given(st.binary(max_size=60))
def test_no_bytes_do_worse_than_a_sparkplug_error(payload: bytes) -> None:
    with contextlib.suppress(SparkplugError):
        parse_state(payload)


def test_the_topic_is_none_of_an_edge_node() -> None:
    assert state_topic("scada1") == "spBv1.0/STATE/scada1"
    assert is_state_topic(state_topic("scada1"))
    assert not is_state_topic("spBv1.0/STATES/NBIRTH/STATE")
    with pytest.raises(Undecodable):
        parse_topic(state_topic("scada1"))
    for wrong in ("", "a/b", "+", "#"):
        with pytest.raises(ValueError, match="Sparkplug topic"):
            state_topic(wrong)


# ---- the host


def told(message: Message) -> State:
    """What it says; it is retained, with QoS 1, on the host's topic."""
    assert (message.topic, message.qos, message.retain) == ("spBv1.0/STATE/h", 1, True)
    return parse_state(message.payload)


def test_will_and_birth_have_the_time_of_connect_and_death_its_own() -> None:
    host = HostSession("h")
    assert told(host.will(at_ms=AT_MS)) == State(False, AT_MS)
    assert told(host.birth()) == State(True, AT_MS)
    assert told(host.death(at_ms=AT_MS + 5)) == State(False, AT_MS + 5)


@given(st.lists(st.integers(0, 20), min_size=1))
def test_every_session_is_later_than_what_was_said_before_it_whatever_the_clock_says(
    clock: list[int],
) -> None:
    host, newest = HostSession("h"), -1
    for at_ms in clock:
        begun = told(host.will(at_ms=at_ms)).at_ms
        assert begun > newest
        assert begun >= at_ms
        assert told(host.birth()).at_ms == begun
        newest = told(host.death(at_ms=at_ms)).at_ms
        assert newest >= begun


def test_who_is_told_to_be_offline_says_again_that_he_is_not() -> None:
    host = HostSession("h")
    will = host.will(at_ms=AT_MS)
    assert host.heard(will.payload, retained=True) is Reply.NOTHING  # the birth is still to come
    birth = host.birth()
    assert host.heard(birth.payload, retained=False) is Reply.NOTHING
    assert host.heard(will.payload, retained=False) is Reply.BIRTH
    assert host.heard(encode_state(State(False, AT_MS - 9)), retained=True) is Reply.BIRTH
    assert told(host.birth()) == State(True, AT_MS)
    host.death(at_ms=AT_MS + 1)
    assert host.heard(will.payload, retained=False) is Reply.NOTHING


@pytest.mark.parametrize("online", [True, False])
def test_a_host_whose_clock_went_back_connects_again_after_what_edge_nodes_know(online: bool) -> None:
    host = HostSession("h")
    host.will(at_ms=AT_MS)
    host.birth()
    before = encode_state(State(online, AT_MS + 60_000))
    assert host.heard(before, retained=True) is Reply.CONNECT
    assert told(host.will(at_ms=AT_MS + 1)).at_ms == AT_MS + 60_001


def test_a_host_that_is_told_of_a_later_death_connects_again_after_it_and_says_no_farewell() -> None:
    host = HostSession("h")
    host.will(at_ms=AT_MS)
    host.birth()
    assert host.heard(encode_state(State(False, AT_MS + 1)), retained=False) is Reply.CONNECT
    assert not host.online
    assert told(host.will(at_ms=AT_MS)) == State(False, AT_MS + 2)
    host.birth()
    farewell = host.death(at_ms=AT_MS + 9)
    assert host.heard(farewell.payload, retained=False) is Reply.NOTHING


def test_two_hosts_of_one_id_do_not_drive_each_other_on() -> None:
    host = HostSession("h")
    host.will(at_ms=AT_MS)
    host.birth()
    assert host.heard(encode_state(State(True, AT_MS + 1)), retained=False) is Reply.NOTHING


# ---- the edge node


def test_births_are_due_when_the_host_comes_and_the_death_when_it_goes() -> None:
    one = Primary()
    one, act = one.heard(State(False, 5))
    assert act is Act.NOTHING  # nothing was born
    one, act = one.heard(State(True, 7))
    assert (act, one.online) == (Act.BIRTH, True)
    one, act = one.heard(State(True, 7))
    assert act is Act.NOTHING  # said again
    one, act = one.heard(State(False, 7))
    assert (act, one.online) == (Act.DEATH, False)
    one, act = one.heard(State(True, 7))
    assert act is Act.BIRTH  # it was contradicted


def test_a_will_that_comes_after_the_next_birth_is_ignored() -> None:
    one, _ = Primary().heard(State(True, 7))
    one, _ = one.heard(State(True, 9))
    assert one.heard(State(False, 7)) == (one, Act.NOTHING)


def test_a_host_that_was_away_unnoticed_gets_births() -> None:
    one, _ = Primary().heard(State(True, 7))
    assert one.heard(State(True, 9)) == (Primary(True, 9), Act.BIRTH)


def test_a_new_connection_knows_nothing_but_what_is_older() -> None:
    one = Primary(True, 7).connected()
    assert not one.online
    assert one.heard(State(True, 6)) == (one, Act.NOTHING)
    assert one.heard(State(True, 7)) == (Primary(True, 7), Act.BIRTH)


@given(st.lists(states | st.just("connect")))
def test_births_and_deaths_take_turns_and_follow_the_newest_word(heard: list[State | str]) -> None:
    one, born, newest = Primary(), False, -1
    for state in heard:
        if not isinstance(state, State):
            one, born = one.connected(), False
            continue
        one, act = one.heard(state)
        if state.at_ms < newest:
            assert act is Act.NOTHING
            continue
        newest = state.at_ms
        if act is Act.DEATH:
            assert born
        born = born if act is Act.NOTHING else act is Act.BIRTH
        assert born == one.online == state.online


@dataclass
class Broker:
    """Delivers to an edge node, and what was said last to who connects; wills may come late."""

    edge: Primary = field(default_factory=Primary)
    retained: bytes = b""
    wills: list[bytes] = field(default_factory=list)

    def take(self, payload: bytes) -> None:
        self.retained = payload
        self.edge, _ = self.edge.heard(parse_state(payload))


@given(
    st.lists(
        st.sampled_from(["start", "birth", "death", "loss", "will", "edge connects"]),
        max_size=40,
    ),
    st.lists(st.integers(0, 5), max_size=40),
)
@example(["start", "loss", "start", "birth"], [1])  # the will of the first comes last, and is the later one
def test_in_the_end_the_edge_node_knows_whether_its_host_is_there(acts: list[str], clock: list[int]) -> None:
    """Hosts come, go and are lost; wills come late; every process has a clock of its own.

    A will comes before the next session ends: of two deaths that come while no host listens, the broker keeps
    one, and nobody could know of the other.
    """
    broker, host, up, born = Broker(), HostSession("h"), False, False
    times = iter(clock)

    def connect() -> None:
        broker.wills.append(host.will(at_ms=next(times, 0)).payload)
        while broker.retained and host.heard(broker.retained, retained=True) is Reply.CONNECT:
            broker.wills.pop()  # it disconnects in order, and connects again
            broker.wills.append(host.will(at_ms=next(times, 0)).payload)

    def listen(payload: bytes) -> None:
        broker.take(payload)
        if not up:
            return
        match host.heard(payload, retained=False):
            case Reply.BIRTH:
                broker.take(host.birth().payload)
            case Reply.CONNECT:
                broker.wills.pop()
                connect()
                if born:
                    broker.take(host.birth().payload)
            case Reply.NOTHING:
                pass

    def hear_of_the_lost() -> None:
        while len(broker.wills) > up:
            listen(broker.wills.pop(0))

    for act in acts:
        match act:
            case "start" if not up:
                host, up, born = HostSession("h"), True, False
                connect()
            case "birth" if up:
                born = True
                broker.take(host.birth().payload)
            case "death" if up:
                hear_of_the_lost()
                broker.take(host.death(at_ms=next(times, 0)).payload)
                broker.wills.pop()
                up = born = False
            case "loss" if up:
                hear_of_the_lost()
                up = born = False
            case "will" if len(broker.wills) > up:
                listen(broker.wills.pop(0))
            case "edge connects":
                broker.edge = broker.edge.connected()
                if broker.retained:
                    broker.take(broker.retained)
            case _:
                pass
    hear_of_the_lost()
    assert broker.edge.online == (up and born)
