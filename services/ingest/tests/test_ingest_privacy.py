"""No VIN gets out: not as it is, not mistyped, however it is escaped and wherever it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from twinloop.contracts.codec import decode
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.topics import DEAD_LETTERS
from twinloop.ingest import http, signal_sets
from twinloop.ingest.intake import Fate, Intake, Outcome
from twinloop.ingest.normalize import Ages
from twinloop.ingest.pseudonyms import names_vin, pieces, plain, pseudonym, squeezed
from twinloop.ingest.rebirths import Rebirths

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEY = b"0123456789abcdef"
VIN = "WVWZZZ1JZXW000001"
MISTYPED = "WVWZZZ1JZXWO00001"
CAR = "4711" * 8
BATTERY = signal_sets.load(None).find("vehicle.battery.v1")

letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
vins = st.builds(
    lambda maker, model, plant, number: f"{maker}{model}{plant}{number:06d}",
    st.text(letters, min_size=3, max_size=3),
    st.text(letters + "0123456789", min_size=6, max_size=6),
    st.text(letters, min_size=2, max_size=2),
    st.integers(200_000, 999_999),
)


@st.composite
def mistyped(draw: st.DrawFn) -> str:
    """A VIN, or what somebody makes of it who types it."""
    vin = draw(vins)
    at = draw(st.integers(0, 16))
    return draw(
        st.sampled_from(
            [
                vin,
                vin.lower(),
                vin.replace("0", "O").replace("1", "I"),
                vin[:at] + draw(st.sampled_from("OIQ-x7")) + vin[at + 1 :],
                vin[:at] + vin[at + 1 :],
                vin[:at] + "7" + vin[at:],
                vin[:-1] + "A",
                f" {vin}\t",
                " ".join((vin[:3], vin[3:9], vin[9:11], vin[11:])),
                "-".join((vin[:3], vin[3:9], vin[9:])),
                vin + "\n",
                vin.translate({ord(one): ord(one) + 0xFEE0 for one in letters + "0123456789"}),
            ]
        )
    )


def escaped(text: str, which: set[int]) -> str:
    """A JSON string of `text`, with the characters at `which` places as \\uXXXX."""
    parts = [f"\\u{ord(one):04x}" if at in which else json.dumps(one)[1:-1] for at, one in enumerate(text)]
    return '"' + "".join(parts) + '"'


def intake() -> Intake:
    return Intake(signal_sets.load(None), Ages(3600, 60), KEY, Rebirths(1.0))


def built(vin: str, **changed: str) -> str:
    """A vehicle's document; `vin` and what is `changed` are JSON."""
    at = (NOW - timedelta(days=200)).isoformat()
    fields = {
        "part_id": '"tab-7"',
        "station": '"acme.berlin.weld1"',
        "recipe": '"tab-a"',
        "welded_at": f'"{at}"',
        "pack_id": '"p1"',
        "module_id": '"m1"',
        "built_at": f'"{at}"',
        "more": "",
        "sequence": "17",
    } | changed
    joint = (
        '{"cell_group": 0, "resistance_uohm": 42.0, "baseline_uohm": -3.0, "baseline_se_uohm": 1.3'
        f', "part_id": {fields["part_id"]}, "station": {fields["station"]}, "recipe": {fields["recipe"]}'
        f', "sequence": {fields["sequence"]}, "welded_at": {fields["welded_at"]}}}'
    )
    modules = f'[{{"module_id": {fields["module_id"]}, "joints": [{joint}]}}]'
    packs = f'[{{"pack_id": {fields["pack_id"]}, "modules": {modules}}}]'
    return f'{{"vin": {vin}, "built_at": {fields["built_at"]}{fields["more"]}, "packs": {packs}}}'


