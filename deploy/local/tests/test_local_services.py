"""The processes of the local stack, as its table has them."""

from __future__ import annotations

import pytest

from twinloop.contracts.topics import TELEMETRY_FACTORY, TELEMETRY_VEHICLE
from twinloop.detector.settings import DetectorSettings
from twinloop.local.services import SERVICES


def test_the_line_and_vehicles_have_a_detector_each_and_nothing_is_read_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, groups = [], []
    for service in SERVICES:
        if "twinloop.detector" in (service.module, f"twinloop.{service.name}"):
            with monkeypatch.context() as environment:
                for name, value in {
                    "TWINLOOP_KAFKA": "h:1",
                    "TWINLOOP_TRITON": "h:2",
                    **service.settings,
                }.items():
                    environment.setenv(name, value)
                told = DetectorSettings()  # type: ignore[call-arg]
            read += told.sources
            groups.append(told.group)
    assert read == [TELEMETRY_FACTORY, TELEMETRY_VEHICLE]
    assert len(set(groups)) == len(groups) == 2
