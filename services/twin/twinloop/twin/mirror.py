"""The shadows of the assets decided about here, and which of them changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twinloop.twin.calibration import Joints
from twinloop.twin.ledger import Ledger
from twinloop.twin.shadow import InFlight, ShadowOf, shadow_of


class Mirror:
    """`waits_for` tells why a person decides about a change."""

    def __init__(
        self,
        ledger_of: Callable[[str], Ledger | None],
        joints: Joints,
        waits_for: Callable[[str], str | None],
    ) -> None:
        self._ledger_of = ledger_of
        self._joints = joints
        self._waits_for = waits_for
        self._told: dict[str, ShadowOf] = {}

    def shadow(self, asset: str) -> ShadowOf | None:
        """The shadow as it is now; `None` for an asset that is not decided about here."""
        ledger = self._ledger_of(asset)
        if ledger is None:
            return None
        change = ledger.in_flight(asset)
        flight = None
        if change is not None:
            change_id = change.proposed.change_id
            flight = InFlight(change_id, change.state, self._waits_for(change_id))
        return shadow_of(
            asset, ledger.shadow(asset), ledger.governance(asset), flight, self._joints.newest(asset)
        )

    def changed(self, assets: Iterable[str]) -> list[ShadowOf]:
        """Of `assets`, the shadows that are other than when they were last told."""
        changed = []
        for asset in assets:
            shadow = self.shadow(asset)
            if shadow is None:
                self._told.pop(asset, None)
            elif shadow.differs(self._told.get(asset)):
                self._told[asset] = shadow
                changed.append(shadow)
        return changed
