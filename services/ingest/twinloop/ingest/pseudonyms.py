"""Vehicle identification numbers: how to recognise one, and what stands in its place.

ISO 3779: 17 characters, digits and capital letters without I, O and Q, the last four of them digits. Only
North America (first character 1 to 5) makes the ninth character a check digit (49 CFR 565.15); European
numbers have none, and a number with one wrong character is still somebody's. So the check digit never lets
anything through: it only tells an operator how sure the finding is.

Who types a VIN mistypes it, too, and what he typed is still nearly somebody's. So where a name stands that
people give (`names_vin`), and in what is kept of refused input (`may_hold_vin`), more counts than the shape.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from typing import Final

_LETTERS: Final = "A-HJ-NPR-Za-hj-npr-z"
_SHAPE: Final = rf"(?=[0-9]*[{_LETTERS}])[{_LETTERS}0-9]{{13}}[0-9]{{4}}"
# At least one letter: no number that is written as Python or JavaScript write them has this shape.
_VIN: Final = re.compile(rf"(?<![A-Za-z0-9]){_SHAPE}(?![A-Za-z0-9])".encode())
_MIXED: Final = r"(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])"
_NEARLY: Final = re.compile(rf"(?<![A-Za-z0-9]){_MIXED}[A-Za-z0-9]{{17}}(?![A-Za-z0-9])")
_LONG: Final = re.compile(rf"(?<![A-Za-z0-9]){_MIXED}[A-Za-z0-9]{{15,}}")
_HARMLESS: Final = re.compile(r"[0-9a-f]{32}|[0-9]+[eE][0-9]+")
_PSEUDONYM: Final = re.compile(r"[0-9a-f]{32}")
_TOKEN: Final = re.compile(r'[^",:\[\]{}]+')
_NUMBER: Final = re.compile(r"\s*-?[0-9.]+([eE][+-]?[0-9]+)?\s*")
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SQUEEZED: Final = re.compile(r"[^A-Z0-9\n]")
_PIECE: Final = 8
_KINDS: Final = 4

_VALUE: Final = {
    **{str(digit): digit for digit in range(10)},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    "P": 7,
    "R": 9,
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),
}
_WEIGHT: Final = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def contains_vin(data: bytes) -> bool:
    """True when a run of characters in `data` has the shape of a VIN, in capitals or not."""
    return _VIN.search(data) is not None


def is_vin(text: str) -> bool:
    """True when all of `text` has the shape of a VIN."""
    return _VIN.fullmatch(text.encode()) is not None


def certainty(data: bytes) -> str:
    """What the check digit says about the first VIN in `data`, for an operator."""
    found = _VIN.search(data)
    if found is None:
        return "no VIN"
    vin = found.group().decode().upper()
    if vin[0] not in "12345":
        return "VIN-shaped; outside of North America there is no check digit"
    return "VIN with a right check digit" if check_digit(vin) == vin[8] else "VIN-shaped; wrong check digit"


def check_digit(vin: str) -> str:
    """The check digit (49 CFR 565.15) of 17 capitals and digits; its own place, the ninth, has weight 0."""
    remainder = sum(weight * _VALUE[char] for weight, char in zip(_WEIGHT, vin, strict=True)) % 11
    return "X" if remainder == 10 else str(remainder)


def pseudonym(vin: str, key: bytes) -> str:
    """HMAC-SHA256 of the VIN in capitals, 32 hexadecimal digits: the same vehicle, the same pseudonym."""
    return hmac.new(key, vin.upper().encode(), hashlib.sha256).hexdigest()[:32]


def is_pseudonym(text: str) -> bool:
    """True when `text` has the shape of what `pseudonym` makes."""
    return _PSEUDONYM.fullmatch(text) is not None


def plain(data: bytes) -> str:
    """What a person reads in JSON: no escapes, no NULs, and no wide or other special forms of characters."""
    text = data.decode(errors="replace").replace("\0", "")
    if "\\" in text:
        halves = _ESCAPE.sub(_unescaped, text).encode("utf-16-le", "surrogatepass")
        text = halves.decode("utf-16-le", "replace").replace("\0", "")
    return text if text.isascii() else unicodedata.normalize("NFKD", text)


def squeezed(text: str) -> str:
    """The ASCII letters (as capitals) and digits of `text`, line by line; nothing else."""
    return _SQUEEZED.sub("", unicodedata.normalize("NFKD", text).upper())


def pieces(text: str) -> frozenset[str]:
    """Every eight characters in a row of `text`, squeezed, that give it away: with a letter, and at least
    four kinds of characters among them, for a letter and zeros begin the number of many a part."""
    whole = squeezed(text).replace("\n", "")
    every = {whole[at : at + _PIECE] for at in range(len(whole) - _PIECE + 1)}
    return frozenset(one for one in every if not one.isdigit() and len(set(one)) >= _KINDS)


def names_vin(text: str, own: frozenset[str] = frozenset()) -> bool:
    """True when one of the names in `text`, one a line, is a VIN, nearly one, or has a piece of one's `own`.

    Nearly: 17 letters and digits with an I, O or Q, or with letters at the end.
    """
    if _NEARLY.search(text if text.isascii() else unicodedata.normalize("NFKD", text)):
        return True
    every = squeezed(text)
    return any(piece in every for piece in own)


def may_hold_vin(text: str) -> bool:
    """True when `text` has a run of 15 or more letters and digits that is no pseudonym, word or number."""
    return any(not _HARMLESS.fullmatch(run) for run in _LONG.findall(text))


def spells_vin(text: str) -> bool:
    """True when a text in JSON is, squeezed, 15 to 19 letters and digits, at least three of them digits."""
    tokens = (squeezed(one) for one in _TOKEN.findall(text) if not _NUMBER.fullmatch(one))
    return any(
        15 <= len(one) <= 19 and not one.isdigit() and sum(map(str.isdigit, one)) >= 3 for one in tokens
    )


def mask(data: bytes, key: bytes) -> bytes:
    """`data` with every VIN replaced by its pseudonym."""
    return _VIN.sub(lambda found: pseudonym(found.group().decode(), key).encode(), data)


def _unescaped(found: re.Match[str]) -> str:
    which = found.group(1)
    if len(which) > 1:
        return chr(int(which[1:], 16))
    return " " if which in "bfnrt" else which
