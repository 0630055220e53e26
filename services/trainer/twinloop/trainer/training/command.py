"""`train`: what was said on the command line, done."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import replace

from twinloop.runtime.clock import SystemClock
from twinloop.trainer.artefacts import check_free
from twinloop.trainer.card import in_words
from twinloop.trainer.errors import UnfitData
from twinloop.trainer.training.arguments import columns_of, out_of, spec_of
from twinloop.trainer.training.detectors import DETECTORS
from twinloop.trainer.training.detectors.base import Detector
from twinloop.trainer.training.detectors.own import Own
from twinloop.trainer.training.job import Order, train
from twinloop.trainer.training.recordings import Recordings, from_csv, from_parquet
from twinloop.tritonio.artefact import write


def run(given: Namespace) -> list[str]:
    """Train and write the artefact; returns lines for people. Raises `TrainerError`."""
    out = out_of(given)
    check_free(out)
    kind: type[Detector] = Own if given.module else DETECTORS[given.architecture]
    if unknown := [name for name, _ in given.set if name not in kind.DEFAULTS]:
        raise UnfitData(f"{unknown[0]} is no setting: there are {', '.join(kind.DEFAULTS)}")
    order = Order(
        model=given.model,
        architecture=given.architecture or "",
        module=given.module or "",
        settings=dict(given.set),
        seed=given.seed,
        epochs=given.epochs,
        batch=given.batch,
        rate=given.rate,
        apart=not given.learn_from_all,
    )
    began = time.monotonic()
    checkpoint = out.with_name(f".{out.name}.checkpoint")

    def say(text: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - began:6.1f} s] {text}\n")

    artefact = train(order, _data(given, kind), checkpoint, SystemClock().now(), say)
    write(out, artefact)
    checkpoint.unlink(missing_ok=True)
    contract, card = artefact.contract, artefact.card
    learnt = f"{card.trained.windows} windows of {len(card.trained.assets)} recordings"
    return [
        f"{contract.model}: {card.architecture}, {learnt}",
        *in_words(card),
        f"  written to {out}: `twinloop models stage {out}` is next",
    ]


def _data(given: Namespace, kind: type[Detector]) -> Recordings:
    spec, columns = spec_of(given, kind.WINDOW), columns_of(given)
    if given.csv:
        found = from_csv(given.csv, given.signal_set, spec, given.rows)
    else:
        folder, times = given.parquet / given.topic, (given.since, given.until)
        found = from_parquet(folder, given.signal_set, spec, given.asset, *times, columns=columns)
    return replace(found, columns=columns)
