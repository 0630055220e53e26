"""A filter that follows each signal's own slow wander, and a sum that grows while something is wrong.

For several signals of a process that stands still but for noise and drift. Everything of an asset lies in its
memory: a new asset is calibrated on its first `calibration_rows` rows and says nothing until then.

m is the mean of a window, by signal. Everything below is by signal unless it says otherwise.

- Noise R: the mean variance of m within blocks of `block_rows`. Wander κ, per window and in units of R: from
  the variogram of m at `lag_rows`, (E[(m(t + lag) - m(t))²] / R - 2) / lag. κ is the larger one of the
  asset's own and of the median over the recordings that were learnt from.
- Local level r with variance R·v (Harvey 1989, Forecasting, structural time series models, ch. 3): v grows
  by κ each window, always; then r moves by K(m - r), K = v / (v + inertia), and v shrinks to v(1 - K), unless
  the signal is held. A held signal's v grows, so a reference that is held loses credit at the pace at which
  that signal wanders: drift clears itself, a fault in a steady signal does not.
- Deviation u = (m - r) / sqrt(R(v + 1)) / e; e is the 95 % quantile of |u| in the recordings learnt from.
- Of all signals: z = sqrt(mean u⁴) / limit; limit is `sensitivity` times the 99 % quantile in those
  recordings. C = clip(C + d, 0, cap) with d = min(z, 5) - 1, times `relief` below 0 (Page 1954, Biometrika
  41). The alarm is on when C > `onset`, and off when C = 0.
- Held are signals with u² > `hold`·limit while the alarm is on, and with u² > limit when it is about to be.

The score is C, and `onset` more while the alarm is on: so it is above the threshold `onset` iff it is on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

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

UNIT, LIMIT = 0.95, 0.99
"""Quantiles of the recordings learnt from: of |u| by signal, and of all signals together."""
SETTLED = 60
"""Windows of a recording after which its deviations count: the reference has settled."""
Z_CAP = 5.0
U_CAP = 1e4
"""Beyond this a deviation is as large as can be: its fourth power is still a number."""
SAMPLES = 15
"""Means within a lag that the variogram is taken from."""


class DriftFilter(Detector):
    """See above. Needs recordings of at least `calibration_rows` rows, as of several assets as there are."""

    DEFAULTS: ClassVar[Settings] = {
        "sensitivity": 1.2,
        "calibration_rows": 400,
        "skip_rows": 30,
        "start_rows": 40,
        "block_rows": 60,
        "lag_rows": 150,
        "inertia": 200.0,
        "onset": 4.0,
        "cap": 16.0,
        "relief": 1.5,
        "hold": 0.2,
    }
    WINDOW = (10, 1)

    def __init__(self, spec: WindowSpec, settings: Settings) -> None:
        super().__init__(spec, settings)
        signals = len(spec.signals)
        self.features = tuple(f"{one}.mean" for one in spec.signals)
        self.calibration = rows_in_windows(self.number("calibration_rows"), spec)
        self.quiet = self.calibration
        self.skip = rows_in_windows(self.number("skip_rows"), spec)
        self.start = rows_in_windows(self.number("start_rows"), spec)
        self.block = int(self.number("block_rows")) // spec.hop
        self.lag = int(self.number("lag_rows")) // spec.hop
        if self.lag % SAMPLES or min(self.block, self.start) < 2:
            raise UnfitData(
                f"lag_rows must be a multiple of {SAMPLES * spec.hop}, block_rows and start_rows at least two"
                f" windows"
            )
        if self.calibration < self.skip + max(self.block, self.lag + self.lag // SAMPLES):
            raise UnfitData("calibration_rows must be more than skip_rows with block_rows, or with lag_rows")
        wide = (signals,)
        self.layout = Layout(
            (
                ("count", ()),
                ("sum", ()),
                ("on", ()),
                ("origin", wide),
                ("block_mean", wide),
                ("block_squares", wide),
                ("noise", wide),
                ("moved", wide),
                ("level", wide),
                ("variance", wide),
                ("before", (signals, SAMPLES)),
            )
        )
        self.limits = (
            calibrates_on(self.number("calibration_rows")),
            "a fault in a signal that wanders as far by itself is not seen",
            "after a lasting step in a steady signal the alarm stays on until the asset is begun anew",
        )
        self.register_buffer("wander", torch.zeros(signals))
        self.register_buffer("unit", torch.ones(signals))
        self.register_buffer("pooled", torch.tensor(float("nan")))
        self.limit.fill_(self.number("onset"))

    def learn(self, recordings: Sequence[Tensor]) -> None:
        """Pooled wander, units and limit. Each recording counts as one asset for each `calibration_rows` of
        it."""
        finite(recordings)
        whole = [one[: len(one) // self.calibration * self.calibration] for one in recordings]
        pieces = [one.unflatten(0, (-1, self.calibration)) for one in whole if len(one)]
        if not pieces:
            raise UnfitData(
                f"no recording has {self.calibration} windows: drift cannot be told from faults in less"
            )
        pool = torch.cat(pieces)
        memory = self.nothing(len(pool))
        for step in range(self.calibration):
            *_, memory = self(pool[:, step], memory)
        parts = self.unpack(memory)
        noise, own = self._noise(parts), self._own_wander(parts)
        self.wander.copy_(own.quantile(0.5, dim=0))
        found = self._deviations(pool, parts["origin"], noise, torch.maximum(self.wander, own))
        self.unit.copy_(quantile(found.abs(), UNIT).clamp_min(1e-6))
        self.pooled.copy_(quantile(norm(found / self.unit), LIMIT).clamp_min(1e-6))

    def _deviations(self, pool: Tensor, origin: Tensor, noise: Tensor, wander: Tensor) -> Tensor:
        """u·e [n, signals] of `pool` [assets, windows, window, signals], whose noise and wander are known:
        without a verdict, so that nothing is held."""
        levels = (pool - origin[:, None, None]).mean(dim=2)
        level = levels[:, : self.start].mean(dim=1)
        variance = self._start_variance(wander)
        found = []
        for step in range(self.start, self.calibration):
            variance = variance + wander
            away = levels[:, step] - level
            found.append(away / torch.sqrt(noise * (variance + 1)))
            gain = variance / (variance + self.number("inertia"))
            level, variance = level + gain * away, variance * (1 - gain)
        return torch.cat(found[SETTLED:])

    def forward(self, windows: Tensor, memory: Tensor) -> Answer:
        """See `Detector`. `features`: the means; `deviations`: u, 0 while it calibrates."""
        was = self.unpack(memory)
        count = was["count"]
        calibrating = count < self.calibration - 0.5
        origin = choose(count < 0.5, windows[:, 0], was["origin"])
        mean = (windows - origin.unsqueeze(1)).mean(dim=1)
        now = dict(was, origin=origin, count=torch.clamp(count + 1, max=float(self.calibration)))
        self._measure(now, mean, count, calibrating)
        noise = self._noise(now)
        wander = torch.maximum(self.wander, self._own_wander(now))

        starting = count < self.start - 0.5
        grown = was["variance"] + wander
        away = mean - was["level"]
        u = (away / torch.sqrt(noise * (grown + 1)) / self.unit).clamp(-U_CAP, U_CAP)
        u = choose(calibrating, torch.zeros_like(u), u)
        limit = self.number("sensitivity") * self.pooled
        total, on = self._sum(was, norm(u).unsqueeze(1) / limit, calibrating)
        held = self._held(u * u, limit, total, on)

        gain = choose(held, torch.zeros_like(grown), grown / (grown + self.number("inertia")))
        gain = choose(starting, 1 / (count + 1) + torch.zeros_like(gain), gain)
        now["level"] = was["level"] + gain * away
        start = self._start_variance(self.wander) + torch.zeros_like(grown)
        now["variance"] = choose(starting, start, grown * (1 - gain))
        now["sum"], now["on"] = total, on
        score = (total + self.number("onset") * on).squeeze(1)
        return score, windows.mean(dim=1), u, self.pack(now)

    def _measure(self, now: dict[str, Tensor], mean: Tensor, count: Tensor, calibrating: Tensor) -> None:
        """Add a mean to what noise and wander are computed from."""
        nth = count - self.skip
        counted = calibrating & (nth > -0.5)
        place = torch.remainder(nth, self.block)
        begins = place < 0.5
        block_mean = choose(begins, torch.zeros_like(mean), now["block_mean"])
        squares = choose(begins, torch.zeros_like(mean), now["block_squares"])
        off = mean - block_mean
        block_mean = block_mean + off / (place + 1)
        squares = squares + off * (mean - block_mean)
        now["block_mean"] = choose(counted, block_mean, now["block_mean"])
        now["block_squares"] = choose(counted, squares, now["block_squares"])
        done = counted & (place > self.block - 1.5)
        now["noise"] = now["noise"] + choose(done, squares / self.block, 0.0)

        sampled = counted & (torch.remainder(nth, self.lag // SAMPLES) < 0.5)
        moved = mean - now["before"][:, :, 0]
        now["moved"] = now["moved"] + choose(sampled & (nth > self.lag - 0.5), moved * moved, 0.0)
        later = torch.cat([now["before"][:, :, 1:], mean.unsqueeze(2)], dim=2)
        now["before"] = choose(sampled.unsqueeze(2), later, now["before"])

    def _noise(self, parts: dict[str, Tensor]) -> Tensor:
        """R, as far as it is known; never 0."""
        nth = parts["count"] - self.skip
        blocks = torch.floor(nth / self.block).clamp_min(1.0)
        return parts["noise"] / blocks + 1e-10 * parts["origin"] ** 2 + 1e-14

    def _own_wander(self, parts: dict[str, Tensor]) -> Tensor:
        """κ of an asset, as far as it is known; 0 before that."""
        nth = parts["count"] - self.skip - self.lag
        pairs = torch.ceil(nth / (self.lag // SAMPLES)).clamp_min(1.0)
        return ((parts["moved"] / pairs / self._noise(parts) - 2) / self.lag).clamp_min(0.0)

    def _start_variance(self, wander: Tensor) -> Tensor:
        """v of a mean over the first windows, when the level wanders meanwhile."""
        return 1 + wander * self.number("start_rows") / self.spec.hop / 3

    def _sum(self, was: dict[str, Tensor], z: Tensor, calibrating: Tensor) -> tuple[Tensor, Tensor]:
        """C, and whether the alarm is on (1 or 0); both [N, 1]."""
        step = z.clamp(max=Z_CAP) - 1
        step = choose(step > 0, step, self.number("relief") * step)
        total = (was["sum"] + step).clamp(0.0, self.number("cap"))
        total = choose(calibrating, torch.zeros_like(total), total)
        on = either(was["on"] > 0.5, total > 0, total > self.number("onset"))
        return total, on.to(total.dtype)

    def _held(self, square: Tensor, limit: Tensor, total: Tensor, on: Tensor) -> Tensor:
        """Of each signal, whether its reference is held."""
        about = (total > self.number("onset") / 2) & (square > limit)
        return either(on > 0.5, square > self.number("hold") * limit, about)


def norm(u: Tensor) -> Tensor:
    """One number for all signals [..., signals]: half of them must not hide one."""
    return torch.sqrt((u**4).mean(dim=-1))


def quantile(values: Tensor, which: float) -> Tensor:
    """Along the first dimension. `torch.quantile` takes no more than 16 million numbers."""
    ordered = values.sort(dim=0).values
    place = which * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return torch.lerp(ordered[low], ordered[high], place - low)
