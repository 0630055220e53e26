"""How answers look on a terminal. What comes from elsewhere is text and never instructions to it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinloop.cli.views import (
    Asset,
    Change,
    Diff,
    Figure,
    Finding,
    Models,
    OnTrial,
    Recall,
    Route,
    Station,
)
from twinloop.contracts.changes import UNIT, Action, Forecast, SetParameter

_SHORT_ID: Final = 8
_WIDTH_OF_FILES: Final = 160


def console() -> Console:
    """Standard output; as wide as the terminal, or as wide as tables need in a file or a pipe."""
    return Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES, highlight=False, markup=False
    )


def plain(text: object) -> str:
    """Without anything that a terminal would obey."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(text))


def sentence(text: str) -> None:
    """One line of standard output, however long."""
    console().print(Text(plain(text)), soft_wrap=True)


def short(change_id: str) -> str:
    """Enough of an id to name a change by."""
    return change_id[:_SHORT_ID]


def does(action: Action) -> str:
    """An action in words."""
    if isinstance(action, SetParameter):
        return f"{action.parameter} {action.expected:g} → {action.value:g} {UNIT[action.parameter]}"
    return f"hold: {action.reason}"


def changes_table(changes: Sequence[Change]) -> None:
    """The newest first, as they came."""
    if not changes:
        sentence("There are no such changes.")
        return
    _table(
        ("id", "asset", "change", "state", "diagnosis", "waits for"),
        (
            (
                short(one.change_id),
                one.asset,
                does(one.action),
                one.state,
                one.diagnosis,
                one.waits_for or "",
            )
            for one in changes
        ),
    )


def change_page(change: Change) -> None:
    """All of a change: what is proposed, and beside it what the twin expects with and without it."""
    sentence(f"Change {change.change_id} at {change.asset}: {change.state}")
    facts = [("proposed", does(change.action))]
    if change.rollback_of:
        facts.append(("takes back", change.rollback_of))
    facts.append(("because", f"{change.diagnosis}: {change.reason}"))
    if change.mode:
        facts.append(("mode", change.mode))
    if change.waits_for:
        facts.append(("waits for", change.waits_for))
    if change.waits_for and change.expires_at:
        facts.append(("decide before", _time(change.expires_at)))
    facts += [("agreed", f"{one.by}: {one.reason}") for one in change.endorsed]
    if change.decided_by:
        facts.append(("decided by", f"{change.decided_by}: {change.decision or ''}"))
    for name, value in facts:
        sentence(f"  {name:<14}{value}")
    if change.do_nothing is not None and change.do_this is not None:
        gain = change.do_this.expected_uohm - change.do_nothing.expected_uohm
        _table(
            ("forecast of resistance", "expected", "95 % interval"),
            (
                ("do nothing", *_forecast(change.do_nothing)),
                ("do this", *_forecast(change.do_this)),
                ("difference", f"{gain:+.2f} µΩ", ""),
            ),
        )
    else:
        sentence("  The twin has no forecast of it.")
    if change.states:
        _table(("state", "since"), ((one.state, _time(one.at)) for one in change.states))


def modes_table(assets: Sequence[Asset]) -> None:
    """What governs each asset."""
    rows = []
    for one in assets:
        if one.shadow is None:
            rows.append((one.asset, "?", "?", "", "another twin decides about it: ask that one"))
            continue
        mode = one.shadow.mode
        marks = [name for name, on in (("killed", mode.killed), ("in hand", mode.manual)) if on]
        requested = f"{mode.requested} (waits)" if mode.pending else mode.requested
        rows.append((one.asset, mode.actual, requested, ", ".join(marks), mode.why))
    _table(("asset", "in force", "requested", "stopped", "why"), rows)


def stations_table(stations: Sequence[Station], kill_switch: str | None) -> None:
    """What stands at the line."""
    if kill_switch:
        sentence(f"The kill switch of all stations is set: {kill_switch}")
    _table(
        ("asset", "mode", "control", "kill switch", "device"),
        (
            (
                one.asset,
                f"{one.mode}, in hand" if one.manual else one.mode,
                one.control_source or "?",
                one.kill_switch or "",
                _device(one.device),
            )
            for one in stations
        ),
    )


def findings_page(findings: Sequence[Finding]) -> None:
    """The newest first, as they came: a line of figures, and what a person is told."""
    if not findings:
        sentence("Vehicles have told nothing about any station that chance does not explain.")
    for one in findings:
        sentence(
            f"{one.station}, welded {one.window_from:%Y-%m-%d %H:%M} to {one.window_to:%Y-%m-%d %H:%M} UTC: "
            f"{one.vehicles} of {one.built} vehicles, q = {one.q:.2g}, "
            f"{one.more:.0f} more expected ({one.more_low} to {one.more_high})"
        )
        sentence(f"  {one.text}")
        if one.change_id:
            gate = f"a gate of {one.limit_uohm:g} µΩ" if one.limit_uohm is not None else "a tighter gate"
            sentence(f"  See `twinloop changes show {one.change_id}` for {gate}.")


