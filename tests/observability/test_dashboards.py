"""The dashboards are what the code makes; they, and the rules, ask only for what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from grafana.files import FOLDER, texts

from observability.declared import unknown, used
from observability.rules import expressions, promtool

NAMES = {"overview", "detector", "loop", "models", "vehicles"}


def _boards() -> dict[str, dict[str, Any]]:
    return {one.stem: json.loads(one.read_text()) for one in FOLDER.glob("*.json")}


def _queries() -> list[str]:
    found = [
        target["expr"]
        for board in _boards().values()
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
    return found + [one["expr"] for board in _boards().values() for one in board["annotations"]["list"]]


def test_the_files_are_what_the_code_makes() -> None:
    there = {one.name: one.read_text() for one in FOLDER.glob("*.json")}
    assert there == texts(), "run `make dashboards`"
    assert set(_boards()) == NAMES


def test_every_query_is_promql(tmp_path: Path) -> None:
    for variable in ("$__rate_interval", "$namespace"):
        assert any(variable in one for one in _queries())
    plain = [one.replace("$__rate_interval", "5m").replace("$namespace", ".*") for one in _queries()]
    assert not any("$" in one for one in plain)
    rules = [{"record": f"query:{n}", "expr": one} for n, one in enumerate(plain)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_and_dashboards_ask_only_for_metrics_that_somebody_declares() -> None:
    assert unknown(_queries()) == set()
    assert unknown(expression for _, expression in expressions()) == set()


def test_a_metric_that_nobody_declares_is_noticed() -> None:
    asked = ["sum(rate(twinloop_line_wishes_total[5m])) / nv_wishes", '{__name__=~"twinloop_[a-z]+_wishes"}']
    assert unknown(asked) == {"twinloop_line_wishes_total", "nv_wishes", "twinloop_[a-z]+_wishes"}
    assert used('sum by (job) (up{job="twinloop_x"})') == {"up"}


def test_every_panel_says_what_it_shows_and_no_two_overlap() -> None:
    uids = set()
    for board in _boards().values():
        uids.add(board["uid"])
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            assert panel["title"]
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert place["x"] + place["w"] <= 24
            taken |= cells
    assert len(uids) == len(NAMES)
