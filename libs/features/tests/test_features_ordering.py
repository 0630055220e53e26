"""The gate against its definition, and against itself begun anew in the middle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twinloop.features.ordering import REMEMBERED, Order, SequenceGate

Log = list[tuple[int, int, int]]
"""Of each frame: its asset, its sequence, its offset."""


def by_definition(log: Log, memory: int) -> list[Order]:
    orders = []
    for n, (asset, sequence, offset) in enumerate(log):
        lately = [s for a, s, o in log[:n] if a == asset and o >= offset - memory]
        if not lately or sequence > max(lately):
            orders.append(Order.NEW)
        elif sequence in lately and sequence > max(lately) - REMEMBERED:
            orders.append(Order.DUPLICATE)
        else:
            orders.append(Order.OUT_OF_ORDER)
    return orders


def check(gate: SequenceGate, log: Log) -> list[Order]:
    columns = (
        [np.array(one, np.int64) for one in zip(*log, strict=True)] if log else [np.empty(0, np.int64)] * 3
    )
    return [Order(one) for one in gate.check(columns[0], columns[1].astype(np.uint64), columns[2])]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Mostly rising sequences of a few assets, with repeats, steps back, leaps and gaps in the offsets."""
    at = {asset: draw(st.integers(0, 100)) for asset in range(3)}
    offset, log = 0, []
    for _ in range(draw(st.integers(0, 60))):
        asset = draw(st.integers(0, 2))
        step = draw(st.sampled_from([1, 1, 1, 1, 1, 2, 3, 0, -1, -2, -5, 31, 32, 33, 70, -31, -32, -33, -70]))
        sequence = max(0, at[asset] + step)
        if draw(st.integers(0, 3)) or step > 0:
            at[asset] = sequence
        log.append((asset, sequence, offset))
        offset += draw(st.sampled_from([1, 1, 1, 1, 2, 10]))
    return log


@given(logs(), st.sampled_from([1, 5, 20, 60, 1000]), st.data())
def test_it_is_what_it_is_defined_to_be_however_the_log_is_cut_into_calls(
    log: Log, memory: int, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=5)))
    gate, found = SequenceGate(memory), []
    for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        found += check(gate, log[start:end])
    assert found == by_definition(log, memory)


@given(logs(), st.sampled_from([1, 5, 20, 60, 1000]), st.data())
def test_begun_anew_where_it_says_it_judges_what_follows_alike(
    log: Log, memory: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    whole = SequenceGate(memory)
    check(whole, log[:cut])
    position = log[cut][2] if cut < len(log) else (log[-1][2] + 1 if log else 0)
    oldest = whole.oldest(position)
    assert oldest is None or position - memory <= oldest < position
    anew = SequenceGate(memory)
    check(anew, [one for one in log[:cut] if oldest is not None and one[2] >= oldest])
    assert check(anew, log[cut:]) == check(whole, log[cut:])


def test_smooth_sequences_of_many_assets_are_new() -> None:
    gate = SequenceGate(100_000)
    for turn in range(5):
        assets = np.tile(np.arange(1000), 4)
        sequences = np.repeat(np.arange(4), 1000) + 4 * turn
        orders = gate.check(assets, sequences.astype(np.uint64), np.arange(4000) + 4000 * turn)
        assert not orders.any()
    assert gate.oldest(20_000) == 0


def test_the_largest_sequence_number_is_a_sequence_number() -> None:
    gate, most = SequenceGate(10), np.array([2**64 - 1], np.uint64)
    assert gate.check(np.array([0]), most, np.array([0]))[0] == Order.NEW
    assert gate.check(np.array([0]), most, np.array([1]))[0] == Order.DUPLICATE
    assert gate.check(np.array([0]), np.array([0], np.uint64), np.array([2]))[0] == Order.OUT_OF_ORDER
