"""What training does without torch: words, recordings, parts, cards."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinloop.contracts.frames import Frame, decode_frame, encode_frame
from twinloop.contracts.models import QUANTILES, ModelContract
from twinloop.contracts.times import unix_ns
from twinloop.features.windows import WindowBuffer, WindowSpec
from twinloop.trainer.__main__ import main, parse
from twinloop.trainer.card import alarmed, references_of
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.recipes import WELD
from twinloop.trainer.training.arguments import columns_of, spec_of
from twinloop.trainer.training.csv_files import frames, read_csv
from twinloop.trainer.training.layout import Layout
from twinloop.trainer.training.parts import parts_of
from twinloop.trainer.training.recordings import from_csv, from_parquet
from twinloop.tritonio.server import Inference

SPEC = WindowSpec(3, 2, ("a", "b"))
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ["train", "--model", "m", "--architecture", "drift-filter", "--signal-set"]


def frame(asset: str, sequence: int, value: float) -> Frame:
    return Frame(
        asset=asset,
        signal_set="s.v1",
        sequence=sequence,
        first_at_ns=unix_ns(BEGAN) + sequence * 10**9,
        period_ns=10**9,
        samples=np.array([[value, -value]], np.float32),
        observed_at_ns=0,
        event_id=f"{asset}{sequence}",
        trace_id="t",
    )


def contract(*, window: int = 1, hop: int = 1, quiet: int = 0) -> ModelContract:
    return ModelContract(
        model="m",
        version=0,
        signal_set="s.v1",
        signals=("a", "b"),
        features=("a", "b"),
        window=window,
        hop=hop,
        threshold=1.0,
        digest="",
        quiet=quiet,
    )


def archived(folder: Path, frames: list[Frame]) -> Path:
    """As the historian leaves them, in two files."""
    topic = folder / "telemetry.factory"
    (topic / "0").mkdir(parents=True)
    half = len(frames) // 2
    for first, those in ((half, frames[half:]), (0, frames[:half])):
        rows = []
        for n, one in enumerate(those, first):
            again = decode_frame(encode_frame(one))
            rows.append(
                {
                    "offset": n,
                    "asset": again.asset,
                    "signal_set": again.signal_set,
                    "sequence": again.sequence,
                    "first_at_ns": again.first_at_ns,
                    "period_ns": again.period_ns,
                    "observed_at_ns": again.observed_at_ns,
                    "part_id": again.part_id,
                    "event_id": again.event_id,
                    "trace_id": again.trace_id,
                    "signal_count": again.samples.shape[1],
                    "samples": again.samples.tobytes(),
                    "bad": None,
                }
            )
        pq.write_table(_table(rows), topic / "0" / f"{first}-{first + len(those)}.parquet")
    return topic


def _table(rows: list[dict[str, object]]) -> pa.Table:
    schema = pa.schema(
        [
            (name, pa.int64())
            for name in ("offset", "sequence", "first_at_ns", "period_ns", "observed_at_ns", "signal_count")
        ]
        + [(name, pa.string()) for name in ("asset", "signal_set", "part_id", "event_id", "trace_id")]
        + [(name, pa.binary()) for name in ("samples", "bad", "offsets_ns")]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def test_windows_from_parquet_are_those_that_the_detector_cuts(tmp_path: Path) -> None:
    frames = [frame(asset, n, n + 100 * place) for n in range(11) for place, asset in enumerate("xy")]
    topic = archived(tmp_path, frames)
    found = from_parquet(topic, "s.v1", SPEC, [])
    assert [one.asset for one in found.recordings] == ["x", "y"]
    live = WindowBuffer(SPEC).push([one for one in frames if one.asset == "y"])
    assert (found.recordings[1].windows == live.values).all()
    assert found.trained.windows == 2 * len(live)
    assert (found.trained.since, found.trained.until) == (BEGAN, BEGAN.replace(second=10))

    some = from_parquet(topic, "s.v1", SPEC, ["y"], BEGAN.replace(second=2), BEGAN.replace(second=8))
    (only,) = some.recordings
    assert (only.asset, only.since) == ("y", BEGAN.replace(second=2))
    assert only.windows[0, 0, 0] == 102
    assert some.digest() != found.digest()
    with pytest.raises(BadRecording, match="no frame of z"):
        from_parquet(topic, "s.v1", SPEC, ["z"])
    with pytest.raises(BadRecording, match=r"no frame with other\.v1"):
        from_parquet(topic, "other.v1", SPEC, [])


def test_csv_files_are_recordings_whatever_separates_their_values(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("t,b,a\n0,2,1\n1,4,3\n2,6,5\n3,8,7\n4,10,9\n")
    (tmp_path / "two.csv").write_text("t;a;b\n0;1;2\n1;3;4\n2;5;6\n")
    found = from_csv([tmp_path / "one.csv", tmp_path / "two.csv"], "s.v1", SPEC)
    assert [len(one.windows) for one in found.recordings] == [2, 1]
    assert found.recordings[0].windows[1].tolist() == [[5, 6], [7, 8], [9, 10]]
    assert len(from_csv([tmp_path / "one.csv"], "s.v1", SPEC, rows=4).recordings[0].windows) == 1
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n1,x\n")
    with pytest.raises(BadRecording, match=r"bad\.csv, line 3: not a number"):
        from_csv([tmp_path / "bad.csv"], "s.v1", SPEC)
    (tmp_path / "none.csv").write_text("a,c\n1,2\n")
    with pytest.raises(BadRecording, match="column 'b' once"):
        from_csv([tmp_path / "none.csv"], "s.v1", SPEC)
    with pytest.raises(BadRecording, match="cannot be read"):
        from_csv([tmp_path / "away.csv"], "s.v1", SPEC)


@pytest.mark.parametrize(
    ("times", "begins"),
    [
        ("00:00 00:01 00:02 00:04 00:05", [0, 3]),  # one is missing
        ("00:00 00:01 00:02 00:01 00:02", [0, 3]),  # the clock was set back
        ("00:00 00:00 00:01 00:01 00:02", [0]),  # more rows than the clock tells apart
        ("00:00 00:00 00:00 00:00 00:00", [0]),
    ],
)
def test_a_stretch_ends_where_time_jumps(tmp_path: Path, times: str, begins: list[int]) -> None:
    rows = [f"2026-01-01T00:{one},{n},{n}" for n, one in enumerate(times.split())]
    (tmp_path / "f.csv").write_text("time,a,b\n" + "\n".join(rows) + "\n")
    table = read_csv(tmp_path / "f.csv", "ab")
    assert table.begins().tolist() == begins
    assert sum(len(frame.samples) for _, frame in frames(table, 2)) == 5


def test_a_stretch_ends_where_another_part_begins(tmp_path: Path) -> None:
    rows = [f"{part},{n},{n}" for n, part in enumerate("xxxyyyyyzz")]
    (tmp_path / "f.csv").write_text("part_id,a,b\n" + "\n".join(rows) + "\n")
    assert read_csv(tmp_path / "f.csv", "ab").begins().tolist() == [0, 3, 8]
    (one,) = from_csv([tmp_path / "f.csv"], "s.v1", SPEC).recordings
    assert one.windows[:, :, 0].tolist() == [[0, 1, 2], [3, 4, 5], [5, 6, 7]]
    assert (one.since, one.until) == (None, None)


def test_a_column_of_times_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("time,a,b\n2026-01-01,1,2\nnoon,3,4\n")
    with pytest.raises(BadRecording, match=r"f\.csv, line 3: 'noon' is no time in ISO 8601"):
        from_csv([tmp_path / "f.csv"], "s.v1", SPEC)
    (tmp_path / "f.csv").write_text("time,part_id\n1,7\n2,8\n3,9\n")
    (one,) = from_csv([tmp_path / "f.csv"], "s.v1", WindowSpec(3, 1, ("time", "part_id"))).recordings
    assert one.windows[0].tolist() == [[1, 7], [2, 8], [3, 9]]  # who names them as signals has them


def test_how_windows_are_cut_is_said_or_known(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("time,part_id,p,q\n")
    said = parse([*WORDS, "new.v1", "--csv", str(tmp_path / "f.csv")])
    assert spec_of(said, (10, 1)) == WindowSpec(10, 1, ("p", "q"))
    with pytest.raises(BadRecording, match="give --window and --hop"):
        spec_of(said, None)
    assert columns_of(said) == ("p", "q")


@pytest.mark.parametrize(
    ("more", "signals", "columns"),
    [
        (["weld.v1", "--signals", "oct_depth_mm,plasma"], ("oct_depth_mm", "plasma"), WELD.spec.signals),
        (["new.v1", "--signals", "q,p"], ("q", "p"), ("q", "p")),
        (["new.v1", "--signals", "r", "--columns", "p,q,r"], ("r",), ("p", "q", "r")),
        (["new.v1", "--columns", "p,q,r"], ("p", "q", "r"), ("p", "q", "r")),
    ],
)
def test_a_model_may_learn_from_some_signals_of_a_frame(
    more: list[str], signals: tuple[str, ...], columns: tuple[str, ...]
) -> None:
    for source in ("--csv", "--parquet"):
        said = parse([*WORDS, *more, source, "f"])
        assert (spec_of(said, (10, 1)).signals, columns_of(said)) == (signals, columns)


@pytest.mark.parametrize(
    ("signals", "why"),
    [
        ("plasma,plasma", "--signals must name each signal once"),
        ("plasma,volts", r"a frame of weld\.v1 has no volts: it has plasma, window_temperature_c"),
    ],
)
def test_signals_must_be_some_of_those_of_a_frame(signals: str, why: str) -> None:
    said = parse([*WORDS, "weld.v1", "--signals", signals, "--csv", "f"])
    with pytest.raises(BadRecording, match=why):
        spec_of(said, (10, 1))


def test_windows_of_some_signals_are_those_columns_of_all(tmp_path: Path) -> None:
    topic = archived(tmp_path, [frame("x", n, n) for n in range(11)])
    found = from_parquet(topic, "s.v1", WindowSpec(3, 2, ("b",)), [], columns=("a", "b"))
    whole = from_parquet(topic, "s.v1", SPEC, [])
    assert np.array_equal(found.recordings[0].windows, whole.recordings[0].windows[:, :, 1:])
    with pytest.raises(BadRecording, match="frames of x have 2 signals, not 1: name all of them"):
        from_parquet(topic, "s.v1", WindowSpec(3, 2, ("b",)), [])
    known = parse([*WORDS, "skab.v1", "--parquet", str(tmp_path), "--hop", "5", "--set", "cap=8"])
    assert (spec_of(known, None).window, spec_of(known, None).hop, known.set) == (10, 5, [("cap", 8)])
    with pytest.raises(BadRecording, match="name them with --signals"):
        spec_of(parse([*WORDS, "new.v1", "--parquet", str(tmp_path)]), (10, 1))


def test_without_torch_it_says_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([*WORDS, "new.v1", "--csv", "f.csv"]) == 1
    assert "make install-train" in capsys.readouterr().err


def test_few_recordings_are_parted_in_time_and_many_as_a_whole() -> None:
    (one,) = parts_of([100], apart=True, calibrate=3)
    assert (one.learn, one.calibrate, one.judge) == ((0, 60), (60, 90), (90, 100))
    many = parts_of([7] * 12, apart=True, calibrate=1)
    assert [part.learn for part in many] == [(0, 7)] * 8 + [(0, 0)] * 2 + [(0, 7)] * 2
    assert (many[8].calibrate, many[9].judge) == ((0, 7), (0, 7))
    assert parts_of([5], apart=False, calibrate=1)[0].judge == (0, 5)


def test_a_card_has_the_quantiles_of_what_was_learnt_from_and_figures_with_an_interval() -> None:
    values = np.linspace(0, 1, 101, dtype=np.float32)
    table = np.stack([values, -values], axis=1)
    found = references_of(contract(window=10), [("x", Inference(10 * values, table, table))])
    assert found.pooled["score"] == pytest.approx([10 * q for q in QUANTILES])
    assert found.pooled["b"] == pytest.approx([q - 1 for q in QUANTILES])
    assert (found.windows, found.by_asset) == (10, {})  # of 101 windows of 10 rows that begin with each row
    figure = alarmed([np.arange(100) < 5, np.zeros(300, np.bool_)], "share")
    assert figure is not None
    assert figure.value == pytest.approx(5 / 400)
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low < figure.value < figure.high < 0.1
    none = alarmed([np.zeros(28, np.bool_)], "share")
    assert none is not None
    assert (none.low, none.high) == (0, pytest.approx(0.123, abs=1e-3))
    assert alarmed([np.zeros(0, np.bool_)], "share") is None


def test_a_card_has_quantiles_of_each_asset_where_there_are_several() -> None:
    def said(mean: float, count: int) -> Inference:
        values = np.full(count, mean, np.float32)
        return Inference(values, np.stack([values, -values], axis=1), np.zeros((count, 2), np.float32))

    answers = [("x", said(1, 30)), ("y", said(5, 70)), ("x", said(3, 30))]
    found = references_of(contract(hop=20), answers)
    assert (found.windows, found.by_asset["x"].windows, found.by_asset["y"].windows) == (130, 60, 70)
    assert found.by_asset["x"].quantiles["a"] == (1.0,) * 10 + (2.0,) + (3.0,) * 10
    assert set(found.by_asset["y"].quantiles["b"]) == {-5.0}
    assert found.pooled["score"][-1] == 5.0


def test_of_a_model_that_calibrates_itself_a_card_has_only_the_scores_of_each_asset() -> None:
    scores = np.concatenate([np.zeros(40), np.linspace(1, 2, 60)]).astype(np.float32)
    table = np.zeros((100, 2), np.float32)
    short = Inference(scores[:40], table[:40], table[:40])
    found = references_of(contract(quiet=40), [("x", Inference(scores, table, table)), ("short", short)])
    assert (found.pooled, found.windows, set(found.by_asset)) == ({}, 0, {"x"})
    assert found.by_asset["x"].windows == 60
    assert found.by_asset["x"].quantiles == {"score": pytest.approx([1 + q for q in QUANTILES])}


def test_a_layout_counts_its_numbers() -> None:
    layout = Layout((("count", ()), ("level", (3,)), ("rows", (3, 4))))
    assert (layout.sizes, layout.size) == ((1, 3, 12), 16)
