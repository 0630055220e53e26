"""The gate against a memory of everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twinloop.features.ordering import REMEMBERED, Order, SequenceGate


@given(st.lists(st.integers(0, 200), max_size=200))
def test_the_gate_agrees_with_a_memory_of_everything(sequences: list[int]) -> None:
    gate, seen = SequenceGate(), set[int]()
    for sequence in sequences:
        highest = max(seen, default=-1)
        if sequence > highest:
            expected = Order.NEW
        elif sequence in seen and highest - sequence < REMEMBERED:
            expected = Order.DUPLICATE
        else:
            expected = Order.OUT_OF_ORDER
        assert gate.check("a", "s", sequence) is expected
        if expected is Order.NEW:
            seen.add(sequence)


def test_assets_and_signal_sets_are_told_apart() -> None:
    gate = SequenceGate()
    assert gate.check("a", "s", 5) is Order.NEW
    assert gate.check("b", "s", 5) is Order.NEW
    assert gate.check("a", "t", 5) is Order.NEW
    assert gate.check("a", "s", 5) is Order.DUPLICATE
    assert gate.check("a", "s", 4) is Order.OUT_OF_ORDER
    assert gate.check("a", "s", 2**64 - 1) is Order.NEW
