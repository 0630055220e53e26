"""What was said of recorded rows, from the events of two topics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from twinloop.contracts.events import Anomaly, Verdict
from twinloop.trainer.errors import NotScored
from twinloop.trainer.verdicts import fold

AT = datetime(2030, 1, 1, tzinfo=UTC)


def said(sequence: int, anomalous: bool, *, decides: bool = True, **other: Any) -> list[Verdict | Anomaly]:
    """A verdict, and the anomaly that comes with it where it decides."""
    common: dict[str, Any] = {
        "event_id": f"e{sequence}",
        "asset": "skab.a",
        "at": AT,
        "observed_at": AT,
        "trace_id": "",
        "signal_set": "skab.v1",
        "part_id": "",
        "sequence": sequence,
        "row": 0,
        "score": 1.0,
        "threshold": 0.5,
        "model": "m",
        "model_version": 1,
        "input_digest": "",
        **other,
    }
    found: list[Verdict | Anomaly] = [Verdict(**common, anomalous=anomalous, decides=decides)]
    if anomalous and decides:
        found.append(Anomaly(**common, features={}, deviations={}))
    return found


def test_rows_have_the_verdicts_of_who_decided() -> None:
    events = [*said(9, False), *said(10, True), *said(10, True, asset="skab.other")]
    found = fold(events, ["skab.a", "skab.b"])
    assert (found["skab.a"].rows, found["skab.a"].anomalous) == ({9, 10}, {10})
    assert found["skab.b"].rows == set()


@pytest.mark.parametrize("first", [True, False])
def test_a_version_that_only_shadows_says_nothing_of_a_row(first: bool) -> None:
    """Whatever it thinks, and whenever it says so: it raises no anomaly."""
    shadows = [
        one
        for row, anomalous in ((9, True), (10, False), (11, True))
        for one in said(row, anomalous, decides=False, model_version=2)
    ]
    decides = [*said(9, False), *said(10, True)]
    found = fold([*shadows, *decides] if first else [*decides, *shadows], ["skab.a"])["skab.a"]
    assert (found.rows, found.anomalous) == ({9, 10}, {10})


def test_of_several_versions_that_decided_the_newest_counts() -> None:
    swapped = [*said(9, True), *said(9, False, model_version=2)]
    other = [*said(10, False), *said(10, True, model="other")]
    assert fold([*swapped, *other], ["skab.a"])["skab.a"].anomalous == {10}


def test_topics_that_contradict_each_other_are_no_score() -> None:
    with pytest.raises(NotScored, match=r"skab\.a, row 9: scores and anomalies contradict"):
        fold(said(9, True)[:1], ["skab.a"])
    with pytest.raises(NotScored, match="several rows a frame"):
        fold(said(9, True, row=1), ["skab.a"])
