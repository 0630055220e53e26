"""Deterministic identifiers: the same fact gets the same id, so a replay is harmless downstream."""

from __future__ import annotations

import hashlib
import uuid

_NAMESPACE = uuid.UUID("5f1c1c0e-7d3a-5b52-9d0f-3c1d8f4f7f10")


def event_id(kind: str, *parts: object) -> str:
    """UUID version 5 of `kind` and the parts that make the fact unique, such as asset and sequence."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join([kind, *map(str, parts)])))


def trace_id(*parts: object) -> str:
    """W3C trace id (32 hexadecimal digits) of the journey that starts with this fact."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]
