"""The words of `train`, and what they mean. No torch here."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Final

from twinloop.features.windows import WindowSpec
from twinloop.trainer.as_csv import NO_SIGNALS
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.recipes import RECIPES
from twinloop.trainer.training.csv_files import header_of
from twinloop.trainer.words import add_frames, folder_name, names, positive, setting, signals_of

ARCHITECTURES: Final = {
    "drift-filter": "several signals that stand still but for noise and drift; remembers",
    "novelty": "telemetry that repeats itself; remembers",
    "mahalanobis": "means and deviations of windows that are all alike, such as welds",
    "autoencoder": "the shape of such windows, by a network",
}


def add_train(commands: Any) -> None:
    """The command `train`."""
    train: ArgumentParser = commands.add_parser(
        "train",
        help="a model with torch, on recordings of healthy assets; writes an artefact",
        description="Train a model on recordings of healthy assets and write it as an artefact.",
    )
    kind = train.add_mutually_exclusive_group(required=True)
    known = "; ".join(f"{name}: {what}" for name, what in ARCHITECTURES.items())
    kind.add_argument("--architecture", choices=list(ARCHITECTURES), help=known)
    kind.add_argument("--module", metavar="FILE.py:CLASS", help="a torch.nn.Module of one's own")
    add_artefact(train)

    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--parquet", type=Path, help="the historian's folder")
    source.add_argument("--csv", type=Path, nargs="+", metavar="FILE", help="each the recording of one asset")
    add_frames(train)
    train.add_argument("--signals", type=names, metavar="A,B,...", help="those to learn from (default: all)")
    train.add_argument(
        "--columns",
        type=names,
        metavar="A,B,...",
        help="all signals of a frame in their order, where the set is new and --signals are only some",
    )
    train.add_argument("--rows", type=positive, metavar="N", help="only the first N rows of each CSV file")
    train.add_argument(
        "--window", type=positive, metavar="ROWS", help="default: the signal set's, else the architecture's"
    )
    train.add_argument("--hop", type=positive, metavar="ROWS")

    train.add_argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="NAME=VALUE",
        help="a setting of the architecture; may be repeated",
    )
    train.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    train.add_argument("--epochs", type=int, help="default: the architecture's")
    train.add_argument("--batch", type=positive, default=64, help="windows (%(default)s)")
    train.add_argument("--rate", type=float, default=2e-3, help="of learning (%(default)s)")
    train.add_argument(
        "--learn-from-all", action="store_true", help="keep nothing apart for threshold and figures"
    )


def add_artefact(command: ArgumentParser) -> None:
    """What is made, and where it is written: see `out_of`."""
    command.add_argument("--model", required=True, type=folder_name, help="name of the model")
    command.add_argument("--out", type=Path, help="folder of the artefact; default: artefacts/<model>")


def out_of(given: Namespace) -> Path:
    """The folder of the artefact."""
    out: Path | None = given.out
    return out or Path("artefacts") / given.model


def columns_of(given: Namespace) -> tuple[str, ...]:
    """All signals of a frame, in their order: as was said, else as the set is known, else as those to learn
    from, else as the columns of the first CSV file. Raises `BadRecording` where nothing says it."""
    if given.columns:
        return tuple(given.columns)
    if given.csv and not given.signals and given.signal_set not in RECIPES:
        return tuple(one for one in header_of(given.csv[0]) if one not in NO_SIGNALS)
    known = given.signal_set in RECIPES
    return signals_of(given.signal_set, None if known else given.signals)


def spec_of(given: Namespace, own: tuple[int, int] | None) -> WindowSpec:
    """How windows are cut: as was said, else as the signal set's are, else as the architecture wants it
    (`own`: window and hop). Raises `BadRecording` where nothing says it."""
    recipe, columns = RECIPES.get(given.signal_set), columns_of(given)
    signals = given.signals or columns
    if wrong := [one for one in signals if one not in columns]:
        raise BadRecording(f"a frame of {given.signal_set} has no {wrong[0]}: it has {', '.join(columns)}")
    if len(set(signals)) < len(signals):
        raise BadRecording("--signals must name each signal once")
    usual = (recipe.spec.window, recipe.spec.hop) if recipe else own
    if usual is None and not (given.window and given.hop):
        raise BadRecording("nothing says how windows are cut: give --window and --hop")
    window, hop = usual or (0, 0)
    return WindowSpec(given.window or window, given.hop or hop, signals)
