"""The figures for people, for machines, and as the tables of docs/loop-quality.md. Pure.

The tables stand in the page between `<!-- figures -->` and `<!-- end -->`; the rest of it is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from rich.console import Group
from rich.table import Table

from bench_loop.bench import STRATEGIES, Figures, Tallies
from bench_loop.cases import BY_NAME, CASES
from bench_loop.confusion import COLUMNS, RIGHT, TRUTHS, Matrix
from bench_loop.measure import DEFINITIONS, Tally, middle, total

BEGIN, END = "<!-- figures -->\n", "<!-- end -->\n"
LEAST_AVOIDED, MOST_WRONG = 0.95, 0.01

Row = tuple[str, str, str]


def targets(tallies: Tallies) -> list[tuple[str, str, bool]]:
    """What was aimed at, what was measured, and whether that is enough."""
    whole, healthy = total(by["twinloop"] for by in tallies.values()), tallies["healthy"]["twinloop"]
    share, wrong = whole.share_avoided or 0.0, whole.wrong / max(whole.actions, 1)
    process = total(by["twinloop"] for name, by in tallies.items() if BY_NAME[name].right)
    unsafe = whole.unsafe.total()
    actions = (
        f"{percent(wrong)} ({whole.wrong} of {whole.actions}; where something can be mended:"
        f" {process.wrong} of {process.actions})"
    )
    return [
        (f"≥ {LEAST_AVOIDED:.0%} of avoidable bad parts avoided", percent(share), share >= LEAST_AVOIDED),
        (f"wrong actions ≤ {MOST_WRONG:.0%} of all", actions, wrong <= MOST_WRONG),
        ("no command in healthy runs", str(healthy.actions), healthy.actions == 0),
        ("no unsafe command", told(whole), unsafe == 0),
    ]


def rows(tallies: Tallies) -> Iterator[tuple[str, list[str]]]:
    """Of every case: its title and the cells after it."""
    for case in CASES:
        if (by := tallies.get(case.name)) is None:
            continue
        seeds = by["open"].seeds
        cells = [f"{by[name].bad / seeds:.1f}" for name in STRATEGIES]
        cells += [percent(by[name].share_avoided) for name in ("naive", "twinloop")]
        cells += [f"{by[name].wrong}/{by[name].actions}" for name in ("naive", "twinloop")]
        one = by["twinloop"]
        cells += [
            _of_runs(one.detected, one.seeds),
            _of_runs(one.recovered, one.seeds),
            number(one.good_not_made / seeds),
        ]
        yield case.title, cells


HEADS = (
    *(f"bad, {name}" for name in STRATEGIES),
    "avoided, naive",
    "avoided, twinloop",
    "wrong, naive",
    "wrong, twinloop",
    "detect",
    "recover",
    "good not made",
)


def console(figures: Figures) -> Group:
    """All of it for a terminal."""
    faults = Table("", title="Parts a run; wrong actions of all actions over all seeds")
    for head in HEADS:
        faults.add_column(head.replace(", ", "\n"), justify="right")
    for title, cells in rows(figures.tallies):
        faults.add_row(title, *cells)
    aims = Table("target", "measured", "", title="Twinloop")
    for what, found, met in targets(figures.tallies):
        aims.add_row(what, found, "met" if met else "[bold]missed")
    return Group(
        faults, _said(figures.by_truth, TRUTHS, "What is said of single parts, by what is wrong"), aims
    )


def _said(found: Matrix, order: Iterable[str], title: str) -> Table:
    table = Table("", *columns(found), title=title)
    for truth in order:
        table.add_row(truth, *shares(found, truth))
    return table


def columns(found: Matrix) -> list[str]:
    """`COLUMNS`, and whatever else is said."""
    return [*COLUMNS, *sorted({one for said in found.values() for one in said} - set(COLUMNS))]


def shares(found: Matrix, truth: str) -> list[str]:
    """A row of the matrix, in per cent."""
    said = found[truth]
    return [percent(said[one] / said.total()) if said[one] else "" for one in columns(found)]


def page(figures: Figures, machine: str, seconds: float) -> str:
    """The tables of the page, with what they count."""
    tallies = figures.tallies
    seeds = tallies["healthy"]["open"].seeds
    lines = [f"{seeds} seeds, {seconds / 60:.1f} minutes on {machine}.", ""]
    lines += table(("target", "measured", ""), (_aim(one) for one in targets(tallies)))
    lines += ["", "Parts are means a run, actions are sums over the seeds.", ""]
    lines += table(("", *HEADS), ((title, *cells) for title, cells in rows(tallies)))
    lines += ["", "What is said of single parts, in per cent of each row; in bold what is right:", ""]
    lines += table(("truth", *columns(figures.by_truth)), (_bold(figures.by_truth, one) for one in TRUTHS))
    lines += ["", "The same by fault:", ""]
    titles = [case.title for case in CASES if case.truth]
    lines += table(
        ("fault", *columns(figures.by_case)), ((one, *shares(figures.by_case, one)) for one in titles)
    )
    lines += ["", "What is counted:", ""]
    lines += [f"- **{name}**: {what}" for name, what in DEFINITIONS.items()]
    return "\n".join(lines) + "\n"


def _aim(one: tuple[str, str, bool]) -> Row:
    what, found, met = one
    return what, found, "met" if met else "**missed**"


def _bold(found: Matrix, truth: str) -> list[str]:
    cells = zip(columns(found), shares(found, truth), strict=True)
    return [truth, *(f"**{share}**" if share and name in RIGHT[truth] else share for name, share in cells)]


def table(heads: Iterable[str], cells: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a Markdown table; all columns but the first are aligned right."""
    heads = list(heads)
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *map(list, cells)]
    return [f"| {' | '.join(one)} |" for one in lines]


def spliced(text: str, tables: str) -> str:
    """The page with other tables."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tables + END + after


def as_json(figures: Figures) -> dict[str, Any]:
    """Everything that was counted."""
    return {
        "cases": {
            case: {name: _plain(tally) for name, tally in by.items()} for case, by in figures.tallies.items()
        },
        "said_by_truth": figures.by_truth,
        "said_by_fault": figures.by_case,
        "targets": [
            {"target": what, "measured": found, "met": met} for what, found, met in targets(figures.tallies)
        ],
    }


def _plain(tally: Tally) -> dict[str, Any]:
    """Lists of parts become their median and count."""
    plain = {one.name: getattr(tally, one.name) for one in fields(tally)}
    for name in ("detected", "recovered"):
        parts = plain.pop(name)
        plain |= {f"{name}_runs": len(parts), f"{name}_median_parts": middle(parts)}
    return plain | {"share_avoided": tally.share_avoided}


def _of_runs(parts: Sequence[int], seeds: int) -> str:
    """The median, and in how many runs there was one where that is not all."""
    middling = number(middle(parts))
    return middling if len(parts) in (0, seeds) else f"{middling} ({len(parts)}/{seeds})"


def told(one: Tally) -> str:
    """Unsafe commands and why they are."""
    whole = one.unsafe.total()
    if not whole:
        return "0"
    return f"{whole} ({', '.join(f'{why}: {count}' for why, count in sorted(one.unsafe.items()))})"


def percent(share: float | None) -> str:
    """To a tenth, without saying 100.0 % of what is less."""
    if share is None:
        return "–"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %".replace("-", "−")


def number(value: float | None) -> str:
    """To a tenth where it is no whole number."""
    return "–" if value is None else f"{value:.1f}".removesuffix(".0")
