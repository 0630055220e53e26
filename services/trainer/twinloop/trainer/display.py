"""The scoreboard for people."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from twinloop.trainer.scoreboard import PUBLISHED, Score, everything, position, score, total
from twinloop.trainer.skab import TRAIN_ROWS, Recorded

_WIDTH = 110


def render(files: Sequence[Recorded], scores: Sequence[Score]) -> str:
    """`scores` of `files`, their total, and beside it what was published and what needs no model at all."""
    table = Table(title=f"Rows after the first {TRAIN_ROWS} of each file; no point adjustment; delay in rows")
    table.add_column("")
    for name in ("F1", "FAR %", "MAR %", "events", "delay", "false episodes/h"):
        table.add_column(name, justify="right")
    for one, scored in zip(files, scores, strict=True):
        table.add_row(one.name, *_cells(scored))
    table.add_section()
    table.add_row(f"all {len(files)} files", *_cells(total(scores)), style="bold")
    table.add_section()
    labels = [one.anomalous[TRAIN_ROWS:] for one in files]
    for name, control in (("every row anomalous", everything), ("rows 170 to 580 anomalous", position)):
        table.add_row(f"control: {name}", *_cells(total(score(one, control(one)) for one in labels)))
    table.add_section()
    for name, f1, *rates in PUBLISHED:
        shown = ("-" if rate is None else f"{100 * rate:.1f}" for rate in rates)
        table.add_row(f"published, 34 files: {name}", f"{f1:.2f}", *shown)
    out = io.StringIO()
    console = Console(file=out, width=_WIDTH, highlight=False)
    console.print(table)
    return out.getvalue().rstrip()


def _cells(one: Score) -> list[str]:
    delay = one.median_delay_rows
    return [
        f"{one.f1:.3f}",
        f"{100 * one.false_alarm_rate:.1f}",
        f"{100 * one.missed_alarm_rate:.1f}",
        f"{one.detected}/{one.events}",
        "-" if delay is None else f"{delay:g}",
        f"{one.episodes_an_hour:.1f}",
    ]
