"""Two versions side by side."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from msgspec.structs import replace
from support.artefacts import answer_of, artefact_of, model_of, windows_of

from twinloop.contracts.models import Measured
from twinloop.modelops.diff import cards_differ, compared, contracts_differ, figures, same_windows

ONE, OTHER = artefact_of("level", 1.0), artefact_of("level", 2.0)


def test_contracts_are_told_apart_by_what_they_promise() -> None:
    same = replace(ONE.contract, version=7, model="another")
    assert contracts_differ(ONE.contract, same) == []
    found = contracts_differ(ONE.contract, replace(same, threshold=2.0, window=9))
    assert [(one.name, one.one, one.other) for one in found] == [("window", 4, 9), ("threshold", 1.0, 2.0)]


def test_cards_are_told_apart_by_how_they_were_made() -> None:
    card = OTHER.card
    later = replace(
        card,
        at=card.at + timedelta(days=1),
        settings={"factor": 2.0},
        trained=replace(card.trained, windows=500),
    )
    found = {one.name: (one.one, one.other) for one in cards_differ(ONE.card, later)}
    assert found["trained.windows"] == (400, 500)
    assert found["settings.factor"] == (1.0, 2.0)
    assert set(found) == {"at", "trained.windows", "settings.factor"}
    assert cards_differ(ONE.card, ONE.card) == []
    assert {one.other for one in cards_differ(ONE.card, None)} == {None}


def test_figures_stand_beside_each_other_by_what_they_are_of() -> None:
    better = replace(
        OTHER.card, measured=(Measured(what="F1 on a test", value=0.95), Measured(what="delay", value=2.0))
    )
    found = figures(ONE.card, better)
    assert [one.what for one in found] == ["F1 on a test", "delay"]
    assert found[0].one is not None
    assert found[0].other is not None
    assert (found[0].one.value, found[0].other.value, found[1].one) == (0.9, 0.95, None)
    assert figures(None, None) == []


def test_verdicts_on_the_same_windows_are_counted_by_who_raises_an_alarm() -> None:
    one, other = model_of("level", 1, 1.0)[0], replace(model_of("level", 2, 3.0)[0], threshold=6.0)
    windows = windows_of(500)
    ours, theirs = answer_of(1.0, windows), answer_of(3.0, windows)
    found = compared("level:1", (one, other), (ours, theirs))
    first, second = ours.score > 1.0, theirs.score > 6.0
    assert (found.windows, found.both) == (500, int((first & second).sum()))
    assert (found.only_one, found.only_other) == (int((first & ~second).sum()), int((~first & second).sum()))
    assert found.only_one > 0
    assert np.isclose(found.score_apart, np.abs(ours.score - theirs.score / 6.0).max(), rtol=1e-4)
    same = compared("level:1", (one, one), (ours, ours))
    assert (same.only_one, same.only_other, same.score_apart) == (0, 0, 0.0)


def test_windows_are_the_same_where_they_are_cut_from_the_same_signals() -> None:
    one = ONE.contract
    assert same_windows(one, replace(one, hop=3, threshold=9.0))
    assert not same_windows(one, replace(one, window=5))
    assert not same_windows(one, replace(one, signals=("noise", "level")))
