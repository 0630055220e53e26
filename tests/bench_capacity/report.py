"""docs/capacity.md's figures, from a run: everything between its marks. The rest of it is written by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from bench_capacity.conclude import Held, Run
from bench_capacity.measured import BY
from twinloop.cli.capacity.answer import Answer
from twinloop.cli.capacity.costs import Driver, Recorded
from twinloop.cli.capacity.load import Load, at_work
from twinloop.cli.capacity.plan import plan
from twinloop.cli.capacity.verb import number
from twinloop.local.places import REPOSITORY

PAGE = REPOSITORY / "docs/capacity.md"
ANEW = "**Recorded {how}: to be recorded anew** on an idle machine, by `make bench-capacity RECORD=1`."

UNITS: dict[Driver, tuple[str, float, str]] = {
    Driver.PROCESS: ("being there", 1.0, "cores"),
    Driver.STATIONS: ("a station", 1.0, "cores"),
    Driver.ROUNDS: ("a round", 1e3, "ms"),
    Driver.FRAMES: ("a frame", 1e6, "µs"),
    Driver.SAMPLE_BYTES: ("a kB of samples", 1e9, "µs"),
    Driver.WINDOWS: ("a window", 1e6, "µs"),
    Driver.WINDOW_BYTES: ("a kB of windows", 1e9, "µs"),
    Driver.PARTS: ("a part", 1e3, "ms"),
    Driver.CHANGES: ("a change", 1e3, "ms"),
}
THOUSAND = Load(assets=1000, signals=8, hz=16, window=64, hop=16, peak=1, replication=1)
PAPER = Load(
    assets=100_000,
    signals=16,
    hz=10,
    window=64,
    hop=16,
    stations=2_000,
    vehicles=1_000_000,
    minutes_per_day=10,
    built_per_day=3_000,
    plants=100,
)
EXAMPLE = Load(assets=500, signals=8, hz=16, stations=2, parts_per_hour=3600, replication=1)
MODELS = "services/cli/twinloop/cli/capacity/recorded.json"


def update(run: Run, recorded: Recorded, held: Sequence[Held]) -> None:
    """Write the figures into the page."""
    text = PAGE.read_text()
    for name, part in parts(run, recorded, held).items():
        text = put(text, name, part)
    PAGE.write_text(text)


def parts(run: Run, recorded: Recorded, held: Sequence[Held]) -> dict[str, str]:
    """Each part of the page that is made, by its name."""
    return {
        "provenance": provenance(recorded),
        "thousand": thousand(recorded),
        "costs": costs(recorded),
        "held": held_out(held),
        "loads": loads(run),
        "example": example(),
        "paper": paper(recorded),
        "together": "\n".join(bottlenecks(plan(replace(PAPER, plants=1), recorded))),
    }


def put(text: str, name: str, part: str) -> str:
    """The text with another part between `<!-- name -->` and `<!-- end -->`. Raises ValueError."""
    begin = f"<!-- {name} -->\n"
    before, mark, rest = text.partition(begin)
    _, end, after = rest.partition("<!-- end -->")
    if not mark or not end:
        raise ValueError(f"the page has no part {name!r}")
    return f"{before}{begin}{part.strip(chr(10))}\n{end}{after}"


def provenance(recorded: Recorded) -> str:
    """Where, when and how."""
    where = recorded.provenance
    lines = [f"{where.machine}; {where.date}; `{where.command}`; the model is {where.model}."]
    how = [
        said
        for said, so in (("beside other work", where.beside_other_work), ("in a short run", where.short))
        if so
    ]
    return "\n\n".join([*lines, *([ANEW.format(how=" and ".join(how))] if how else [])])


def thousand(recorded: Recorded) -> str:
    """A thousand assets: 8 signals, 16 Hz, a frame and a window a second."""
    rates = {**at_work(THOUSAND.factory()), Driver.STATIONS: 2.0}
    lines = [
        "| program | CPU s in a second | of that for being there | memory, MiB | growth an asset, bytes | |",
        "|---|---|---|---|---|---|",
    ]
    for program in BY:
        cost = recorded.cpu[program]
        memory = recorded.memory[program]
        grows = memory.asset_bytes + memory.window_factor * THOUSAND.window_bytes
        outside = cost.outside(rates)
        fixed = cost.by.get(Driver.PROCESS)
        lines.append(
            f"| {program} | {number(cost.of(rates))} | {number(fixed.value) if fixed else '0'} |"
            f" {number(memory.of(1000, THOUSAND.window_bytes) / 2**20)} |"
            f" {number(grows) if memory.assets.high else ''} |"
            f" {'extrapolated: ' + '; '.join(outside) if outside else 'measured'} |"
        )
    kafka = recorded.kafka.frame
    written = kafka.of(rates)
    lines += [
        "",
        "| of 1,000 assets | |",
        "|---|---|",
        f"| Kafka, telemetry in | {written / 1e6:.2f} MB/s |",
        f"| a frame of {THOUSAND.frame_bytes} bytes of samples | {written / 1000:,.0f} bytes |",
        f"| Kafka, telemetry out: detector, historian and twin | {3 * written / 1e6:.2f} MB/s |",
        f"| Kafka's disk, one copy, 72 h of telemetry | {written * 72 * 3600 / 1e9:,.0f} GB |",
        f"| Parquet, random samples | {recorded.parquet.of(rates) * 86_400 / 1e9:,.0f} GB a day |",
        f"| Triton's instances compute | {recorded.triton_compute.of(rates):.3f} s in a second |",
        f"| Kafka, an anomaly and its share of transactions | {recorded.kafka.anomaly:,.0f} bytes |",
        f"| Kafka, a verdict and its share of transactions | {recorded.kafka.score:,.0f} bytes |",
        f"| Kafka, a part's genealogy | {recorded.kafka.part:,.0f} bytes |",
        f"| Kafka, the controller's table, of a part (compacted) | {recorded.kafka.changelog:,.0f} bytes |",
        f"| Kafka, a change, with its audit | {recorded.kafka.change:,.0f} bytes |",
        f"| Kafka, a vehicle as built, with 96 joints | {recorded.kafka.vehicle:,.0f} bytes |",
        f"| the controller's memory, of such a vehicle | {recorded.vehicle_bytes:,.0f} bytes |",
        f"| the controller, to read one | {recorded.vehicle_s * 1e3:.2f} ms of CPU time |",
    ]
    return "\n".join(lines)


def costs(recorded: Recorded) -> str:
    """Each coefficient with its range, by program."""
    lines = ["| program | costs (when each point in turn is left out) | error |", "|---|---|---|"]
    for program, cost in recorded.cpu.items():
        said = []
        for driver, one in cost.by.items():
            what, factor, unit = UNITS[driver]
            if one.high > 0:
                low, high = number(one.low * factor), number(one.high * factor)
                said.append(f"{what} {number(one.value * factor)} {unit} ({low} to {high})")
        lines.append(f"| {program} | {'; '.join(said)} | {cost.error:.0%} |")
    return "\n".join(lines)


def held_out(held: Sequence[Held]) -> str:
    """Each held-out point of each program."""
    points = sorted({one.point for one in held})
    lines = [f"| | {' | '.join(points)} |", f"|---|{'---|' * len(points)}"]
    for program in dict.fromkeys(one.program for one in held):
        cells = {
            one.point: f"{number(one.measured)} / {number(one.model)}"
            for one in held
            if one.program == program
        }
        lines.append(f"| {program} | {' | '.join(cells.get(point, '') for point in points)} |")
    return "\n".join(lines)


def loads(run: Run) -> str:
    """What was measured, point by point."""
    lines = [
        f"| load | frames/s | MB/s | windows/s | {' | '.join(BY)} | |",
        f"|---|---|---|---|{'---|' * len(BY)}---|",
    ]
    for one in run.points:
        rates = [
            one.drivers[driver] / one.seconds
            for driver in (Driver.FRAMES, Driver.SAMPLE_BYTES, Driver.WINDOWS)
        ]
        cores = " | ".join(f"{one.cpu_s[name] / one.seconds:.2f}" for name in BY)
        lines.append(
            f"| {one.name} | {rates[0]:,.0f} | {rates[1] / 1e6:.2f} | {rates[2]:,.0f} | {cores} |"
            f" {'held out' if one.held_out else ''} |"
        )
    return "\n".join(lines)


def paper(recorded: Recorded) -> str:
    """The simulation on paper."""
    answer = plan(PAPER, recorded)
    lines = [f"    twinloop capacity {' '.join(words(PAPER))}", ""]
    lines += ["| of | what | needs | basis |", "|---|---|---|---|"]
    lines += [
        f"| {one.part} | {one.what} | {'unknown' if one.value is None else number(one.value)} {one.unit} |"
        f" {one.basis} |"
        for one in answer.items
    ]
    return "\n".join([*lines, "", *(bottlenecks(answer) or ["- none that more replicas would not help."])])


def example() -> str:
    """A command, and what it prints: it reads the packaged figures."""
    asked = ["capacity", *words(EXAMPLE)]
    line = [sys.executable, "-m", "twinloop.cli", *" ".join(asked).split()]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    printed = "\n".join(one.rstrip() for one in done.stdout.splitlines())
    return f"```bash\ntwinloop {' '.join(asked)}\n```\n\n```text\n{printed}\n```"


def words(load: Load) -> list[str]:
    """The options that say it."""
    said = []
    for one in fields(Load):
        value = getattr(load, one.name)
        if value != one.default or one.name in ("assets", "signals", "hz"):
            said.append(f"--{one.name.replace('_', '-').removesuffix('-h')} {value:.12g}")
    return said


def bottlenecks(answer: Answer) -> list[str]:
    """As a list."""
    return [f"- {one}" for one in answer.bottlenecks]


def recorded_of(page: Path = PAGE) -> dict[str, str]:
    """The parts as they stand in the page."""
    found = re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", page.read_text(), re.DOTALL)
    return dict(found)


def figures() -> dict[str, object]:
    """The packaged figures, as plain JSON."""
    plain: dict[str, object] = json.loads((REPOSITORY / MODELS).read_text())
    return plain
