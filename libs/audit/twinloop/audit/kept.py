"""How far the topic `audit` has a file: written beside it, without fsync, because less is harmless."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Kept(msgspec.Struct, frozen=True):
    """Copies exist of all entries up to `number`, which ends at `offset` of the file and has `digest`."""

    offset: int
    number: int
    digest: str


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.kept")


def kept_of(path: Path) -> Kept | None:
    """What is written beside the store's file `path`; `None` when that is nothing readable."""
    try:
        return msgspec.json.decode(_beside(path).read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None


def keep(path: Path, kept: Kept) -> None:
    """Write it whole or not at all. Raises `OSError`."""
    aside = _beside(path).with_suffix(f".{os.getpid()}")
    aside.write_bytes(msgspec.json.encode(kept))
    aside.replace(_beside(path))