PLACES: dict[str, Callable[[str], str]] = {
    "vin": built,
    "future": lambda vin: built(vin, built_at='"2031-01-01T00:00:00Z"'),
    "time": lambda vin: built(vin, built_at=vin),
    "number": lambda vin: built(vin, sequence=vin),
    "key": lambda vin: built(vin, more=f", {vin}: 1"),
    "another field": lambda vin: built('"unknown"', more=f', "Vin ": {vin}'),
    "nested": lambda vin: built(f'{{"value": [{vin}]}}'),
    "below": lambda vin: built('"?"', more=f', "vehicle": {{"vin": {vin}}}'),
    "list": lambda vin: built(f"[{vin}, 1]"),
    "twice": lambda vin: built(f'{vin}, "vin": "{VIN}"'),
    "twice, the other way": lambda vin: built(f'"{VIN}", "vin": {vin}'),
    "instead of packs": lambda vin: (
        f'{{"vin": {vin}, "built_at": {vin}, "packs": [{vin}, {{"modules": {vin}}}]}}'
    ),
    "cut off": lambda vin: built(vin)[:-3],
    "nothing else": lambda vin: vin,
    "in a batch": lambda vin: f'{{"vehicles": {built(vin)}}}',
    "of another kind": lambda vin: f'{{"vehicles": [{built(vin)}], "frames": {vin}}}',
    **{
        f"{name} too": lambda vin, name=name: built(vin, **{name: vin})
        for name in ("part_id", "station", "recipe", "pack_id", "module_id")
    },
    **{
        f"within {name}": lambda vin, name=name: built(vin, **{name: f'"pack.x{vin[1:-1]}y"'})
        for name in ("part_id", "station", "recipe", "pack_id")
    },
}
KNOWN = pieces(built(f'"{pseudonym(VIN, KEY)}"', more="recipe packs modules vehicles refused characters"))


def everything(outcome: Outcome) -> str:
    """All that gets out of ingest of an input: records, what is logged, and what is answered."""
    said = [outcome.refused.detail if outcome.refused else "", outcome.event_id, outcome.vehicle]
    for one in outcome.messages:
        said += [repr(one.headers), one.key.decode(), one.value.decode(errors="replace")]
        if one.topic is DEAD_LETTERS:
            letter = decode(DEAD_LETTERS, one.value)
            said += [letter.source, letter.detail, letter.asset, letter.payload.decode(errors="replace")]
    return "\n".join(said)


def leaked(vin: str, outcome: Outcome) -> set[str]:
    """Eight characters in a row of `vin`, with a letter, that got out."""
    every = squeezed(plain(everything(outcome).encode())).replace("\n", "")
    return {one for one in pieces(vin) if one in every}


@settings(deadline=None)
@given(
    mistyped() | st.text(min_size=1, max_size=40),
    st.sampled_from(sorted(PLACES)),
    st.sets(st.integers(0, 40)),
)
@example(MISTYPED, "vin", set())
@example(VIN, "future", {0})
@example("WVW ZZZ 1JZ XW 000001", "pack_id too", set())
@example("WVWZZZ1JZXW000001", "within part_id", set())
@example("ldj000000aa200000", "within station", set())
def test_of_a_vehicles_document_no_vin_gets_out(vin: str, place: str, escapes: set[int]) -> None:
    assume(not pieces(vin) & KNOWN)
    assume(place != "key" or not vin.replace("_", "").isalpha())  # a word without digits is a field's name
    document = PLACES[place](escaped(vin, escapes)).encode(errors="surrogatepass")
    for one in (
        intake().built(document, NOW),
        *[
            decide(NOW)
            for decide in http._inputs(document, http._BUILT.decode, intake().built, intake().no_vehicles)[0]
        ],
    ):
        assert leaked(vin, one) == set()


@settings(deadline=None)
@given(mistyped(), st.sampled_from(sorted(PLACES)), st.sets(st.integers(0, 40)))
@example(MISTYPED, "of another kind", set())
def test_nor_of_one_that_was_sent_where_telemetry_belongs(vin: str, place: str, escapes: set[int]) -> None:
    assume(not pieces(vin) & KNOWN)
    document = PLACES[place](escaped(vin, escapes)).encode()
    outcomes = [intake().http(document, NOW), intake().mqtt(f"vehicles/{CAR}/telemetry", document, NOW)]
    assert [leaked(vin, one) for one in outcomes] == [set(), set()]
    outcome = intake().no_frames(document, ValueError("no frames"), NOW)
    assert leaked(vin, outcome) == set()


