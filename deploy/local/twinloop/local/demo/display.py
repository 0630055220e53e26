"""What the demo shows while it plays, and the report at its end. Rendering only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from twinloop.contracts.changes import State
from twinloop.local.demo.field_verdict import FieldReport
from twinloop.local.demo.report import ChangeReport, Latency, Report, StationReport
from twinloop.local.demo.scenarios import CLOSED, OPEN, Scenario

_ROLES = {CLOSED: "loop closed", OPEN: "loop open"}


def _role(station: str, scenario: Scenario) -> str:
    return f"{station} ({_ROLES[station]})" if len(scenario.stations) > 1 else station


def _milliseconds(latency: Latency | None) -> str:
    if latency is None:
        return "none"
    return f"p50 {latency.p50_s * 1000:.0f} ms, p99 {latency.p99_s * 1000:.0f} ms ({latency.count})"


def _setpoints(made: StationReport) -> str:
    power = f"{made.power_low_w:.0f}–{made.power_high_w:.0f} W"
    return f"{power}, {made.focus_low_mm:+.2f}–{made.focus_high_mm:+.2f} mm"


def _last_change(changes: Iterable[ChangeReport]) -> str:
    last = next(reversed(list(changes)), None)
    return "no change yet" if last is None else f"{last.what}: {last.state}"


def live(scenario: Scenario, report: Report) -> RenderableType:
    """The state of a running scenario: parts, bad welds, setpoints, the newest change."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("station", "parts", "", "bad", "setpoints"):
        table.add_column(heading, justify="right" if heading in {"parts", "bad"} else "left")
    for station, made in report.stations.items():
        table.add_row(
            _role(station, scenario),
            f"{made.parts}/{scenario.welds}",
            ProgressBar(total=scenario.welds, completed=made.parts, width=24),
            Text(str(made.bad), style="red" if made.bad else "green"),
            _setpoints(made),
        )
    done = sum(change.state is State.VERIFIED for change in report.changes)
    line = f"changes: {len(report.changes)}, verified: {done}   {_last_change(report.changes)}"
    return Group(table, Text(line))


def live_line(scenario: Scenario, report: Report) -> str:
    """The same in one line, for a log."""
    parts = "   ".join(
        f"{_role(station, scenario)}: {made.parts}/{scenario.welds} parts, {made.bad} bad"
        for station, made in report.stations.items()
    )
    return f"{parts}   {_last_change(report.changes)}"


_STATES = (State.PROPOSED, State.SIMULATED, State.APPROVED, State.ISSUED, State.APPLIED)


def _change_table(changes: Iterable[ChangeReport]) -> Table:
    """A row a change, a column a state; the last column holds whichever state ended it."""
    table = Table(
        title="changes: seconds from the weld that led to them to each state",
        title_justify="left",
        title_style="",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for heading in ("change", "at", "what", "diagnosis"):
        table.add_column(heading, no_wrap=True)
    for state in _STATES:
        table.add_column(str(state), justify="right", no_wrap=True)
    table.add_column("end")
    for change in changes:
        after = {step.state: f"{step.after_s:.2f}" for step in change.steps}
        ended = next((step for step in reversed(change.steps) if step.state.final), None)
        table.add_row(
            change.change_id[:8],
            change.asset.rsplit(".", 1)[-1],
            change.what,
            str(change.diagnosis or ""),
            *(after.get(state, "") for state in _STATES),
            "" if ended is None else f"{ended.state} {ended.after_s:.2f}  {change.reason}".rstrip(),
        )
    return table


def final(scenario: Scenario, report: Report) -> RenderableType:
    """The report: what was made, what was changed, how fast, what was refused."""
    parts: list[RenderableType] = []
    if report.changes:
        parts += [_change_table(report.changes), Text("")]
    made = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("station", "parts", "scored", "bad welds", "setpoints"):
        made.add_column(heading)
    for station, one in report.stations.items():
        made.add_row(_role(station, scenario), str(one.parts), str(one.scored), str(one.bad), _setpoints(one))
    parts += [made, Text("")]
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    if OPEN in report.stations and CLOSED in report.stations:
        opened, closed = report.stations[OPEN].bad, report.stations[CLOSED].bad
        avoided = f"{opened - closed} of {opened} bad welds"
        facts.add_row("scrap avoided", avoided + (f" ({1 - closed / opened:.0%})" if opened else ""))
    facts.add_row("weld → anomaly", _milliseconds(report.to_anomaly))
    facts.add_row("weld → applied", _milliseconds(report.to_applied))
    facts.add_row("alarms", ", ".join(f"{code} {count}" for code, count in report.alarms.items()) or "none")
    letters = ", ".join(f"{reason} {count}" for reason, count in report.dead_letters.items())
    facts.add_row("dead letters", letters or "none")
    parts.append(facts)
    return Group(*parts)


def verdict(report: Report) -> str:
    """The last line."""
    if report.closed:
        return "VERDICT: loop closed"
    return f"VERDICT: loop NOT closed: {'; '.join(report.problems)}"


def field(report: FieldReport) -> RenderableType:
    """What the vehicles told, and what came of it."""
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for spell in report.spells:
        facts.add_row("dirty in truth", _built(spell.station, spell.welded_from, spell.welded_to))
    for one in report.findings:
        facts.add_row("named", _built(one.asset, one.window_from, one.window_to))
        facts.add_row(
            "evidence",
            f"{one.vehicles} of {one.built} vehicles, {one.expected:.1f} expected by chance; q {one.q:.2g}",
        )
        facts.add_row("still to come", f"{one.more:.0f} vehicles (95 %: {one.more_low} to {one.more_high})")
    facts.add_row("recall", f"{report.recalled} vehicles, by pseudonym")
    facts.add_row("proposed", report.change)
    facts.add_row("states", " → ".join(report.states) or "none")
    facts.add_row("released by", report.approver or "nobody")
    stopped = f"{report.rejected_before} joints before, {report.rejected_after} of the next vehicles"
    facts.add_row("stopped at the gate", stopped)
    return facts


def _built(station: str, start: datetime, end: datetime) -> str:
    return f"{station.rsplit('.', 1)[-1]}, {start:%d %b %H:%M} to {end:%d %b %H:%M}"


def field_verdict(report: FieldReport) -> str:
    """The last line."""
    if report.closed:
        return "VERDICT: loop closed"
    return f"VERDICT: loop NOT closed: {'; '.join(report.problems)}"
