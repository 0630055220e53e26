"""Reading a store again, piece by piece, while its writer lives: what was changed in place is noticed.

A writer that continues a chain looks at its end alone; the whole of it is long. A piece a second is little
work, and a day of entries is gone through within minutes.
"""

from __future__ import annotations

from typing import Final

from twinloop.audit.chain import verify
from twinloop.audit.store import AuditStore
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_PIECE_BYTES: Final = 128 * 1024


class Patrol:
    """Of one chain. `broken`: something was found that is not as it was written, in this round or the one
    before."""

    def __init__(self, chain: str) -> None:
        self.broken = False
        self._chain = chain
        self._offset = 0
        self._found = False
        self._store: AuditStore | None = None

    def step(self, store: AuditStore | None) -> None:
        """Read the next piece; nothing while the store is away. Begins anew when it was opened again."""
        if store is not self._store:
            self._store, self._offset, self._found = store, 0, False
        if store is None:
            return
        try:
            data = store.read(self._offset, _PIECE_BYTES)
        except OSError:
            return  # the store will say that it is away
        *lines, rest = data.split(b"\n")
        problems = [one.text for one in verify(lines, self._chain, whole=self._offset == 0)]
        problems += ["a line has lost its end"] if rest else []
        if problems and not self._found:
            self._found = self.broken = True
            log.error("the audit store is not as it was written", chain=self._chain, problem=problems[0])
        if self._offset + len(data) >= store.size:
            self.broken, self._offset, self._found = self._found, 0, False
        else:  # the last line is read again, as what the next one follows
            self._offset += len(data) - (len(lines[-1]) + 1 if len(lines) > 1 and not rest else 0)
