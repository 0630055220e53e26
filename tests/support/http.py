"""Questions to services of ours, over plain HTTP."""

from __future__ import annotations

import ssl

import httpx

_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: without it, each client would read all certificates of the machine first."""

HTTP = httpx.Client(timeout=20, verify=_NOBODY, limits=httpx.Limits(max_keepalive_connections=0))
"""For one question after the other. A service may stand still for long, and may be another one at the same
port, so no connection is kept."""


def asking(timeout_s: float) -> httpx.AsyncClient:
    """For a few."""
    return httpx.AsyncClient(timeout=timeout_s, verify=_NOBODY)
