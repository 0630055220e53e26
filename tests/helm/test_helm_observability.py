"""Rules and dashboards are rendered as they are, with the address of the runbooks."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm.chart import CHART, kinds, merged, render, values_of

RULES = """\
groups:
  - name: twinloop.test
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
      - alert: ConsumerStalled
        expr: time() - x{namespace=~".*", a="{{ b }}"} > 5
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
    assert stalled["expr"] == 'time() - x{namespace="twinloop", a="{{ b }}"} > 5'
    assert stalled["annotations"] == {
        "summary": "{{ $labels.job }} stands still",
        "runbook_url": "https://runbooks.example/t/docs/runbooks/consumer-stalled.md",
    }
    assert (
        down["annotations"]["runbook_url"] == "https://runbooks.example/t/docs/runbooks/a-target-is-down.md"
    )


def test_our_rules_are_rendered_as_they_are_but_for_namespace_and_address() -> None:
    (objects,) = render({"values": merged(values_of("minimal"), WATCHED)})
    rendered = {one["metadata"]["name"]: one["spec"]["groups"] for one in kinds(objects, "PrometheusRule")}
    files = sorted((CHART / "files" / "rules").glob("*.yaml"))
    assert files
    assert rendered.keys() == {f"demo-twinloop-rules-{one.stem}" for one in files}
    for one in files:
        expected = yaml.safe_load(one.read_text().replace('namespace=~".*"', 'namespace="twinloop"'))[
            "groups"
        ]
        for group in expected:
            for rule in group["rules"]:
                if "alert" in rule:
                    page = rule["annotations"]["runbook_url"]
                    rule["annotations"]["runbook_url"] = f"https://runbooks.example/t/{page}"
        assert rendered[f"demo-twinloop-rules-{one.stem}"] == expected, one.name


def _alerts(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Name and job of each rule that alerts."""
    return {
        (rule["alert"], rule["labels"].get("job", ""))
        for one in kinds(objects, "PrometheusRule")
        for group in one["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


@pytest.mark.parametrize(
    ("over", "gone"),
    [
        ({"line": {"enabled": False}}, {("TwinloopLagAbsent", "line")}),
        ({"ingest": {"enabled": False}}, {("TwinloopTargetDown", "ingest")}),
        ({"triton": {"address": "triton.gpus:8001"}}, {("TwinloopTargetDown", "triton")}),
        ({"detectorVehicles": {"enabled": False}}, set()),  # the other detector is the same program
        (
            {"historian": {"enabled": False}},
            {("TwinloopLagAbsent", "historian"), ("TwinloopExactlyOnceUnmeasured", "historian")},
        ),
    ],
)
def test_what_does_not_run_is_not_missed(over: dict[str, Any], gone: set[tuple[str, str]]) -> None:
    """Else a ticket would stay open for as long as the release lives."""
    values = merged(values_of("minimal"), WATCHED)
    every, fewer = render({"values": values}, {"values": merged(values, over)})
    assert _alerts(every) - _alerts(fewer) == gone
    assert _alerts(fewer) < _alerts(every) or not gone


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


def test_metrics_that_values_and_profiles_name_are_there() -> None:
    """Of ours. `twinloop_triton_queue_milliseconds` is what an adapter makes of Triton's."""
    declared = set(re.findall(r"`(twinloop_[a-z_]+)`", (CHART.parents[1] / "docs/metrics.md").read_text()))
    texts = [(CHART / "values.yaml").read_text(), *(one.read_text() for one in (CHART / "ci").iterdir())]
    named = {one for text in texts for one in re.findall(r"twinloop_(?:detector|consumer)_[a-z_]+", text)}
    assert named
    assert named <= declared