def recall_table(recall: Recall) -> None:
    """Pseudonyms with their joints. Nobody but the edge can tell whose they are."""
    within = f"{recall.start.isoformat()} to {recall.end.isoformat()}"
    sentence(f"{len(recall.vehicles)} vehicles have joints that {recall.station} welded from {within}.")
    if recall.vehicles:
        _table(
            ("vehicle", "cell groups", "joints"),
            (
                (one.vehicle, ", ".join(map(str, one.cell_groups)), ", ".join(one.part_ids))
                for one in recall.vehicles
            ),
        )


def models_page(models: Models) -> None:
    """Who is served by what, and every version there is."""
    if models.routes:
        _table(
            ("scope", "serves", "on trial", "decides for", "it has shown", "before", "by", "because"),
            (
                (
                    one.scope,
                    one.serving,
                    "" if one.trial is None else one.trial.version,
                    "" if one.trial is None else _decides_for(one.trial),
                    "" if one.trial is None else _shown(one.trial),
                    one.previous or "",
                    one.by,
                    one.reason,
                )
                for one in models.routes
            ),
        )
        sentence("")
    if not models.versions:
        sentence("There is no version: `twinloop models stage` brings one.")
        return
    _table(
        ("version", "state", "where", "loaded", "what it is", "measured", "p99", "staged"),
        (
            (
                one.version,
                one.state,
                ", ".join(one.scopes),
                "yes" if one.served else "no",
                one.architecture or "",
                "; ".join(f"{each.what} {_figure(each)}" for each in one.measured[:2]),
                "" if one.served_p99_s is None else f"{one.served_p99_s * 1000:.1f} ms",
                "" if one.staged_at is None else f"{one.staged_at:%Y-%m-%d %H:%M} {one.staged_by or ''}",
            )
            for one in models.versions
        ),
    )


def route_in_words(route: Route) -> str:
    """Who serves, who is tried and who served before."""
    said = f"{route.serving} serves"
    if route.trial is not None:
        said += f", {route.trial.version} is on trial and decides for {_decides_for(route.trial)}"
    return said + (f", {route.previous} is ready to serve again" if route.previous else "")


def diff_page(diff: Diff) -> None:
    """Two versions: what they promise, how they were made, what was measured, and how both judge."""
    head = ("", diff.one, diff.other)
    for title, differences in (("contract", diff.contract), ("card", diff.card)):
        if differences:
            _table(
                (title, *head[1:]), ((one.name, _value(one.one), _value(one.other)) for one in differences)
            )
        else:
            sentence(f"Their {title}s say the same.")
        sentence("")
    if diff.measured:
        _table(
            ("measured", *head[1:]),
            ((one.what, _figure_or_none(one.one), _figure_or_none(one.other)) for one in diff.measured),
        )
        sentence("")
    if diff.without:
        sentence(f"Golden windows tell nothing of both: {diff.without}.")
        return
    _table(
        (
            "golden of",
            "windows",
            "both alarm",
            f"only {diff.one}",
            f"only {diff.other}",
            "scores apart",
        ),
        (
            (
                one.of,
                str(one.windows),
                str(one.both),
                str(one.only_one),
                str(one.only_other),
                f"{one.score_apart:.3g} thresholds",
            )
            for one in diff.golden
        ),
    )


def _decides_for(trial: OnTrial) -> str:
    decides = [f"{trial.share:.0%} of the assets"] if trial.share else []
    return ", ".join([*decides, *trial.assets]) or "nobody"


def _shown(trial: OnTrial) -> str:
    return ("auto; " if trial.auto else "") + (trial.why or "nothing yet")


def _figure(one: Figure) -> str:
    interval = "" if one.low is None or one.high is None else f" ({one.low:.3g} to {one.high:.3g})"
    return f"{one.value:.3g}{interval}"


def _figure_or_none(one: Figure | None) -> str:
    return "" if one is None else _figure(one)


def _value(one: object) -> str:
    return ", ".join(map(str, one)) if isinstance(one, list) else "" if one is None else str(one)


def _device(device: dict[str, object] | None) -> str:
    if device is None:
        return "does not answer"
    said = [str(device[one]) for one in ("mode", "local_reason") if device.get(one)]
    for name, unit in (("power_w", "W"), ("focus_mm", "mm"), ("limit_uohm", "µΩ")):
        value = device.get(name)
        if isinstance(value, (int, float)):
            said.append(f"{value:g} {unit}")
    said += [name.replace("_", " ") for name in ("maintenance_lock", "high_alarm") if device.get(name)]
    return ", ".join(said)


def _forecast(one: Forecast) -> tuple[str, str]:
    return f"{one.expected_uohm:.2f} µΩ", f"{one.low_uohm:.2f} to {one.high_uohm:.2f} µΩ"


def _time(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="milliseconds")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in head:
        table.add_column(
            name, no_wrap=name in ("id", "asset", "state", "scope", "version", "serves"), overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(plain(one)) for one in row))
    console().print(table)
