"""Vehicle identification numbers: how to recognise one, and what stands in its place.

ISO 3779: 17 characters, digits and capital letters without I, O and Q, the last four of them digits. Only
North America (first character 1 to 5) makes the ninth character a check digit (49 CFR 565.15); European
numbers have none, and a number with one wrong character is still somebody's. So the check digit never lets
anything through: it only tells an operator how sure the finding is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

_LETTERS: Final = "A-HJ-NPR-Za-hj-npr-z"
_SHAPE: Final = rf"(?=[0-9]*[{_LETTERS}])[{_LETTERS}0-9]{{13}}[0-9]{{4}}"
# At least one letter, and no digit or point before it: sample values have up to 17 digits after the point.
_VIN: Final = re.compile(rf"(?<![A-Za-z0-9.]){_SHAPE}(?![A-Za-z0-9])".encode())

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


def mask(data: bytes, key: bytes) -> bytes:
    """`data` with every VIN replaced by its pseudonym."""
    return _VIN.sub(lambda found: pseudonym(found.group().decode(), key).encode(), data)
