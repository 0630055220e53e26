"""The scoreboard for people, for machines, and as the tables of docs/detection.md. Pure.

The tables stand in the page between `<!-- figures -->` and `<!-- end -->`, and those of the ablations between
`<!-- ablations -->` and `<!-- end of ablations -->`; the rest of it is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from rich.console import Group
from rich.table import Table

from eval.plant import ARCHITECTURES, Detected
from eval.score import Figure
from eval.telemetry import FROZEN, NOVELTY, Telemetry
from eval.telemetry import best_and_worst as best_and_worst_channel
from eval.vehicles import Told
from eval.water import Water
from eval.water import best_and_worst as best_and_worst_file
from twinloop.trainer.scoreboard import PUBLISHED

Row = Mapping[str, Figure]

PUBLISHED_SEQUENCES: Final = (("published: LSTM, dynamic threshold (Hundman 2018)", 0.855, 0.855),)


@dataclass(slots=True)
class Found:
    """Everything that was measured in one run."""

    water: Water | None = None
    telemetry: Telemetry | None = None
    plant: list[Detected] = field(default_factory=list)
    vehicles: list[Told] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Board:
    """A table: the first column is what the row is of."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def boards(found: Found) -> list[Board]:
    """All tables."""
    made = []
    if aims := targets(found):
        made.append(
            Board(
                "Targets",
                ("target", "measured", ""),
                tuple((what, is_, "met" if met else "**missed**") for what, is_, met in aims),
            )
        )
    if found.water is not None:
        made.append(_water(found.water))
    if found.telemetry is not None:
        made.append(_telemetry(found.telemetry))
    if found.plant:
        heads = ("", "parts", *(f"{one}, share called anomalous" for one in ARCHITECTURES))
        made.append(Board("Welds of the simulated plant, by fault", heads, tuple(_welds(found.plant))))
    if found.vehicles:
        heads = ("joint has gained", "vehicles", "told of", "median minute", "other groups blamed")
        made.append(Board("Vehicles of the simulator", heads, tuple(map(_vehicle, found.vehicles))))
    return made


def targets(found: Found) -> list[tuple[str, str, bool]]:
    """What was aimed at, what was measured, and whether that is enough."""
    aims = []
    if found.water is not None and (row := found.water.figures().get("drift-filter, as recorded")):
        aims += [
            ("water: F1 ≥ .87", shown(row["f1"], "share"), row["f1"].value >= 0.87),
            ("water: false alarms ≤ 15 % of rows", shown(row["far"], "percent"), row["far"].value <= 0.15),
            (
                "water: ≤ 5 false episodes an hour",
                shown(row["false_an_hour"], "number"),
                row["false_an_hour"].value <= 5,
            ),
            ("water: median delay ≤ 15 rows", shown(row["delay"], "number"), row["delay"].value <= 15),
        ]
    if found.telemetry is not None:
        for which, name in (("telemetry", NOVELTY), ("its limit from train alone", FROZEN)):
            row = found.telemetry.figures()[name]
            precision, recall, far = row["precision"], row["recall"], row["far"]
            aims += [
                (f"{which}: precision ≥ .90", shown(precision, "share"), precision.value >= 0.9),
                (f"{which}: recall ≥ .75", shown(recall, "share"), recall.value >= 0.75),
                (f"{which}: ≤ 5 % of normal rows", shown(far, "percent"), far.value <= 0.05),
            ]
    return aims


def _water(found: Water) -> Board:
    heads = ("", "F1", "FAR %", "MAR %", "events", "on before", "delay, rows", "false episodes/h")
    kinds = (("f1", "share"), ("far", "percent"), ("mar", "percent"))
    rows = []
    for name, row in found.figures().items():
        anomalous = row["events"].value > 0
        rows.append(
            (
                name,
                *(shown(row[one], kind) if anomalous or one == "far" else "–" for one, kind in kinds),
                f"{row['found'].value:.0f}/{row['events'].value:.0f}" if anomalous else "–",
                f"{row['early'].value:.0f}" if anomalous else "–",
                shown(row["delay"], "number") if anomalous else "–",
                shown(row["false_an_hour"], "number"),
            )
        )
    for name, f1, *rates in PUBLISHED:
        told = (f"{100 * one:.1f}" if one is not None else "–" for one in rates)
        rows.append((f"published, 34 files: {name}", f"{f1:.2f}", *told, "–", "–", "–", "–"))
    return Board("Water circuit (SKAB), rows; 95 % intervals by resampling files", heads, tuple(rows))


