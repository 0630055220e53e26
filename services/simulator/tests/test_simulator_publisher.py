"""How an unfriendly edge node sends: every message comes out as often as its faults say."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from twinloop.simulator.faults import Duplicate, Fault, Garbled, Late, Reordered
from twinloop.simulator.publisher import Outbox, flush, publish
from twinloop.sparkplug import Message


def sent(faults: list[Fault], count: int = 6) -> list[int]:
    """The numbers of the messages in the order in which they leave, the last ones by `flush`."""
    outbox, messages = Outbox(), []
    for number in range(count):
        outbox, now = publish(outbox, faults, number, Message("t", bytes([number] * 2)))
        messages += now
    return [message.payload[0] for message in [*messages, *flush(outbox)]]


def test_a_friendly_node_sends_each_once_in_order() -> None:
    assert sent([]) == [0, 1, 2, 3, 4, 5]


def test_duplicate() -> None:
    assert sent([Duplicate(start=1, every=2)]) == [0, 1, 1, 2, 3, 3, 4, 5, 5]


def test_late() -> None:
    assert sent([Late(start=1, every=10, by=3)]) == [0, 2, 3, 4, 1, 5]


def test_late_at_the_end_is_flushed() -> None:
    assert sent([Late(start=4, every=10, by=9)]) == [0, 1, 2, 3, 5, 4]


def test_reordered() -> None:
    assert sent([Reordered(start=0, every=2)]) == [1, 0, 3, 2, 5, 4]


def test_a_fault_ends() -> None:
    assert sent([Duplicate(start=0, until=2)]) == [0, 0, 1, 1, 2, 3, 4, 5]


def test_garbled() -> None:
    _, [message] = publish(Outbox(), [Garbled(start=0, every=1)], 0, Message("t", b"whole payload"))
    assert message.payload == b"whole "


@given(
    st.lists(
        st.builds(Late, start=st.integers(0, 9), every=st.integers(1, 5), by=st.integers(1, 20))
        | st.builds(Reordered, start=st.integers(0, 9), every=st.integers(1, 5))
        | st.builds(Duplicate, start=st.integers(0, 9), every=st.integers(1, 5)),
        max_size=4,
    )
)
def test_nothing_is_lost(faults: list[Fault]) -> None:
    left = Counter(sent(faults, 20))
    assert set(left) == set(range(20))
    doubled = any(isinstance(fault, Duplicate) for fault in faults)
    assert max(left.values()) <= (2 if doubled else 1)
