"""Each alert fires on what it is for, is silent on what it is not for, and is over when that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from observability.alert_cases import CASES, Case, Series
from observability.rules import FILES, alerts, expressions, judged, kebab, promtool

OUTSIDE = {"TwinloopExactlyOnceUnmeasured", "TwinloopLagAbsent"}
"""They fire where nothing is measured, so on the series of all other cases, too."""


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
    assert judged(tmp_path, [bad, good], case.interval) == ""


def test_a_rule_that_never_fires_is_noticed(tmp_path: Path) -> None:
    case = CASES[-1]
    never = _group(case, case.good, {case.fires: True})
    assert "FAILED" in judged(tmp_path, [never])


def test_the_files_are_rules() -> None:
    done = promtool("check", "rules", *map(str, sorted(FILES.glob("*.yaml"))))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_of_an_alert_has_a_case() -> None:
    def covered(name: str, labels: dict[str, str]) -> bool:
        return any(
            one.alert == name and all(labels.get(key) == value for key, value in one.labels.items())
            for one in CASES
        )

    assert all(covered(one.name, one.labels) for one in alerts())
    assert {one.alert for one in CASES} == {one.name for one in alerts()}


def test_alerts_say_who_is_called_and_what_to_read() -> None:
    for one in alerts():
        assert one.labels["severity"] in ("page", "ticket")
        assert set(one.annotations) == {"summary", "description", "runbook_url"}
        assert one.annotations["runbook_url"] == f"docs/runbooks/{kebab(one.name)}.md"
        assert not one.annotations["summary"].endswith(".")


def test_the_chart_can_put_a_namespace_into_every_selector() -> None:
    """Of metrics: what rules record has a namespace already."""
    for name, expression in expressions():
        metrics = expression.count("twinloop_") + expression.count("nv_inference_")
        metrics += expression.count("kube_") + expression.count("up{")
        assert expression.count('namespace=~".*"') == metrics, name
