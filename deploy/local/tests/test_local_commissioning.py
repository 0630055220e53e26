"""The commissioning trial of the local stack can be welded by its plant."""

from __future__ import annotations

import tomllib

from twinloop.local.places import find_places


def test_every_trial_is_within_what_the_plcs_let_a_person_set() -> None:
    config = find_places().config
    trials = tomllib.loads((config / "commissioning.toml").read_text())["trials"]
    stations = tomllib.loads((config / "simulator.toml").read_text())["stations"]
    assert trials
    for station in stations.values():
        for one in trials:
            for name in ("power_w", "focus_mm"):
                assert station[name]["low"] <= one[name] <= station[name]["high"], one
