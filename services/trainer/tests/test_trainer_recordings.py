"""`recordings`: from what the historian wrote to CSV files, and from both to the same windows."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.topics import Format
from twinloop.features.windows import WindowSpec
from twinloop.historian.tables import table
from twinloop.ingest.csv_source import frames as frames_of_csv
from twinloop.ingest.normalize import Normalized
from twinloop.ingest.signal_sets import CsvShape
from twinloop.ingest.signal_sets import load as signal_sets
from twinloop.trainer.__main__ import main
from twinloop.trainer.recipes import WELD
from twinloop.trainer.training.recordings import Recording, from_csv, from_parquet

FIRST_NS = 1_767_225_600_123_456_000  # 2026-01-01T00:00:00.123456Z
WELD1, WELD2 = "acme.line1.weld1", "acme.line1.weld2"


@dataclass
class Kept:
    """A record as the historian reads it."""

    offset: int
    value: bytes
    key: bytes = b""
    timestamp: int = 0


def weld(asset: str, sequence: int, **other: object) -> Frame:
    draw = np.random.default_rng(sequence)
    return replace(
        Frame(
            asset=asset,
            signal_set="weld.v1",
            sequence=sequence,
            first_at_ns=FIRST_NS + sequence * 10**9,
            period_ns=10**6,
            samples=(1e3 * draw.standard_normal((300, 6))).astype(np.float32),
            observed_at_ns=FIRST_NS,
            event_id=f"{asset}{sequence}",
            trace_id="t",
            part_id=f"part-{sequence}",
        ),
        **other,  # type: ignore[arg-type]
    )


def archive(folder: Path, frames: list[Frame]) -> Path:
    """As the historian leaves them."""
    records = [Kept(n, encode_frame(one)) for n, one in enumerate(frames)]
    made, _ = table(Format.PROTOBUF, records)
    (folder / "telemetry.factory" / "0").mkdir(parents=True)
    pq.write_table(made, folder / "telemetry.factory" / "0" / "0-9.parquet")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_files_lead_to_the_windows_that_parquet_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = np.zeros((300, 6), np.bool_)
    bad[7, 2] = True
    frames = [weld(asset, n) for n in range(4) for asset in (WELD1, WELD2)]
    frames += [weld(WELD1, 3), weld(WELD1, 4, bad=bad), weld(WELD1, 5, samples=np.ones((300, 2), np.float32))]
    parquet = archive(tmp_path / "parquet", frames)
    monkeypatch.setenv("TWINLOOP_HISTORIAN_FOLDER", str(parquet))
    into = tmp_path / "csv"
    assert main(["recordings", "--signal-set", "weld.v1", "--into", str(into)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{into / one}.csv: 1200 rows of 4 frames" for one in (WELD1, WELD2)
    ]
    kept = from_parquet(parquet / "telemetry.factory", "weld.v1", WELD.spec, [WELD1])
    (again,) = from_csv([into / f"{WELD1}.csv"], "weld.v1", WELD.spec).recordings
    assert again.windows.shape == (4, 300, 6)
    assert np.array_equal(again.windows, kept.recordings[0].windows)
    assert sorted(one.name for one in into.iterdir()) == [f"{WELD1}.csv", f"{WELD2}.csv"]


def of_both(tmp_path: Path, frames: list[Frame], spec: WindowSpec) -> tuple[Recording, Recording]:
    """What is learnt from, read from Parquet and from the CSV file that is made of it."""
    parquet = archive(tmp_path / "parquet", frames)
    into = tmp_path / "csv"
    assert (
        main(["recordings", "--parquet", str(parquet), "--signal-set", "weld.v1", "--into", str(into)]) == 0
    )
    (kept,) = from_parquet(parquet / "telemetry.factory", "weld.v1", spec, []).recordings
    (again,) = from_csv([into / f"{WELD1}.csv"], "weld.v1", spec).recordings
    return kept, again


def test_no_window_spans_two_parts_even_if_one_was_cut_short(tmp_path: Path) -> None:
    short = weld(WELD1, 2)
    frames = [weld(WELD1, 0), weld(WELD1, 1), replace(short, samples=short.samples[:290]), weld(WELD1, 3)]
    kept, again = of_both(tmp_path, frames, WELD.spec)
    assert len(again.windows) == 3
    assert np.array_equal(again.windows, kept.windows)
    assert (again.since, again.until) == (kept.since, kept.until)
    assert again.until is not None


def test_no_window_spans_a_gap_in_time(tmp_path: Path) -> None:
    """Frames of 300 rows without parts, of which the fourth is lost."""
    stream = [weld(WELD1, n, part_id="", first_at_ns=FIRST_NS + n * 300 * 10**6) for n in range(6)]
    kept, again = of_both(tmp_path, [*stream[:3], *stream[4:]], WindowSpec(100, 10, WELD.spec.signals))
    assert len(again.windows) == 81 + 51
    assert np.array_equal(again.windows, kept.windows)


def test_a_row_says_when_and_of_which_part(tmp_path: Path) -> None:
    uneven = np.arange(300, dtype=np.uint64) * np.uint64(5_000_000)
    frames = [weld(WELD1, 0), weld(WELD1, 1, period_ns=0, offsets_ns=uneven)]
    parquet = archive(tmp_path / "parquet", frames)
    said = ["--parquet", str(parquet), "--signal-set", "weld.v1", "--into", str(tmp_path)]
    assert main(["recordings", *said]) == 0
    rows = rows_of(tmp_path / f"{WELD1}.csv")
    assert list(rows[0]) == ["time", "part_id", *WELD.spec.signals]
    times = [datetime.fromisoformat(rows[n]["time"]) for n in (0, 299, 300, 301)]
    assert times[0] == datetime.fromisoformat("2026-01-01T00:00:00.123456Z")
    assert [(one - times[0]).total_seconds() for one in times[1:]] == [0.299, 1.0, 1.005]
    assert [rows[n]["part_id"] for n in (299, 300)] == ["part-0", "part-1"]


def test_ingest_replays_what_was_written(tmp_path: Path) -> None:
    """As frames with the same samples at the same times."""
    parquet = archive(tmp_path / "parquet", [weld(WELD1, 0), weld(WELD1, 1)])
    said = ["--parquet", str(parquet), "--signal-set", "weld.v1", "--into", str(tmp_path)]
    assert main(["recordings", *said]) == 0
    known = signal_sets(None).find("weld.v1")
    again = list(
        frames_of_csv(tmp_path / f"{WELD1}.csv", known, CsvShape(), "a.b", rows_per_frame=300, first_row=0)
    )
    assert [one.frame.first_at_ns for one in again if isinstance(one, Normalized)] == [
        FIRST_NS,
        FIRST_NS + 10**9,
    ]
    for one, was in zip(again, (weld(WELD1, 0), weld(WELD1, 1)), strict=True):
        assert isinstance(one, Normalized)
        assert np.array_equal(one.frame.samples, was.samples)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--signal-set", "pump.v1"], "the signals of pump.v1 are not known here: name them with --signals"),
        (["--signal-set", "weld.v1", "--asset", "acme.weld9"], "holds no frame of acme.weld9 with weld.v1"),
        (["--signal-set", "weld.v1", "--signals", "a,b"], "is sound and has the 2 signals a, b"),
        (["--signal-set", "weld.v1", "--from", "2027-01-01"], "holds no frame with weld.v1 in that time"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], why: str
) -> None:
    parquet = archive(tmp_path / "parquet", [weld(WELD1, 0)])
    assert main(["recordings", "--parquet", str(parquet), "--into", str(tmp_path / "csv"), *more]) == 1
    assert why in capsys.readouterr().err
    assert not list(tmp_path.glob("csv/*"))


def test_without_a_folder_it_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TWINLOOP_HISTORIAN_FOLDER", raising=False)
    assert main(["recordings", "--signal-set", "weld.v1", "--into", str(tmp_path)]) == 1
    assert "give --parquet, or set TWINLOOP_HISTORIAN_FOLDER" in capsys.readouterr().err
