"""How far the last rows are from everything that was heard before, beside how far they have been lately.

For telemetry that repeats itself (left-discord distance: Lu et al. 2022, Matrix profile XXIV, KDD). All that
it knows of an asset lies in its memory, with the asset's last `history` rows: what is new becomes known by
itself.

- S_m(t), for m of `LENGTHS`: the least root mean square distance of the last m rows to m rows that ended
  within the last `history` rows and at least m rows ago, without a gap in them. Of a window counts the
  largest one of its last `hop` rows, by signal.
- M_m: the largest S_m of the last `record_rows` rows, into which one enters `lag_rows` after it was seen, and
  only if there was no alarm then and is none now: otherwise what rises slowly would raise its own limit.
- z = the largest S_m / (`ratio`·M_m + `margin`), over lengths and signals; signals are scaled to half of the
  range of what was learnt from.
- The alarm is on when z > 1, and off once z < `clear` for `clear_rows` or after `longest_rows`. There is none
  in the first `quiet_rows` after a gap, nor until `calibration_rows` have entered M.

A gap is seen by the window itself: its older rows are not the newest ones of the history.
A thousand assets in one request take 0.8 GB while it is answered, on a CPU.
The score is z, at most 1 while the alarm is off and above 1 while it is on; 0 where there is no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import torch
from torch import Tensor

from twinloop.features.windows import WindowSpec
from twinloop.trainer.errors import UnfitData
from twinloop.trainer.training.detectors.base import (
    Answer,
    Detector,
    Settings,
    calibrates_on,
    choose,
    either,
    finite,
    rows_in_windows,
)
from twinloop.trainer.training.layout import Layout

LENGTHS: Final = (10, 30, 100)
BLOCK_ROWS: Final = 50
SHIFT, NOTHING_BELOW = 16.0, 4.0
"""A row is kept as its value + SHIFT, so that 0 stands for none."""
FARTHEST = 8.0
"""In half ranges: a value farther away than this counts as if it were there."""
_SAME = 1e-4
_NO_WINDOW = 1e6


class Novelty(Detector):
    """See above."""

    DEFAULTS: ClassVar[Settings] = {
        "history": 4000,
        "record_rows": 5000,
        "lag_rows": 200,
        "ratio": 1.5,
        "margin": 0.04,
        "clear": 0.7,
        "clear_rows": 10,
        "longest_rows": 300,
        "quiet_rows": 250,
        "calibration_rows": 700,
    }
    WINDOW = (110, 10)

    def __init__(self, spec: WindowSpec, settings: Settings) -> None:
        super().__init__(spec, settings)
        if spec.window != LENGTHS[-1] + spec.hop or BLOCK_ROWS % spec.hop:
            raise UnfitData(
                f"a window must be {LENGTHS[-1]} rows and a hop, and {BLOCK_ROWS} rows whole hops"
            )
        signals = len(spec.signals)
        self.features = tuple(f"{one}.last" for one in spec.signals)
        enters = self.number("calibration_rows") + self.number("lag_rows") + spec.window
        self.quiet = rows_in_windows(enters, spec)
        self.reach = int(self.number("history"))
        self.kept = self.reach + LENGTHS[-1]
        self.layout = Layout(
            (
                ("since", ()),
                ("learnt", ()),
                ("on", ()),
                ("calm", ()),
                ("lasted", ()),
                ("in_block", ()),
                ("rows", (signals, self.kept)),
                ("late", (signals, len(LENGTHS), int(self.number("lag_rows")) // spec.hop)),
                ("record", (signals, len(LENGTHS), int(self.number("record_rows")) // BLOCK_ROWS)),
                ("block", (signals, len(LENGTHS))),
            )
        )
        self.limits = (
            calibrates_on(self.number("calibration_rows")),
            f"no verdict on {int(self.number('quiet_rows'))} rows after a gap",
            f"an alarm ends after {int(self.number('longest_rows'))} rows: then it is known",
            f"a verdict every {spec.hop} rows; each keeps {self.layout.size * 4 // 1024} KiB of its asset",
        )
        self.register_buffer("centre", torch.zeros(signals))
        self.register_buffer("half_range", torch.ones(signals))
        self.limit.fill_(1.0)

    def learn(self, recordings: Sequence[Tensor]) -> None:
        """The range of each signal."""
        finite(recordings)
        some = [one for one in recordings if len(one)]
        low = torch.stack([one.amin(dim=(0, 1)) for one in some]).amin(dim=0)
        high = torch.stack([one.amax(dim=(0, 1)) for one in some]).amax(dim=0)
        self.centre.copy_((low + high) / 2)
        self.half_range.copy_(((high - low) / 2).clamp_min(1e-9))

    def forward(self, windows: Tensor, memory: Tensor) -> Answer:
        """See `Detector`. `features`: the last values; `deviations`: z of each signal."""
        was = self.unpack(memory)
        rows, gap = self._rows(windows, was["rows"])
        since = choose(gap, torch.full_like(was["since"], self.spec.window), was["since"] + self.spec.hop)
        since = since.clamp(max=1e6)
        distance = self._distances(rows)
        largest = torch.maximum(was["record"].amax(dim=3), was["block"])
        by_signal = (distance / (self.number("ratio") * largest + self.number("margin"))).amax(dim=2)
        z = by_signal.amax(dim=1, keepdim=True)
        judged = (since > self.number("quiet_rows") - 0.5) & (
            was["learnt"] * self.spec.hop > self.number("calibration_rows") - 0.5
        )
        now = dict(was, rows=rows[:, :, self.spec.hop :], since=since)
        on = self._alarm(was, now, z, judged)
        self._record(was, now, distance, on)
        score = choose(on, z + 1.001, z.clamp(max=1.0))
        score = choose(judged, score, torch.zeros_like(score)).squeeze(1)
        return score, windows[:, -1], by_signal, self.pack(now)

    def _rows(self, windows: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The last rows [N, signals, kept + hop], and whether there was a gap before this window [N, 1].

        Across a gap all rows of the window are new, and one that is none stands before them.
        """
        hop, older = self.spec.hop, self.spec.window - self.spec.hop
        value = ((windows - self.centre) / self.half_range).clamp(-FARTHEST, FARTHEST).transpose(1, 2) + SHIFT
        off = (kept[:, :, self.kept - older :] - value[:, :, :older]).abs().amax(dim=(1, 2))
        gap = (off > _SAME).unsqueeze(1)
        on = torch.cat([kept, value[:, :, older:]], dim=2)
        none = torch.zeros_like(value[:, :, :1])
        begun = torch.cat([kept[:, :, self.spec.window + 1 - hop :], none, value], dim=2)
        return choose(gap.unsqueeze(2), begun, on), gap

    def _distances(self, rows: Tensor) -> Tensor:
        """S [N, signals, lengths], of `rows` [N, signals, kept + hop].

        The distance at one row follows from that at the row before: what leaves the m rows is taken off, what
        enters is added (the diagonals of a matrix profile).
        """
        missing = rows < NOTHING_BELOW
        value = torch.where(missing, torch.zeros_like(rows), rows - SHIFT)
        end, reach = rows.shape[2], self.reach
        # Of every row, how many up to it are none.
        gaps = torch.cumsum(missing.to(rows.dtype), dim=2)

        # Of each row back from the last one: (x(t - back) - x(t - back - lag))² for lag = reach, …, 1.
        apart = []
        for back in range(LENGTHS[-1] + self.spec.hop - 1):
            at = end - 1 - back
            off = value[:, :, at : at + 1] - value[:, :, at - reach : at]
            apart.append(off * off)
        found, sums = [], dict[int, Tensor]()
        total = apart[0]
        for back in range(1, LENGTHS[-1]):
            total = total + apart[back]
            if back + 1 in LENGTHS:
                sums[back + 1] = total
        for length in LENGTHS:
            broken = (gaps[:, :, length:] - gaps[:, :, : end - length]) * _NO_WINDOW  # from row `length` on
            most = torch.zeros_like(value[:, :, 0])
            here = sums[length]
            for back in range(self.spec.hop):
                if back:
                    here = (here - apart[back - 1] + apart[back + length - 1]).clamp_min(0.0)
                first = end - 1 - back - reach - length
                ok = broken[:, :, first : first + reach - length + 1]
                least = (here[:, :, : reach - length + 1] + ok).amin(dim=2)
                known = least < _NO_WINDOW / 2
                most = torch.maximum(most, choose(known, torch.sqrt(least / length), torch.zeros_like(least)))
            found.append(most)
        return torch.stack(found, dim=2)

    def _alarm(self, was: dict[str, Tensor], now: dict[str, Tensor], z: Tensor, judged: Tensor) -> Tensor:
        """Whether the alarm is on [N, 1]."""
        was_on = was["on"] > 0.5
        nothing = torch.zeros_like(z)
        calm = choose(was_on & (z < self.number("clear")), was["calm"] + 1, nothing)
        lasted = choose(was_on, was["lasted"] + 1, nothing)
        hop = self.spec.hop
        ended = (calm * hop > self.number("clear_rows") - 0.5) | (
            lasted * hop > self.number("longest_rows") - 0.5
        )
        on = judged & either(was_on, ~ended, z > 1)
        now["calm"], now["lasted"] = choose(on, calm, nothing), choose(on, lasted, nothing)
        now["on"] = on.to(z.dtype)
        return on

    def _record(self, was: dict[str, Tensor], now: dict[str, Tensor], distance: Tensor, on: Tensor) -> None:
        """Bring M up to date. What waits to enter is kept + 1, so that 0 stands for what must not."""
        wide = on.unsqueeze(2)
        waits = choose(wide, torch.zeros_like(distance), distance + 1)
        old = was["late"][:, :, :, 0]
        now["late"] = torch.cat([was["late"][:, :, :, 1:], waits.unsqueeze(3)], dim=3)
        block = choose(wide, was["block"], torch.maximum(was["block"], old - 1))
        enters = (~on) & (old[:, 0, :1] > 0.5)
        now["learnt"] = (was["learnt"] + enters.to(block.dtype)).clamp(max=1e6)
        in_block = was["in_block"] + (~on).to(block.dtype)
        full = in_block > BLOCK_ROWS / self.spec.hop - 0.5
        later = torch.cat([was["record"][:, :, :, 1:], block.unsqueeze(3)], dim=3)
        now["record"] = choose(full.unsqueeze(2).unsqueeze(3), later, was["record"])
        now["block"] = choose(full.unsqueeze(2), torch.zeros_like(block), block)
        now["in_block"] = choose(full, torch.zeros_like(in_block), in_block)
