"""Each alert, as the chart renders it, fires on what it is for, is silent on the rest, and ends in time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from observability.alert_cases import CASES, Case, Series
from observability.rules import (
    NAMESPACE,
    alerts,
    expressions,
    judged,
    kebab,
    plain_rules,
    promtool,
    rendered_rules,
)


def _group(case: Case, series: Series, promised: dict[str, bool]) -> dict[str, Any]:
    wanted = "".join(f', {name}="{value}"' for name, value in case.labels.items())
    query = f'count(ALERTS{{alertname="{case.alert}", alertstate="firing"{wanted}}})'
    return {
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
            for at, fires in promised.items()
        ],
    }


def _name(case: Case) -> str:
    return case.alert + "".join(f"-{one}" for one in case.labels.values())


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_it_fires_when_it_must_and_is_over_in_time(case: Case, tmp_path: Path) -> None:
    bad = _group(case, case.bad, {case.early: False, case.fires: True, case.over: False})
    good = _group(case, case.good, dict.fromkeys((case.early, case.fires, case.over), False))
    assert judged(tmp_path, case.alert, [bad, good], case.interval) == ""


def test_a_rule_that_never_fires_is_noticed(tmp_path: Path) -> None:
    case = CASES[-1]
    never = _group(case, case.good, {case.fires: True})
    assert "FAILED" in judged(tmp_path, case.alert, [never])


def test_the_files_are_rules_and_so_is_what_the_chart_makes_of_them(tmp_path: Path) -> None:
    assert set(rendered_rules()) == set(plain_rules())
    for where, files in (("plain", plain_rules()), ("rendered", rendered_rules())):
        for name, text in files.items():
            file = tmp_path / f"{where}-{name}"
            file.write_text(text)
            done = promtool("check", "rules", str(file))
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("alert", "elsewhere"),
    [
        ("TwinloopCircuitOpen", 'twinloop_detector_circuit_open{namespace="other", model="weld:1"}'),
        # What the rules of the other release have recorded.
        ("TwinloopLagSeconds", 'twinloop:lag:seconds{namespace="other", job="detector", topic="t"}'),
    ],
)
def test_nothing_of_another_namespace_is_alerted_of(alert: str, elsewhere: str, tmp_path: Path) -> None:
    """Two releases under one Prometheus."""
    (case,) = (one for one in CASES if one.alert == alert)
    for series, fires in ((elsewhere, False), (elsewhere.replace('"other"', f'"{NAMESPACE}"'), True)):
        assert judged(tmp_path, alert, [_group(case, {series: "1000x60"}, {case.fires: fires})]) == ""


def test_every_rule_of_an_alert_has_a_case() -> None:
    def covered(name: str, labels: dict[str, str]) -> bool:
        """What a rule is labelled with, but for its severity, tells it from others of the same alert."""
        own = {key: value for key, value in labels.items() if key != "severity"}
        return any(one.alert == name and own.items() <= one.labels.items() for one in CASES)

    assert all(covered(one.name, one.labels) for one in alerts())
    assert {one.alert for one in CASES} == {one.name for one in alerts()}


def test_alerts_say_who_is_called_and_what_to_read() -> None:
    for one in alerts():
        assert one.labels["severity"] in ("page", "ticket")
        assert set(one.annotations) == {"summary", "description", "runbook_url"}
        assert one.annotations["runbook_url"] == f"docs/runbooks/{kebab(one.name)}.md"
        assert not one.annotations["summary"].endswith(".")


def test_the_chart_puts_its_namespace_into_every_selector() -> None:
    """Of what rules record, too: else each of several releases would alert of all."""
    rendered = list(expressions(rendered_rules()))
    plain = list(expressions(plain_rules()))
    assert [name for name, _ in rendered] == [name for name, _ in plain]
    for (name, expression), (_, made) in zip(plain, rendered, strict=True):
        metrics = len(re.findall(r"twinloop[_:]", expression)) + expression.count("nv_inference_")
        metrics += expression.count("kube_") + expression.count("up{")
        assert expression.count('namespace=~".*"') == metrics, name
        assert made.count(f'namespace="{NAMESPACE}"') == metrics, name
