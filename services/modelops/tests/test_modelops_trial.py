"""Verdicts become pairs, and pairs an end of the trial, or none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.artefacts import model_of
from support.modelops import NOW, verdict

from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.modelops import trial as trials
from twinloop.modelops.trial import Comparison, Finding, Limits, Outcome, ends_alike, judge
from twinloop.tritonio.server import Usage

ONE, TWO = model_of("level", 1, 1.0)[0], model_of("level", 2, 2.0)[0]
USED = Usage(requests=100, failures=0, windows=100, busy_s=0.1)


def comparison(trial: ModelContract = TWO, **other: object) -> Comparison:
    tried = replace(Trial(contract=trial, begun=NOW), **other)  # type: ignore[arg-type]
    return Comparison(ModelRoute(event_id="r", scope="level.v1", at=NOW, contract=ONE, trial=tried))


def seen(both: int = 0, serving: int = 0, trial: int = 0, neither: int = 0, **other: object) -> Comparison:
    made = comparison(**other)  # type: ignore[arg-type]
    tally = made.tally
    tally.both, tally.only_serving, tally.only_trial, tally.neither = both, serving, trial, neither
    return made


def found(made: Comparison, serving: Usage = USED, trial: Usage = USED, sick: str | None = None) -> Outcome:
    return judge(made, serving, trial, Limits(), sick)


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
    monkeypatch.setattr(trials, "WAITING", 5)
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


# ---- what follows


def test_nothing_follows_from_nothing() -> None:
    outcome = found(comparison())
    assert outcome.finding is Finding.GOES_ON
    assert outcome.why == (
        "level:2 has 0 alarms in 0 windows, where the one that serves has 0: not enough to tell yet"
    )


def test_fifty_times_as_many_alarms_stop_it() -> None:
    outcome = found(seen(trial=10, neither=10))
    assert outcome.finding is Finding.STOP
    assert "level:2 has 10 alarms in 20 windows, where the one that serves has 0" in outcome.why
    assert "1.00% of all are too many" in outcome.why


def test_how_many_more_alarms_it_may_have_is_said_when_it_begins() -> None:
    counts = {"trial": 30, "neither": 970}
    assert found(seen(**counts, more_alarms=0.01)).finding is Finding.STOP
    assert found(seen(**counts, more_alarms=0.03)).finding is Finding.GOES_ON
    assert found(seen(**counts, more_alarms=0.1)).finding is Finding.MAY_PASS


def test_one_that_says_the_same_may_pass() -> None:
    outcome = found(seen(both=10, neither=500))
    assert outcome.finding is Finding.MAY_PASS
    assert outcome.why.endswith("it is within its 1.00%")


WITHHELD = {
    "misses alarms": (seen(serving=4, both=3, neither=3000), USED, USED, "it misses 4 of the 7 alarms"),
    "differs": (
        seen(serving=300, both=1000, trial=300, neither=8400),
        USED,
        USED,
        "both differ on 600 windows",
    ),
    "hardly asked": (seen(neither=600), USED, Usage(19, 0, 19, 0.01), "not asked often enough"),
    "slow": (seen(neither=600), USED, Usage(100, 0, 100, 0.5), "it takes 5.0 times as long"),
}


@pytest.mark.parametrize("case", WITHHELD.values(), ids=WITHHELD)
def test_few_alarms_alone_are_not_enough(case: tuple[Comparison, Usage, Usage, str]) -> None:
    made, serving, trial, why = case
    outcome = found(made, serving, trial)
    assert outcome.finding is Finding.GOES_ON
    assert why in outcome.why


def test_where_windows_do_not_end_alike_one_that_is_silent_is_not_passed() -> None:
    other = model_of("level", 2, 2.0, window=5, hop=2)[0]
    assert found(seen(serving=10, neither=3000, trial=0)).finding is Finding.GOES_ON
    silent = seen(serving=10, neither=3000)
    silent.route = comparison(other).route
    assert "less than half of the alarms" in found(silent).why
    loud = seen(serving=10, trial=9, neither=3000)
    loud.route = comparison(other).route
    assert found(loud).finding is Finding.MAY_PASS


def test_one_that_fails_is_stopped_whatever_it_says() -> None:
    assert found(comparison(), USED, Usage(100, 3, 97, 0.1)).finding is Finding.STOP
    assert "failed 3 of 100 requests" in found(comparison(), USED, Usage(100, 3, 97, 0.1)).why
    assert found(comparison(), USED, Usage(100, 2, 98, 0.1)).finding is Finding.GOES_ON
    assert found(comparison(), Usage(100, 3, 97, 0.1), Usage(100, 3, 97, 0.1)).finding is Finding.GOES_ON
    assert found(comparison(), USED, Usage(1000, 3, 997, 0.1)).finding is Finding.GOES_ON


def test_one_that_does_not_answer_is_stopped() -> None:
    outcome = found(seen(neither=600), sick="its process died")
    assert (outcome.finding, outcome.why) == (Finding.STOP, "level:2 does not answer: its process died")
