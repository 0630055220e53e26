"""What a detector is told to read and to judge."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from twinloop.detector.settings import DetectorSettings


def settings(**told: str) -> DetectorSettings:
    return DetectorSettings.model_validate({"kafka": "h:1", "TWINLOOP_TRITON": "h:2", **told})


def test_it_reads_all_telemetry_unless_told_otherwise() -> None:
    assert [one.name for one in settings().sources] == ["telemetry.factory", "telemetry.vehicle"]
    told = settings(topics=" telemetry.vehicle,telemetry.vehicle ", without="a, b,")
    assert [one.name for one in told.sources] == ["telemetry.vehicle"]
    assert told.share.without == {"a", "b"}


@pytest.mark.parametrize("topics", ["", " , ", "scores", "telemetry.factory,telemetry.factories"])
def test_topics_that_hold_no_telemetry_are_refused(topics: str) -> None:
    with pytest.raises(ValidationError, match="must name one or more of telemetry"):
        settings(topics=topics)
