"""Which frames of a sequence are new: a gate over what each asset was heard to say lately. Pure.

*Lately* are the last `memory` offsets of the partition. Of the frames of one asset heard at offsets in
[f - memory, f), the frame at offset f is

- `NEW`, when its sequence is above all of theirs, or there are none;
- else a `DUPLICATE`, when one of them has its sequence and that is among the last `REMEMBERED`;
- else `OUT_OF_ORDER`, also a counter that began anew, until what it said before is forgotten.

So the gate is a function of the log alone, and of a bounded stretch of it: whoever reads again from `oldest`
judges every later frame alike, whatever was read before.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

REMEMBERED: Final = 32
"""How many sequence numbers, from the highest down, are remembered one by one."""
_NEVER: Final = -1


class Order(IntEnum):
    """Where a sequence number stands among those heard."""

    NEW = 0
    DUPLICATE = 1
    OUT_OF_ORDER = 2


class SequenceGate:
    """Assets (with their signal set) are small numbers, counted from 0 by the caller.

    Frames that follow their asset's last one by 1 pass by array operations; others one by one.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._highest = np.zeros(0, np.uint64)
        # The offset at which each of the last sequences was heard last, at sequence % REMEMBERED.
        self._heard = np.full((0, REMEMBERED), _NEVER, np.int64)
        # Of assets that said something below their highest since that was heard: (offset, sequence) of each.
        self._below: dict[int, list[tuple[int, int]]] = {}
        self._count = 0
        self.stale_at = _NEVER
        """The offset of the last frame that was not new."""

    def check(self, assets: Ints, sequences: NDArray[np.uint64], offsets: Ints) -> NDArray[np.int8]:
        """The `Order` of each of `n` frames, which come in the order of their offsets; they are heard."""
        n = len(assets)
        orders = np.zeros(n, np.int8)
        if n == 0:
            return orders
        self._grow(int(assets.max()) + 1)
        by_asset = np.argsort(assets, kind="stable")
        asset, sequence, offset = assets[by_asset], sequences[by_asset], offsets[by_asset]
        first = np.empty(n, np.bool_)
        first[0] = True
        np.not_equal(asset[1:], asset[:-1], out=first[1:])
        before = np.where(first, self._highest[asset], np.roll(sequence, 1))
        smooth = (sequence == before + np.uint64(1)) & (sequence > 0)
        smooth |= first & ~self._known(asset)
        if self._below:
            smooth &= ~np.isin(asset, list(self._below))
        if not smooth.all():
            rough = np.isin(asset, asset[~smooth])
            slow = np.sort(by_asset[rough])
            orders[slow] = self._one_by_one(assets[slow], sequences[slow], offsets[slow])
            if (stale := slow[orders[slow] != Order.NEW]).size:
                self.stale_at = int(offsets[stale[-1]])
            asset, sequence, offset = asset[~rough], sequence[~rough], offset[~rough]
        if len(asset):
            self._heard[asset, (sequence % np.uint64(REMEMBERED)).astype(np.intp)] = offset
            self._highest[asset] = sequence  # of several, the last one stays
        return orders

    def check_one(self, asset: int, sequence: int, offset: int) -> Order:
        """The same for one frame."""
        self._grow(asset + 1)
        return self._judge(asset, sequence, offset)

    def oldest(self, position: int) -> int | None:
        """The oldest offset that a gate must hear to judge all from `position` on as this one would.

        `None` when it needs none. Never more than `memory` before `position`.
        """
        horizon = position - self._memory
        heard = self._heard[: self._count]
        needed = [at for strays in self._below.values() for at, _ in strays if at >= horizon]
        lately = heard[heard >= max(horizon, 0)]
        if len(lately):
            needed.append(int(lately.min()))
        return min(needed, default=None)

    def _known(self, asset: Ints) -> NDArray[np.bool_]:
        """Whether the highest of each was ever heard."""
        place = (self._highest[asset] % np.uint64(REMEMBERED)).astype(np.intp)
        known: NDArray[np.bool_] = self._heard[asset, place] != _NEVER
        return known

    def _one_by_one(self, assets: Ints, sequences: NDArray[np.uint64], offsets: Ints) -> list[Order]:
        frames = zip(assets.tolist(), sequences.tolist(), offsets.tolist(), strict=True)
        return [self._judge(*one) for one in frames]

    def _judge(self, asset: int, sequence: int, offset: int) -> Order:
        horizon = offset - self._memory
        heard = self._heard[asset]
        highest = int(self._highest[asset])
        last = int(heard[highest % REMEMBERED])
        if last != _NEVER and last < horizon:
            self._forget_highest(asset, horizon)
            highest = int(self._highest[asset])
            last = int(heard[highest % REMEMBERED])
        if last == _NEVER or sequence > highest:
            self._raise(asset, highest if last != _NEVER else None, sequence, offset)
            return Order.NEW
        if sequence == highest:
            heard[sequence % REMEMBERED] = offset
            self._below.pop(asset, None)
            return Order.DUPLICATE
        below = self._below.setdefault(asset, [])
        if below and below[0][0] < horizon:
            below[:] = [one for one in below if one[0] >= horizon]
        below.append((offset, sequence))
        if highest - sequence >= REMEMBERED:
            return Order.OUT_OF_ORDER
        place = sequence % REMEMBERED
        order = Order.DUPLICATE if heard[place] >= max(horizon, 0) else Order.OUT_OF_ORDER
        heard[place] = offset
        return order

    def _raise(self, asset: int, highest: int | None, sequence: int, offset: int) -> None:
        """`sequence` is the highest now; those between were not heard."""
        heard = self._heard[asset]
        if highest is None or sequence - highest >= REMEMBERED:
            heard[:] = _NEVER
        else:
            heard[[n % REMEMBERED for n in range(highest + 1, sequence)]] = _NEVER
        heard[sequence % REMEMBERED] = offset
        self._highest[asset] = sequence
        self._below.pop(asset, None)

    def _forget_highest(self, asset: int, horizon: int) -> None:
        """The highest was heard too long ago: the highest of what was heard since takes its place."""
        strays = [one for one in self._below.pop(asset, ()) if one[0] >= horizon]
        heard = self._heard[asset]
        heard[:] = _NEVER
        if not strays:
            return
        highest = max(sequence for _, sequence in strays)
        self._highest[asset] = highest
        for offset, sequence in strays:
            if highest - sequence < REMEMBERED:
                heard[sequence % REMEMBERED] = offset
        since = heard[highest % REMEMBERED]
        if left := [one for one in strays if one[0] > since]:
            self._below[asset] = left

    def _grow(self, count: int) -> None:
        self._count = max(self._count, count)
        if count > len(self._highest):
            capacity = max(16, count, 2 * len(self._highest))
            highest = np.zeros(capacity, np.uint64)
            highest[: len(self._highest)] = self._highest
            heard = np.full((capacity, REMEMBERED), _NEVER, np.int64)
            heard[: len(self._heard)] = self._heard
            self._highest, self._heard = highest, heard


class NamedGate:
    """The same for who has names instead of numbers, and no log: what was heard `memory` frames ago is
    forgotten."""

    def __init__(self, memory: int = 1_000_000) -> None:
        self._gate = SequenceGate(memory)
        self._numbers: dict[tuple[str, str], int] = {}
        self._frames = 0

    def check(self, asset: str, signal_set: str, sequence: int) -> Order:
        """The `Order` of the next frame; it is heard."""
        self._frames += 1
        number = self._numbers.setdefault((asset, signal_set), len(self._numbers))
        return self._gate.check_one(number, sequence, self._frames)
