"""Asking the stack's Prometheus: which alerts there are, and any query."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from twinloop.local.errors import CannotStart
from twinloop.local.plan import Endpoints

Row = tuple[str, ...]

_ANSWER_S = 10.0
_NONE = (
    "This stack has no Prometheus: stop it with `make down` and start it with `make up PROMETHEUS=1`, or ask"
    " one of your own."
)


def alerts(endpoints: Endpoints) -> list[Row]:
    """Name, state, severity and description of each alert that is pending or fires."""
    found = _get(endpoints, "alerts", {})["alerts"]
    return [
        (
            one["labels"]["alertname"],
            one["state"],
            one["labels"].get("severity", ""),
            one["annotations"].get("description", ""),
        )
        for one in found
    ]


def query(endpoints: Endpoints, expression: str) -> list[Row]:
    """Labels and value of each series that `expression` gives now. Raises `CannotStart` when it is none."""
    found = _get(endpoints, "query", {"query": expression})
    if found["resultType"] == "scalar":
        return [("", str(found["result"][1]))]
    return [(_labels(one["metric"]), one["value"][1]) for one in found["result"]]


def _labels(of: dict[str, str]) -> str:
    name = of.get("__name__", "")
    inside = ", ".join(f"{key}={value}" for key, value in sorted(of.items()) if key != "__name__")
    return f"{name}{{{inside}}}" if inside else name


def _get(endpoints: Endpoints, what: str, given: dict[str, str]) -> dict[str, Any]:
    if not endpoints.prometheus:
        raise CannotStart(_NONE)
    where = f"http://{endpoints.prometheus}/api/v1/{what}?{urllib.parse.urlencode(given)}"
    try:
        with urllib.request.urlopen(where, timeout=_ANSWER_S) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
            return data
    except urllib.error.HTTPError as error:
        raise CannotStart(f"Prometheus refuses it: {json.load(error).get('error', error)}") from error
    except (OSError, ValueError) as error:
        raise CannotStart(f"Prometheus does not answer at {endpoints.prometheus}: {error}") from error