def _telemetry(found: Telemetry) -> Board:
    heads = ("", "precision", "recall", "F1", "normal rows alarmed, %", "false runs", "delay, rows")
    rows = []
    for name, row in found.figures().items():
        shares = [shown(row[one], "share") for one in ("precision", "recall", "f1")]
        rest = [shown(row["far"], "percent"), f"{row['false_runs'].value:.0f}", shown(row["delay"], "number")]
        rows.append((name, *shares, *rest))
    for name, precision, recall in PUBLISHED_SEQUENCES:
        f1 = 2 * precision * recall / (precision + recall)
        rows.append((name, f"{precision:.3f}", f"{recall:.3f}", f"{f1:.3f}", "–", "–", "–"))
    title = (
        f"Telemetry (SMAP), sequences in {len(found.heard)} channels; 95 % intervals by resampling channels"
    )
    return Board(title, heads, tuple(rows))


def _welds(found: Sequence[Detected]) -> Iterable[tuple[str, ...]]:
    for one in found:
        shares = (f"{100 * one.anomalous[name] / one.parts:.1f} %" for name in ARCHITECTURES)
        yield (one.title, str(one.parts), *shares)


def _vehicle(one: Told) -> tuple[str, ...]:
    minute = "–" if one.median_minute is None else f"{one.median_minute:g}"
    return (f"{one.grown_uohm:g} µΩ", str(one.vehicles), str(one.told), minute, str(one.wrong))


def shown(figure: Figure, kind: str) -> str:
    """A value with its interval: a share, a percentage of one, or a number."""
    values = (figure.value, figure.low, figure.high)
    if np.isnan(figure.value):
        return "–"
    if kind == "percent":
        told = [f"{100 * one:.1f}" for one in values]
    elif kind == "share":
        told = [f"{one:.3f}".removeprefix("0") for one in values]
    else:
        told = ["∞" if np.isinf(one) else f"{one:.1f}".removesuffix(".0") for one in values]
    return told[0] if told[1] == told[2] else f"{told[0]} [{told[1]}, {told[2]}]"


def console(those: Sequence[Board]) -> Group:
    """For a terminal."""
    made = []
    for board in those:
        table = Table(title=board.title)
        for n, head in enumerate(board.heads):
            table.add_column(head, justify="right" if n else "left")
        for row in board.rows:
            table.add_row(*(one.replace("**", "") for one in row))
        made.append(table)
    return Group(*made)


def markdown(those: Sequence[Board]) -> str:
    """For the page."""
    lines = []
    for board in those:
        lines += [f"**{board.title}**", "", f"| {' | '.join(board.heads)} |"]
        lines.append("|" + "---|" + "---:|" * (len(board.heads) - 1))
        lines += [f"| {' | '.join(row)} |" for row in board.rows] + [""]
    return "\n".join(lines)


def spliced(text: str, begin: str, end: str, tables: str) -> str:
    """The page with other tables between two marks."""
    before, _, rest = text.partition(f"<!-- {begin} -->\n")
    _, _, after = rest.partition(f"<!-- {end} -->\n")
    return f"{before}<!-- {begin} -->\n{tables}<!-- {end} -->\n{after}"


def as_json(found: Found) -> dict[str, Any]:
    """Every figure; of each file and channel, too."""
    told: dict[str, Any] = {}
    if found.water is not None:
        told["water"] = plain(found.water.figures())
        told["water, by file"] = {
            one.file.name: {
                "f1": round(one.part.score.f1, 4),
                "far": round(one.part.score.false_alarm_rate, 4),
                "mar": round(one.part.score.missed_alarm_rate, 4),
                "delays": [delay if np.isfinite(delay) else None for delay in one.part.delays],
                "on_before": one.part.early,
                "false_runs": one.part.score.episodes,
            }
            for one in found.water.drift["as recorded"]
        }
        told["water, best and worst"] = [
            one.file.name for one in best_and_worst_file(found.water.drift["as recorded"])
        ]
    if found.telemetry is not None:
        told["telemetry"] = plain(found.telemetry.figures())
        told["telemetry, by channel"] = {
            one.channel.name: {
                "found": list(one.events.found),
                "delays": list(one.events.delays),
                "false_runs": [list(run) for run in one.events.false_runs],
            }
            for one in found.telemetry.heard
        }
        told["telemetry, best and worst"] = [
            one.channel.name for one in best_and_worst_channel(found.telemetry.heard)
        ]
    told["plant"] = [asdict(one) for one in found.plant]
    told["vehicles"] = [asdict(one) for one in found.vehicles]
    told["targets"] = [{"target": what, "measured": is_, "met": met} for what, is_, met in targets(found)]
    return told


def plain(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Value, and the ends of its interval, of each figure of each row."""
    return {
        name: {
            one: [_number(value) for value in (figure.value, figure.low, figure.high)]
            for one, figure in row.items()
        }
        for name, row in rows.items()
    }


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
