"""`recordings`: what the historian has kept, as CSV files. It talks to nobody."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Final

from twinloop.trainer import as_csv
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.windows import frames_of_assets, good
from twinloop.trainer.words import add_frames, names, signals_of

FOLDER: Final = "TWINLOOP_HISTORIAN_FOLDER"


def add_recordings(commands: Any) -> None:
    """The command `recordings`."""
    recordings: ArgumentParser = commands.add_parser(
        "recordings",
        help="what the historian has kept, as CSV files, one an asset",
        description="Write what the historian has kept of a signal set as CSV files, one an asset.",
    )
    recordings.add_argument("--parquet", type=Path, help=f"the historian's folder (default: ${FOLDER})")
    recordings.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="of the CSV files")
    add_frames(recordings)
    recordings.add_argument(
        "--signals", type=names, metavar="A,B,...", help="columns in their order, where the set is new"
    )


def run(given: Namespace) -> list[str]:
    """Write the files; returns lines for people. Raises `BadRecording`."""
    folder = given.parquet or os.environ.get(FOLDER)
    if not folder:
        raise BadRecording(
            f"it is not known where the historian's files are: give --parquet, or set {FOLDER}"
        )
    signals = signals_of(given.signal_set, given.signals)
    found = frames_of_assets(
        Path(folder) / given.topic, given.signal_set, given.asset, given.since, given.until
    )
    lines = []
    for asset, frames in found.items():
        written = as_csv.write(given.into, asset, signals, good(frames, signals))
        lines.append(f"{written.path}: {written.rows} rows of {written.frames} frames")
    return lines
