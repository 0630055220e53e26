"""Rules and dashboards are rendered as they are, with the address of the runbooks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helm.chart import CHART, kinds, merged, render, values_of

RULES = """\
groups:
  - name: twinloop.test
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: ConsumerStalled
        expr: time() - x{a="{{ b }}"} > 5
        labels: {severity: page}
        annotations:
          summary: "{{ $labels.job }} stands still"
      - alert: TargetDown
        expr: up == 0
        annotations:
          runbook_url: docs/runbooks/a-target-is-down.md
"""
WATCHED: dict[str, Any] = {
    "metrics": {
        "rules": {
            "enabled": True,
            "runbookBaseUrl": "https://runbooks.example/t/",
            "labels": {"release": "p"},
        },
        "dashboards": {"enabled": True},
    }
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A copy with one file of each."""
    copy = tmp_path / "twinloop"
    shutil.copytree(CHART, copy)
    for folder in ("rules", "dashboards"):
        shutil.rmtree(copy / "files" / folder)
        (copy / "files" / folder).mkdir()
    (copy / "files" / "rules" / "loop.yaml").write_text(RULES)
    (copy / "files" / "dashboards" / "loop.json").write_text(json.dumps({"title": "{{ loop }}"}))
    return copy


def test_rules_are_rendered_with_their_runbooks(chart: Path) -> None:
    (objects,) = render({"values": merged(values_of("minimal"), WATCHED), "chart": str(chart)})
    (rule,) = kinds(objects, "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "p"
    record, stalled, down = rule["spec"]["groups"][0]["rules"]
    assert record == {"record": "job:up:sum", "expr": "sum by (job) (up)"}
    assert stalled["expr"] == 'time() - x{a="{{ b }}"} > 5'
    assert stalled["annotations"] == {
        "summary": "{{ $labels.job }} stands still",
        "runbook_url": "https://runbooks.example/t/consumer-stalled.md",
    }
    assert down["annotations"]["runbook_url"] == "https://runbooks.example/t/a-target-is-down.md"


def test_dashboards_are_rendered_as_they_are(chart: Path) -> None:
    (objects,) = render({"values": merged(values_of("minimal"), WATCHED), "chart": str(chart)})
    (dashboard,) = [one for one in kinds(objects, "ConfigMap") if "dashboard" in one["metadata"]["name"]]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["loop.json"]) == {"title": "{{ loop }}"}


def test_empty_folders_are_no_mistake(chart: Path) -> None:
    for folder in ("rules", "dashboards"):
        shutil.rmtree(chart / "files" / folder)
    (objects,) = render({"values": merged(values_of("minimal"), WATCHED), "chart": str(chart)})
    assert not kinds(objects, "PrometheusRule")
