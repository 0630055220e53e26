"""How answers look on a terminal. What comes from elsewhere is text and never instructions to it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinloop.cli.views import Asset, Change, Finding, Recall, Station
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
        table.add_column(name, no_wrap=name in ("id", "asset", "state"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(one)) for one in row))
    console().print(table)
