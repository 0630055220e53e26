"""What may be kept, and said, of JSON that is refused: nothing in which a VIN could stand. Pure.

Whoever mistypes a VIN, or puts it into the wrong field, has written somebody's all the same, and no pattern
finds every one. So of a vehicle's document is kept what cannot be one: its structure, numbers, times, and
the names of parts, modules, packs, stations and recipes that look harmless. Whatever else stands there is
replaced by what kind of thing it was, and the VIN, where it is one, by its pseudonym.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from twinloop.ingest.deadletters import MAX_KEPT_BYTES
from twinloop.ingest.pseudonyms import (
    contains_vin,
    is_vin,
    mask,
    may_hold_vin,
    names_vin,
    pieces,
    plain,
    pseudonym,
    spells_vin,
)

_VIN: Final = "vin"
_PARTS: Final = frozenset({"vehicles", "packs", "modules", "joints"})
_TIMES: Final = frozenset({"built_at", "welded_at"})
_NAMES: Final = frozenset({"part_id", "station", "recipe", "pack_id", "module_id"})
_NUMBERS: Final = frozenset(
    {"cell_group", "sequence", "resistance_uohm", "baseline_uohm", "baseline_se_uohm"}
)
_FIELDS: Final = _PARTS | _TIMES | _NAMES | _NUMBERS | {_VIN}
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{5,24}([Zz]|[+-][0-9:]{4,6})?")
_WORD: Final = re.compile(r"[A-Za-z_]{1,32}")
_MOST_COMPARED: Final = 512
_MOST: Final = 2**63

_UNKNOWN: Final = "Object contains unknown field"
_PATH: Final = r"\$((\.(vehicles|frames|packs|modules|joints))|\[[0-9]{1,5}\])*"
_UNKNOWN_WORD: Final = re.compile(f"{_UNKNOWN} `{_WORD.pattern}`( - at `{_PATH}`)?")
_VIN_FIELD: Final = re.compile(r'"\s*vin\s*"', re.IGNORECASE)
_MISNAMED: Final = re.compile(
    r'"\s*vehicle\s*"\s*:(?!\s*"(?:[0-9a-f]{32})?")'
    r'|"\s*asset\s*"\s*:\s*"\s*vehicle\.(?![0-9a-f]{32}")',
    re.IGNORECASE,
)
_PACKED: Final = re.compile(rb'"samples"\s*:\s*"[A-Za-z0-9+/]{64,}={0,2}"')


def said(error: Exception) -> str:
    """What a decoder says is wrong. The name of an unknown field is repeated when it is a plain word."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = str(error)
    if text.startswith(_UNKNOWN) and not _UNKNOWN_WORD.fullmatch(text):
        return "an unknown field, whose name is not repeated: it is no plain word"
    return text


def of_vehicle(document: bytes, key: bytes) -> bytes | None:
    """What may be kept of a vehicle's document, or of a batch of them, written anew as JSON.

    `None` when that is nothing: it is no JSON, or so large that it is none. `key` is that of the pseudonyms.
    """
    if len(document) > MAX_KEPT_BYTES:
        return None
    try:
        told = msgspec.json.decode(document)
        strange = list(_strange("", told))
        compared = sum(map(len, strange)) <= _MOST_COMPARED
        own = pieces("\n".join(strange)) if compared else None
        return msgspec.json.encode(_rewritten("", told, own, key))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def of_telemetry(payload: bytes, key: bytes, *, suspect: bool) -> bytes | None:
    """What may be kept of telemetry in JSON: the bytes, with a pseudonym for each VIN.

    `None` when a VIN stands there that cannot be found in the bytes, or when it is `suspect` and something in
    it could be one that was mistyped. `key` is that of the pseudonyms.
    """
    hidden = mask(payload, key)
    text = readable(hidden)
    if _VIN_FIELD.search(text):
        return of_vehicle(payload, key)
    if contains_vin(text.encode()) or _MISNAMED.search(text):
        return None
    return None if suspect and (may_hold_vin(text) or spells_vin(text)) else hidden


def readable(payload: bytes) -> str:
    """What a person reads in `payload`, without packed samples: what he could have written a name into.

    A run of base64 has the shape of a VIN by chance, once in some hundred minutes of 98 signals.
    """
    return plain(_PACKED.sub(b'"samples":""', payload))


def _strange(name: str, told: Any) -> Iterator[str]:
    """Every text that is not kept, and every key that is none of ours."""
    match told:
        case dict():
            for key, one in told.items():
                if key not in _FIELDS:
                    yield key
                yield from _strange(key, one)
        case list():
            for one in told:
                yield from _strange(name, one)
        case str() if name not in _NAMES | _TIMES:
            yield told


def _rewritten(name: str, told: Any, own: frozenset[str] | None, key: bytes) -> Any:
    """`told`, which stands under `name`. `own`: pieces of what is not kept; `None`: too many to compare."""
    match told:
        case dict() if name in _PARTS | {""}:
            return {
                (one if one in _FIELDS or _WORD.fullmatch(one) else _left_out(one)): _rewritten(
                    one, value, own, key
                )
                for one, value in told.items()
            }
        case list() if name in _PARTS | {""}:
            return [_rewritten(name, one, own, key) for one in told]
        case bool() | None:
            return told
        case int() | float() if name in _NUMBERS and abs(told) < _MOST:
            return told
        case str() if name == _VIN and is_vin(told):
            return pseudonym(told, key)
        case str() if name in _TIMES and _TIME.fullmatch(told):
            return told
        case str() if name in _NAMES and own is not None and _harmless(told, own):
            return told
    return _left_out(told)


def _harmless(text: str, own: frozenset[str]) -> bool:
    return text.isprintable() and not names_vin(text, own) and not may_hold_vin(plain(text.encode()))


def _left_out(told: Any) -> str:
    match told:
        case str():
            return f"({len(told)} characters)"
        case dict() | list():
            return f"({len(told)} entries)"
    return "(a number)"