def telemetry(**changed: Any) -> bytes:
    told = {
        "signal_set": BATTERY.name,
        "sequence": 1,
        "first_at": NOW.isoformat(),
        "period_us": 1_000_000,
        "signals": {name: [1.0, 2.0] for name in BATTERY.columns},
    } | changed
    return json.dumps(told).encode()


@settings(deadline=None)
@given(mistyped().filter(lambda one: not set(one) & set("/+#\n\t")), st.booleans())
@example(MISTYPED, True)
@example("WVWZZZ1JZXW00001", True)
@example("WVWZZZ1JZXW001", True)
def test_a_vehicle_sends_under_a_pseudonym_or_not_at_all(vin: str, by_mqtt: bool) -> None:
    for body in (telemetry(), telemetry(part_id=vin), telemetry(vehicle=vin), b'{"part_id": ' + vin.encode()):
        if by_mqtt:
            outcome = intake().mqtt(f"vehicles/{vin}/telemetry", body, NOW)
        else:
            outcome = intake().http(telemetry(vehicle=vin), NOW)
        assert outcome.fate is Fate.DEAD_LETTER
        assert leaked(vin, outcome) == set()
    [letter] = [
        decode(DEAD_LETTERS, one.value)
        for one in intake().mqtt(f"vehicles/{vin}/telemetry", b"", NOW).messages
    ]
    assert letter.source == f"vehicles/{pseudonym(vin, KEY)}/telemetry"


@settings(deadline=None)
@given(mistyped(), st.sets(st.integers(0, 40)), st.booleans())
@example(VIN, {0}, False)
@example(MISTYPED, set(), False)
def test_nor_does_it_name_one_in_what_it_sends(vin: str, escapes: set[int], spoilt: bool) -> None:
    text = escaped(vin, escapes).encode()
    body = telemetry(part_id="?").replace(b'"?"', text)
    for one in (body, body.replace(b"part_id", text[1:-1]), body.replace(b"CurrentCurrent", text[1:-1])):
        sent = one.replace(b"1.0", b"NaN") if spoilt else one
        outcome = intake().mqtt(f"vehicles/{CAR}/telemetry", sent, NOW)
        assert leaked(vin, outcome) == set()


def test_a_frame_under_a_pseudonym_is_taken_and_a_bad_one_is_kept_as_it_came() -> None:
    one = intake()
    bad = telemetry(first_at=(NOW - timedelta(hours=2)).isoformat())
    refused = one.mqtt(f"vehicles/{CAR}/telemetry", bad, NOW)
    [letter] = [decode(DEAD_LETTERS, record.value) for record in refused.messages]
    assert (letter.reason, letter.payload) == (Reason.TOO_OLD, bad)
    assert letter.source == f"vehicles/{CAR}/telemetry"
    assert "s old" in letter.detail
    assert one.mqtt(f"vehicles/{CAR}/telemetry", telemetry(), NOW).fate is Fate.FRAME


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_another_encoding_hides_nothing(encoding: str) -> None:
    wide = telemetry(part_id=VIN).decode().encode(encoding)
    [letter] = [
        decode(DEAD_LETTERS, one.value)
        for one in intake().mqtt(f"vehicles/{CAR}/telemetry", wide, NOW).messages
    ]
    assert letter.payload == b""
    [letter] = [
        decode(DEAD_LETTERS, one.value)
        for one in intake().built(built(f'"{VIN}"').encode(encoding), NOW).messages
    ]
    assert letter.payload == b""


@pytest.mark.parametrize(
    ("name", "vin", "gives_away"),
    [
        ("module-000000-0", "TWNABCDEFE0000000", False),  # an E and zeros
        ("module-000123-4", "TWNABCDEFE0000123", False),
        ("part XW000123", "WVWZZZ1JZXW000123", True),
        ("1jzxw-0001 of 12", "WVWZZZ1JZXW000123", True),
    ],
)
def test_a_number_with_zeros_is_no_piece_of_a_vin(name: str, vin: str, *, gives_away: bool) -> None:
    assert names_vin(name, pieces(vin)) is gives_away
