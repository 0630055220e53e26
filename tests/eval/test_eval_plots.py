"""The same figures make the same picture, and it is one."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from eval.plots import Panel, plot


def panel() -> Panel:
    score = np.concatenate([np.full(10, np.nan), np.linspace(0, 30, 90)])
    return Panel("a & b", score, 4.0, score > 4, np.arange(100) > 50, top=20.0)


def test_it_shows_score_threshold_alarm_and_truth_and_nothing_else_decides_it() -> None:
    made = plot((panel(), panel()), "row")
    assert made == plot((panel(), panel()), "row")
    drawing = ElementTree.fromstring(made)
    texts = [one.text for one in drawing.iter() if one.tag.endswith("text")]
    assert texts.count("alarm") == texts.count("truth") == 2
    assert "a & b" in texts
    (line, *_) = [one for one in drawing.iter() if one.get("stroke-width") == "1.2"]
    assert str(line.get("d")).startswith("M")
    assert "nan" not in made
