"""Parts from the historian's files, as it writes them, up to the verb that a person types."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from support.process_models import ASSET, commissioning, of_the_plant

from twinloop.contracts.codec import Message, frame_message, message
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.times import unix_ns
from twinloop.contracts.topics import GENEALOGY, TELEMETRY_FACTORY
from twinloop.historian.parquet import ParquetFolder
from twinloop.local.places import find_places
from twinloop.trainer.__main__ import main
from twinloop.trainer.errors import TrialsNotFound
from twinloop.trainer.joints import RecordedJoints, recorded
from twinloop.trainer.shelf import cards
from twinloop.trainer.trials import Plan, Trial

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PREFIX = "t."


@dataclass(frozen=True)
class Record:
    """A record as Kafka gives it to the historian."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes


SMALL = Plan(
    trials=(
        Trial(power_w=1000.0, focus_mm=0.0, welds=10),
        Trial(power_w=1100.0, focus_mm=0.2, welds=10, transmission=0.9),
    )
)


def messages(plan: Plan, asset: str = ASSET, spoilt: frozenset[int] = frozenset()) -> list[Message]:
    """What ingest publishes of the plan's parts, each twice; of the `spoilt` nothing that can be used."""
    generator = np.random.default_rng(1)
    found = []
    sequence = 0
    for trial in plan.trials:
        for _ in range(trial.welds):
            sequence += 1
            depth, warm, bright, plasma, resistance = of_the_plant(trial, generator)
            samples = np.tile(np.array([plasma, warm, bright, depth, 15, 400], np.float32), (300, 1))
            if sequence in spoilt:
                samples[:200, 3] = np.nan
            common = {"asset": asset, "sequence": sequence, "trace_id": "0" * 32}
            frame = Frame(
                signal_set="weld.v1",
                first_at_ns=unix_ns(NOW),
                period_ns=10**6,
                samples=samples,
                observed_at_ns=unix_ns(NOW),
                event_id=f"f{sequence}",
                bad=np.isnan(samples),
                **common,
            )
            joint = JointWelded(
                event_id=f"j{sequence}",
                at=NOW,
                observed_at=NOW + timedelta(seconds=sequence),
                part_id=str(sequence),
                recipe="r",
                resistance_uohm=resistance,
                power_w=trial.power_w,
                focus_mm=trial.focus_mm,
                **common,
            )
            both = [
                frame_message(TELEMETRY_FACTORY, frame, source="test"),
                message(GENEALOGY, joint, source="test"),
            ]
            found += both * 2
    return found


def archive(folder: Path, published: list[Message]) -> None:
    """What the historian writes of it, in files of 100 records."""
    for topic, partition in ((TELEMETRY_FACTORY, 4), (GENEALOGY, 2)):
        mine = [one for one in published if one.topic is topic]
        records = [
            Record(offset=n, timestamp=unix_ns(NOW) // 10**6, key=one.key, value=one.value)
            for n, one in enumerate(mine)
        ]
        writer = ParquetFolder(folder)
        for start in range(0, len(records), 100):
            writer.write(topic.named(PREFIX), partition, topic.format, records[start : start + 100])


async def test_parts_are_joined_from_both_topics_and_repeats_count_once(tmp_path: Path) -> None:
    archive(tmp_path, messages(SMALL, spoilt=frozenset({3})) + messages(SMALL, asset="other"))
    parts = await recorded(RecordedJoints(tmp_path, PREFIX, ASSET), SMALL, 0)
    assert len(parts) == 19
    assert 3 not in parts.joints.sequence
    assert parts.joints.power_w.tolist() == [1000.0] * 9 + [1100.0] * 10
    assert parts.transmission.tolist() == [1.0] * 9 + [0.9] * 10
    assert np.allclose(parts.joints.depth_mm[:9], 0.5, atol=0.05)
    told = [
        (one.topic, one.partition, one.first_offset, one.last_offset, one.records)
        for one in parts.joints.data
    ]
    assert told == [("t.telemetry.factory", 4, 0, 38, 19), ("t.genealogy", 2, 0, 38, 19)]


async def test_a_recording_without_the_trials_says_so(tmp_path: Path) -> None:
    archive(tmp_path, messages(Plan(trials=SMALL.trials[:1])))
    with pytest.raises(TrialsNotFound, match="at most 10 fit it"):
        await recorded(RecordedJoints(tmp_path, PREFIX, ASSET), SMALL, 0)


def verb(folder: Path, into: Path, plan: Path) -> int:
    return main(
        [
            *("identify", "--parquet", str(folder), "--topic-prefix", PREFIX, "--plan", str(plan)),
            *("--asset", ASSET),
            *("--process", "cu-al-tab", "--into", str(into), "--wait-s", "0"),
        ]
    )


def test_the_verb_writes_a_model_or_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive(tmp_path / "parquet", messages(commissioning()))
    into = tmp_path / "models"
    assert verb(tmp_path / "parquet", into, find_places().config / "commissioning.toml") == 0
    assert "468 parts" in capsys.readouterr().out
    [card] = cards(into, "cu-al-tab")
    assert (card.parts, card.asset, card.data[0].records) == (468, ASSET, 468)

    clean = Plan(trials=tuple(one for one in commissioning().trials if one.transmission == 1))
    rows = [
        f"{{ power_w = {one.power_w}, focus_mm = {one.focus_mm}, welds = {one.welds} }}"
        for one in clean.trials
    ]
    (tmp_path / "clean.toml").write_text(f"trials = [{', '.join(rows)}]")
    assert verb(tmp_path / "parquet", into, tmp_path / "clean.toml") == 1
    assert "weld trials under glasses" in capsys.readouterr().err
    assert len(cards(into, "cu-al-tab")) == 1
