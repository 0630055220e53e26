"""What follows from the pairs of a trial: an end, or none."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.artefacts import model_of
from support.modelops import NOW

from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.modelops.pairs import Comparison
from twinloop.modelops.trial import Finding, Limits, Outcome, judge
from twinloop.tritonio.server import Usage

ONE, TWO = model_of("level", 1, 1.0, hop=4)[0], model_of("level", 2, 2.0, hop=4)[0]
USED = Usage(requests=100, failures=0, windows=100, busy_s=0.1)


def comparison(trial: ModelContract = TWO, block: int = 1, **other: object) -> Comparison:
    tried = replace(Trial(contract=trial, begun=NOW), **other)  # type: ignore[arg-type]
    route = ModelRoute(event_id="r", scope="level.v1", at=NOW, contract=ONE, trial=tried)
    return Comparison(route, block)


def seen(both: int = 0, serving: int = 0, trial: int = 0, neither: int = 0, **other: object) -> Comparison:
    """So many pairs, each of an asset of its own: none tells anything of another one."""
    made = comparison(**other)  # type: ignore[arg-type]
    for kind, often in (((1, 1), both), ((1, 0), serving), ((0, 1), trial), ((0, 0), neither)):
        for _ in range(often):
            made.add(f"asset{made.tally.pairs}", serving=bool(kind[0]), trial=bool(kind[1]))
    return made


def found(made: Comparison, serving: Usage = USED, trial: Usage = USED, sick: str | None = None) -> Outcome:
    return judge(made, serving, trial, Limits(), sick)


def test_nothing_follows_from_nothing() -> None:
    outcome = found(comparison())
    assert outcome.finding is Finding.GOES_ON
    assert outcome.why == (
        "level:2 has 0 alarms in 0 windows, where the one that serves has 0: not enough to tell yet, in"
        " blocks of 1"
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


def test_one_that_has_no_answer_to_windows_is_stopped() -> None:
    made = seen(neither=600)
    made.tally.unanswered = 6
    assert found(made).finding is Finding.MAY_PASS
    made.tally.unanswered = 7
    outcome = found(made)
    assert outcome.finding is Finding.STOP
    assert outcome.why == ("level:2 has no answer to 7 of 607 windows that the one that serves has judged")


def test_one_that_is_quiet_somewhere_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    made = seen(neither=600)
    monkeypatch.setattr(Comparison, "cold", 2)
    monkeypatch.setattr(Comparison, "warm", 3)
    outcome = found(made)
    assert outcome.finding is Finding.GOES_ON
    assert outcome.why.endswith("; it is still quiet at 2 of 5 assets")


def test_how_long_it_was_quiet_is_told() -> None:
    made = comparison()
    made.tally.quiet = 391
    assert "0 alarms in 0 windows (and was quiet at first on 391 more), where" in found(made).why
