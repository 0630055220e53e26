"""What is played and judged has a folder of its own: it empties it, and `make up` keeps another."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinloop.local.errors import CannotStart
from twinloop.local.places import Places
from twinloop.local.state import StateFolder, default_state, naming, state_of_play


def test_a_demo_plays_elsewhere_than_what_is_kept(tmp_path: Path) -> None:
    places = Places(repository=tmp_path, cache=tmp_path / "cache")
    assert default_state(places, {}).root == tmp_path / ".twinloop"
    assert state_of_play(places, {}, "demo").root == tmp_path / ".twinloop-demo"
    told = {"TWINLOOP_STATE": str(tmp_path / "mine")}
    assert default_state(places, told).root == state_of_play(places, told, "demo").root == tmp_path / "mine"


def test_a_command_for_another_folder_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert naming(tmp_path / ".twinloop") == ""
    assert naming(tmp_path / ".twinloop-demo") == "TWINLOOP_STATE=.twinloop-demo "
    assert naming(Path("/elsewhere/mine")) == "TWINLOOP_STATE=/elsewhere/mine "
    folder = StateFolder(tmp_path / ".twinloop-demo")
    with (
        folder.held(),
        pytest.raises(CannotStart, match=r"with `TWINLOOP_STATE=\.twinloop-demo make down`"),
        folder.held(),
    ):
        pass
