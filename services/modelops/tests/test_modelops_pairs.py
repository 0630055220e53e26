"""Verdicts of two versions become pairs, in whatever order they come; what is quiet, or missing, is told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.artefacts import model_of
from support.modelops import NOW, verdict

from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.modelops import pairs
from twinloop.modelops.pairs import BEGUN, OVERTAKEN, Comparison, block_of, ends_alike

ONE, TWO = model_of("level", 1, 1.0)[0], model_of("level", 2, 2.0)[0]


def comparison(trial: ModelContract = TWO, serving: ModelContract = ONE) -> Comparison:
    tried = Trial(contract=trial, begun=NOW)
    return Comparison(ModelRoute(event_id="r", scope="level.v1", at=NOW, contract=serving, trial=tried))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60), st.randoms())
def test_pairs_are_found_in_whatever_order_verdicts_come(
    alarms: list[tuple[bool, bool]], random: object
) -> None:
    made = comparison()
    verdicts = [
        verdict(one, n, anomalous, NOW)
        for n, pair in enumerate(alarms)
        for one, anomalous in zip((ONE, TWO), pair, strict=True)
    ]
    random.shuffle(verdicts)  # type: ignore[attr-defined]
    for each in verdicts:
        made.take(each)
    tally = made.tally
    assert [tally.both, tally.only_serving, tally.only_trial, tally.neither] == [
        alarms.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))
    ]
    assert tally.alone == 0


def test_a_window_is_known_by_asset_sequence_and_row() -> None:
    made = comparison()
    made.take(verdict(ONE, 1, True, NOW))
    made.take(verdict(TWO, 1, True, NOW, asset="acme.weld2"))
    made.take(verdict(TWO, 1, True, NOW, row=4))
    made.take(verdict(TWO, 2, True, NOW))
    assert made.tally.pairs == 0
    made.take(verdict(TWO, 1, True, NOW))
    assert made.tally.pairs == 1


def test_what_is_not_of_the_trial_is_left_aside() -> None:
    made = comparison()
    made.take(verdict(ONE, 1, True, NOW))
    made.take(verdict(model_of("level", 3, 3.0)[0], 1, True, NOW))
    made.take(verdict(model_of("other", 2, 3.0)[0], 1, True, NOW))
    made.take(verdict(TWO, 1, True, NOW - timedelta(seconds=1)))  # of an earlier trial
    assert made.tally.pairs == 0


def test_verdicts_whose_other_half_does_not_come_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "WAITING", 5)
    for made in (comparison(), comparison(model_of("level", 2, 2.0, window=5, hop=2)[0])):
        for n in range(12):
            made.take(verdict(ONE, n, False, NOW))
        assert made.tally.alone == 7


@pytest.mark.parametrize(
    ("window", "hop", "alike"), [(4, 1, True), (9, 1, True), (4, 2, False), (5, 2, False)]
)
def test_windows_end_alike_or_not(window: int, hop: int, alike: bool) -> None:
    other = model_of("level", 2, 2.0, window=window, hop=hop)[0]
    assert ends_alike(ONE, other) is alike


def test_where_windows_do_not_end_alike_alarms_are_counted_beside_each_other() -> None:
    other = model_of("level", 2, 2.0, window=5, hop=2)[0]
    made = comparison(other)
    for n in range(10):
        made.take(verdict(ONE, n, n == 0, NOW))
        made.take(verdict(ONE, n, False, NOW, asset="acme.weld2"))
    for n in range(4):
        made.take(verdict(other, 100 + n, n < 2, NOW))
    assert made.tally.pairs == 4
    assert (made.tally.both, made.tally.only_trial, made.tally.only_serving) == (1, 1, 0)


# ---- quiet at first


def test_what_it_says_while_it_is_quiet_counts_for_nothing() -> None:
    """Of each asset by itself, whoever of both speaks first."""
    quiet = replace(TWO, quiet=3)
    made = comparison(quiet)
    for n in range(5):
        for one in (ONE, quiet) if n % 2 else (quiet, ONE):
            made.take(verdict(one, n, True, NOW))
    assert (made.tally.quiet, made.tally.both, made.warm, made.cold) == (3, 2, 1, 0)
    made.take(verdict(ONE, 0, True, NOW, asset="acme.weld2"))
    made.take(verdict(quiet, 0, True, NOW, asset="acme.weld2"))
    assert (made.tally.quiet, made.tally.both, made.warm, made.cold) == (4, 2, 1, 1)


def test_the_same_where_windows_do_not_end_alike() -> None:
    quiet = replace(model_of("level", 2, 2.0, window=5, hop=2)[0], quiet=3)
    made = comparison(quiet)
    for n in range(5):
        made.take(verdict(ONE, n, False, NOW))
        made.take(verdict(quiet, 100 + n, True, NOW))
    assert (made.tally.quiet, made.tally.only_trial) == (3, 2)


def test_one_that_is_never_quiet_is_ready_at_once() -> None:
    made = comparison()
    made.take(verdict(ONE, 0, True, NOW))
    made.take(verdict(TWO, 0, True, NOW))
    assert (made.warm, made.cold) == (1, 0)


# ---- windows without an answer


def passed_over(made: Comparison, windows: int, answers: range | list[int]) -> None:
    for n in range(windows):
        made.take(verdict(ONE, n, False, NOW))
        if n in answers:
            made.take(verdict(made.trial, n, False, NOW))


def test_a_window_that_it_has_passed_over_is_one_without_an_answer() -> None:
    made = comparison()
    passed_over(made, 500, [n for n in range(500) if n % 50])
    assert (made.tally.unanswered, made.tally.alone) == (7, 8), "of the first, it was not there yet"
    assert made.tally.pairs == 490


def test_what_was_there_before_it_is_none() -> None:
    """A detector takes a moment to know of the trial."""
    made = comparison()
    passed_over(made, 500, range(200, 500))
    assert (made.tally.unanswered, made.tally.pairs) == (0, 300)


def test_one_that_never_says_anything_has_no_answer_either() -> None:
    made = comparison()
    passed_over(made, BEGUN + 50, [])
    assert made.tally.unanswered == 50
    gone = comparison()
    passed_over(gone, OVERTAKEN + 60, range(10))
    assert gone.tally.unanswered == 50


def test_one_with_a_longer_window_cannot_answer_sooner() -> None:
    longer = model_of("level", 2, 2.0, window=ONE.window + 3)[0]
    made = comparison(longer)
    assert made.alike
    passed_over(made, 500, [n for n in range(500) if n % 50])
    assert (made.tally.unanswered, made.tally.alone) == (0, 8)


# ---- how long a block is


@pytest.mark.parametrize(
    ("cut", "quiet", "length"),
    [((4, 1), 0, 10), ((60, 1), 0, 60), ((60, 7), 0, 10), ((400, 40), 0, 10), ((4, 4), 391, 391)],
)
def test_a_block_is_longer_than_what_windows_have_in_common(
    cut: tuple[int, int], quiet: int, length: int
) -> None:
    other = replace(TWO, window=cut[0], hop=cut[1], quiet=quiet)
    for made in (comparison(other), comparison(serving=other)):
        assert block_of(made.route, 10) == length
        assert made.more.length(ended=True) == length
