"""What becomes of one input, without a broker: names, numbers, times, files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.times import unix_ns
from twinloop.ingest import signal_sets
from twinloop.ingest.csv_source import BadRow, asset_of, csv_files, frames
from twinloop.ingest.errors import BadSource, Refused
from twinloop.ingest.intake import Fate, Intake
from twinloop.ingest.normalize import Ages, Normalized, stack
from twinloop.ingest.pseudonyms import certainty, contains_vin, mask, pseudonym
from twinloop.ingest.rebirths import Rebirths
from twinloop.sparkplug import NodeId

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SETS = signal_sets.load(None)
WELD, SKAB = SETS.find("weld.v1"), SETS.find("skab.v1")
KEY = b"0123456789abcdef"
VIN = "1M8GDM9AXKP042788"

letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
vins = st.tuples(
    st.text(alphabet=letters + "0123456789", min_size=13, max_size=13).filter(
        lambda text: any(char in letters for char in text)
    ),
    st.text(alphabet="0123456789", min_size=4, max_size=4),
).map("".join)


# ---- VINs


@given(
    vins,
    st.sampled_from(["", '{"x": "', "vehicles/", "pack."]),
    st.sampled_from(["", '"}', "/telemetry", "."]),
)
def test_a_vin_is_seen_wherever_it_stands_and_masked_completely(vin: str, before: str, after: str) -> None:
    text = (before + vin + after).encode()
    assert contains_vin(text)
    assert contains_vin(text.lower())
    for one in (text, text.lower()):
        hidden = mask(one, KEY)
        assert not contains_vin(hidden)
        assert vin.encode() not in hidden.upper()
        assert pseudonym(vin, KEY).encode() in hidden


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_no_vin(value: float) -> None:
    assert not contains_vin(json.dumps({"value": value}).encode())


@given(vins, vins, st.binary(min_size=16), st.binary(min_size=16))
def test_pseudonyms_tell_vehicles_and_keys_apart(one: str, other: str, key: bytes, second: bytes) -> None:
    assume(one.upper() != other.upper() and key != second)
    assert pseudonym(one, key) == pseudonym(one.lower(), key)
    assert len({pseudonym(one, key), pseudonym(other, key), pseudonym(one, second)}) == 3


def test_the_check_digit_only_tells_how_sure_it_is() -> None:
    assert certainty(VIN.encode()) == "VIN with a right check digit"
    assert certainty(VIN.replace("AX", "A1").encode()) == "VIN-shaped; wrong check digit"
    assert "no check digit" in certainty(b"WVWZZZ1JZXW000001")


# ---- samples


@given(st.permutations(WELD.columns), st.integers(1, 20))
def test_columns_come_in_the_order_of_the_signal_set(order: list[str], length: int) -> None:
    signals = {name: np.full(length, WELD.columns.index(name), np.float32) for name in order}
    assert (stack(WELD, signals) == np.arange(len(order), dtype=np.float32)).all()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda signals: signals.pop("plasma"), Reason.WRONG_SIGNAL_COUNT),
        (lambda signals: signals.update(more=np.ones(3)), Reason.WRONG_SIGNAL_COUNT),
        (lambda signals: signals.update(plasma=np.ones(2)), Reason.WRONG_SIGNAL_COUNT),
        (lambda signals: signals.update(plasma=["a", "b", "c"]), Reason.UNPROCESSABLE),
        (lambda signals: signals.update(plasma=np.ones((3, 1))), Reason.UNPROCESSABLE),
    ],
)
def test_what_is_no_frame_of_the_set_is_refused(spoil: Any, reason: Reason) -> None:
    signals: dict[str, Any] = {name: np.ones(3) for name in WELD.columns}
    spoil(signals)
    with pytest.raises(Refused) as refused:
        stack(WELD, signals)
    assert refused.value.reason is reason


# ---- JSON


def body(**changed: Any) -> bytes:
    given = {
        "asset": "acme.berlin.press1",
        "signal_set": "weld.v1",
        "sequence": 1,
        "first_at": NOW.isoformat(),
        "period_us": 1000,
        "signals": {name: [1.0, 2.0] for name in WELD.columns},
    }
    return json.dumps({key: value for key, value in (given | changed).items() if value is not None}).encode()


def intake() -> Intake:
    return Intake(SETS, Ages(3600, 60), KEY, Rebirths(1.0))


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (b"{", Reason.UNDECODABLE),
        (body(extra=1), Reason.UNDECODABLE),
        (body(sequence=-1), Reason.UNDECODABLE),
        (body(first_at="2030-01-01T00:00:00"), Reason.UNDECODABLE),  # no zone
        (body().replace(b"1.0", b"NaN"), Reason.UNDECODABLE),
        (body(asset=None), Reason.UNPROCESSABLE),
        (body(vehicle="4711" * 8), Reason.UNPROCESSABLE),  # two names
        (body(asset="acme berlin"), Reason.UNPROCESSABLE),
        (body(asset=f"vehicle.{VIN}"), Reason.VIN_IN_CLEAR),
        (body(asset=None, vehicle="4711" * 8, part_id=VIN), Reason.VIN_IN_CLEAR),
        (body(signal_set="nothing.v1"), Reason.UNKNOWN_SIGNAL_SET),
        (body(signals={name: [1e39] for name in WELD.columns}), Reason.NON_FINITE),
        (body(signals={name: [] for name in WELD.columns}), Reason.UNPROCESSABLE),
        (body(period_us=0), Reason.UNPROCESSABLE),
        (body(first_at=(NOW - timedelta(hours=2)).isoformat()), Reason.TOO_OLD),
        (body(first_at=(NOW + timedelta(hours=2)).isoformat()), Reason.IN_FUTURE),
    ],
)
def test_json_that_is_wrong_becomes_a_dead_letter_and_the_sequence_is_not_used_up(
    item: bytes, reason: Reason
) -> None:
    one = intake()
    outcome = one.http(item, NOW)
    assert outcome.fate is Fate.DEAD_LETTER
    assert outcome.refused is not None
    assert outcome.refused.reason is reason
    assert [message.topic.name for message in outcome.messages] == ["dead-letters"]
    assert one.http(body(), NOW).fate is Fate.FRAME


def test_what_was_sent_twice_has_one_id_and_counts_once() -> None:
    one = intake()
    first, again = one.http(body(), NOW), one.http(body(), NOW)
    assert (first.fate, again.fate) == (Fate.FRAME, Fate.DUPLICATE)
    assert first.event_id == again.event_id
    assert again.messages == []


@given(st.lists(st.integers(0, 30), max_size=40))
def test_frames_that_are_taken_ascend(sequences: list[int]) -> None:
    one = intake()
    fates = [one.http(body(sequence=n), NOW).fate for n in sequences]
    taken = [n for n, fate in zip(sequences, fates, strict=True) if fate is Fate.FRAME]
    assert taken == sorted(set(taken))
    assert all(
        fate is Fate.FRAME for n, fate in zip(sequences, fates, strict=True) if n > max(taken, default=-1)
    )


# ---- whom to ask for births


def test_a_birth_is_asked_for_at_doubling_intervals_until_it_comes() -> None:
    rebirths, node = Rebirths(1.0), NodeId("g", "n")
    rebirths.want(node, NOW)
    asked = [n for n in range(200) if rebirths.due(NOW + timedelta(seconds=n))]
    assert asked == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    rebirths.forget(node)
    assert rebirths.due(NOW + timedelta(days=1)) == []


# ---- recorded files

HEADER = "datetime;" + ";".join(SKAB.columns) + ";anomaly;changepoint"


def row(second: int, value: float = 1.0, label: int = 0) -> str:
    return f"2020-03-09 10:14:{second:02};" + ";".join([str(value)] * 8) + f";{label}.0;0.0"


def write(folder: Path, *lines: str, name: str = "1.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def read(path: Path, **options: Any) -> list[Normalized | BadRow]:
    assert SKAB.csv is not None
    return list(frames(path, SKAB, SKAB.csv, asset_of(path, "skab"), **options))


def test_a_row_is_a_frame_and_labels_are_never_sent(tmp_path: Path) -> None:
    path = write(tmp_path / "valve1", HEADER, *[row(n, float(n), label=1) for n in range(3)])
    found = [one.frame for one in read(path) if isinstance(one, Normalized)]
    assert [one.sequence for one in found] == [0, 1, 2]
    assert {one.asset for one in found} == {"skab.valve1.1"}
    assert all(one.samples.shape == (1, 8) for one in found)
    assert [float(one.samples[0, 0]) for one in found] == [0.0, 1.0, 2.0]
    assert found[1].first_at_ns == unix_ns(datetime(2020, 3, 9, 10, 14, 1, tzinfo=UTC))


@given(first=st.integers(0, 9), together=st.integers(1, 4))
def test_rows_keep_their_numbers_wherever_reading_begins(
    tmp_path_factory: pytest.TempPathFactory, first: int, together: int
) -> None:
    path = write(tmp_path_factory.mktemp("valve1"), HEADER, *[row(n, float(n)) for n in range(10)])
    whole = read(path, rows_per_frame=together)
    part = read(path, rows_per_frame=together, first_row=first)
    rows = [float(value) for one in part if isinstance(one, Normalized) for value in one.frame.samples[:, 0]]
    assert rows == [float(n) for n in range(first, 10)]
    numbers = {one.frame.sequence for one in whole if isinstance(one, Normalized)}
    assert {one.frame.sequence for one in part if isinstance(one, Normalized)} <= numbers


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row(1).replace("1.0", "x", 1), Reason.UNDECODABLE),
        (row(1).replace("1.0", "nan", 1), Reason.NON_FINITE),
        (row(1).replace("1.0", "1e99", 1), Reason.NON_FINITE),
        ("yesterday;" + row(1).partition(";")[2], Reason.UNDECODABLE),
        ("2999-01-01 00:00:00;" + row(1).partition(";")[2], Reason.IN_FUTURE),
        ('"' + "x" * 200_000, Reason.UNDECODABLE),  # longer than a CSV field may be
        (row(1) + ";1", Reason.WRONG_SIGNAL_COUNT),
    ],
)
def test_a_bad_row_is_kept_with_its_place_and_the_others_go_on(
    line: str, reason: Reason, tmp_path: Path
) -> None:
    path = write(tmp_path / "valve1", HEADER, row(0), line, row(2))
    found = read(path)
    (bad,) = [one for one in found if isinstance(one, BadRow)]
    assert (bad.refused.reason, bad.line, bad.source) == (reason, line.encode(), "valve1/1.csv:3")
    # The bad one keeps its number.
    assert [one.frame.sequence for one in found if isinstance(one, Normalized)] == [0, 2]


@pytest.mark.parametrize("header", ["", "datetime;Pressure", HEADER.replace(";", ","), HEADER + ";Pressure"])
def test_a_file_without_its_columns_is_refused_by_name(header: str, tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=r"1\.csv"):
        read(write(tmp_path / "valve1", header, row(0)))


def test_files_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10.csv", "2.csv", "notes.txt"):
        write(tmp_path, HEADER, name=name)
    assert [path.name for path in csv_files(tmp_path)] == ["2.csv", "10.csv"]
    with pytest.raises(BadSource, match=r"no .csv file"):
        csv_files(write(tmp_path / "empty", name="x.txt").parent)
