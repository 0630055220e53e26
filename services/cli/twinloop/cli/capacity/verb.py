"""`twinloop capacity`: the words, the recorded figures, and the answer as a table or as JSON."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import fields
from importlib import resources
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from twinloop.cli.answer import out
from twinloop.cli.capacity.answer import Answer, Item
from twinloop.cli.capacity.costs import Recorded, read
from twinloop.cli.capacity.load import Impossible, Load
from twinloop.cli.capacity.plan import plan
from twinloop.cli.errors import Unusable
from twinloop.cli.places import Places
from twinloop.cli.show import console, sentence

RECORD = "recorded.json"

_HELP = {
    "assets": "stations and machines that send telemetry",
    "signals": "of each asset",
    "hz": "samples a second of each asset, all signals together",
    "window": "samples in a window",
    "hop": "samples from one window to the next",
    "frame": "samples in a frame (default: a hop)",
    "duty": "share of the time that an asset sends",
    "stations": "that weld under the closed loop",
    "parts_per_hour": "of each station",
    "changes_per_hour": "of each station",
    "vehicles": "that tell minutes of driving",
    "minutes_per_day": "of each vehicle",
    "built_per_day": "vehicles, in all plants",
    "plants": "each with programs and topics of its own; the load is divided among them",
    "peak": "the busiest minute, as a multiple of the mean",
    "utilisation": "share of a core that may be used",
    "anomalous": "share of windows",
    "score_every": "one verdict of so many windows is published",
    "replication": "copies of a record in Kafka",
    "retention_h": "of telemetry in Kafka, hours",
    "years": "that genealogy and changes have grown for",
    "gpu_windows_per_s": "of one GPU, from your own perf_analyzer run",
}


def add(parser: ArgumentParser) -> None:
    """The options: one for each field of `Load`."""
    kinds: dict[str, Any] = {"int": int, "float": float, "int | None": int, "float | None": float}
    for one in fields(Load):
        name = f"--{one.name.replace('_', '-').removesuffix('-h')}"
        if one.name == "gpu":
            parser.add_argument("--gpu", action="store_true", help="Triton on GPUs instead of CPUs")
            continue
        shown = "" if one.default is None else f" (default: {one.default:g})"
        parser.add_argument(
            name, dest=one.name, type=kinds[str(one.type)], default=one.default, help=_HELP[one.name] + shown
        )


def capacity(options: Namespace, _: Places) -> int:
    """What a load needs."""
    try:
        load = Load(**{one.name: getattr(options, one.name) for one in fields(Load)})
    except Impossible as error:
        raise Unusable(str(error)) from error
    recorded = figures()
    answer = plan(load, recorded)
    said = {"provenance": msgspec.to_builtins(recorded.provenance), **msgspec.to_builtins(answer)}
    return out(options, said, lambda: _page(answer, recorded))


def figures() -> Recorded:
    """What was recorded. Raises `Unusable` for a file that does not belong to this version."""
    try:
        return read(resources.files("twinloop.cli.capacity").joinpath(RECORD).read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise Unusable(
            f"The recorded figures cannot be used ({error}): install this version anew, or record them with"
            " `make bench-capacity RECORD=1`."
        ) from error


def _page(answer: Answer, recorded: Recorded) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("of", "what", "needs", "basis", "because"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "needs" else "left")
    for one in answer.items:
        table.add_row(*(Text(cell) for cell in (one.part, one.what, _value(one), str(one.basis), one.why)))
    console().print(table)
    for share in answer.drivers:
        sentence(f"{share.share:4.0%} of all cores: {share.program}, {share.driver.replace('_', ' ')}")
    for one_more in answer.bottlenecks:
        sentence(f"bottleneck: {one_more}")
    where = recorded.provenance
    sentence(f"measured on {where.machine}, {where.date}, by `{where.command}`")
    if where.beside_other_work or where.short:
        how = " and ".join(
            said
            for said, so in (("beside other work", where.beside_other_work), ("in a short run", where.short))
            if so
        )
        sentence(f"recorded {how}: to be recorded anew")


def _value(item: Item) -> str:
    if item.value is None:
        return "unknown"
    shown = f"{number(item.value)} {item.unit}".rstrip()
    if item.low is None or item.high is None:
        return shown
    return f"{shown} ({number(item.low)} to {number(item.high)})"


def number(value: float) -> str:
    """With as many digits as matter."""
    if value == round(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
