"""The load that somebody asks about, and what it is in a second. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from twinloop.cli.capacity.costs import Driver, Rates, rounds

FLOAT: Final = 4
MOST: Final = 1e9
MOST_BYTES: Final = 6 * 1024 * 1024
"""Of a record that ingest takes."""
DAY_S: Final = 86_400.0

WELD_SAMPLES, WELD_SIGNALS = 300, 6
MINUTE_SAMPLES, MINUTE_SIGNALS = 60, 98


class Impossible(ValueError):
    """Raised when a load cannot be. The text is a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked. `assets` send `signals` at `hz` samples a second while they send, the share `duty` of
    the time, in frames of `frame` samples; windows of `window` samples are judged every `hop`. `stations`
    weld under the closed loop, `vehicles` tell minutes of driving. All of it, over all `plants`."""

    assets: int = 0
    signals: int = 8
    hz: float = 1.0
    window: int = 64
    hop: int = 16
    frame: int | None = None
    duty: float = 1.0
    stations: int = 0
    parts_per_hour: float = 600.0
    changes_per_hour: float = 6.0
    vehicles: int = 0
    minutes_per_day: float = 1.0
    built_per_day: float = 0.0
    plants: int = 1
    peak: float = 1.5
    utilisation: float = 0.6
    anomalous: float = 0.01
    score_every: int = 100
    replication: int = 3
    retention_h: float = 72.0
    years: float = 1.0
    gpu: bool = False
    gpu_windows_per_s: float | None = None

    def __post_init__(self) -> None:
        for problem, sentence in self._problems():
            if problem:
                raise Impossible(sentence)

    def _problems(self) -> list[tuple[bool, str]]:
        """Each with the sentence to say when it is one."""
        asked = {name: getattr(self, name) for name in self.__dataclass_fields__}
        endless = [name for name, one in asked.items() if isinstance(one, float) and not math.isfinite(one)]
        negative = [name for name, one in asked.items() if one is not None and one < 0]
        sending = self.assets + self.stations + self.vehicles
        huge = [name for name, one in asked.items() if one is not None and one > MOST]
        return [
            (bool(endless), f"{_option(endless)} must be a finite number."),
            (
                bool(huge),
                f"{_option(huge)} is more than {MOST:g}: nobody has so much; give less.",
            ),
            (
                bool(negative),
                f"{_option(negative)} is below zero: give a number from 0 on.",
            ),
            (
                sending == 0,
                "Nothing sends anything: give --assets, --stations or --vehicles above zero.",
            ),
            (self.signals < 1, "An asset sends at least one signal: give --signals of 1 or more."),
            (
                self.hz == 0,
                "Nothing is sent at 0 Hz: give --hz above zero, such as 0.1 for a sample every 10 s.",
            ),
            (
                self.hop < 1 or self.window < 1,
                "A window has at least one sample: give --window and --hop of 1 or more.",
            ),
            (
                self.hop > self.window,
                f"--hop {self.hop} is more than --window {self.window}: give a hop of at most the window.",
            ),
            (
                self.frame is not None and self.frame < 1,
                "A frame has at least one sample: give --frame of 1 or more.",
            ),
            (
                self.frame_bytes > MOST_BYTES,
                f"A frame of {self.frame_bytes:,} bytes is more than ingest takes: give a smaller --frame.",
            ),
            (not 0 < self.duty <= 1, "--duty is a share of the time: give a number above 0 and up to 1."),
            (
                not 0 < self.utilisation < 1,
                "--utilisation is the share of a core that may be used: give a number above 0 and below 1.",
            ),
            (self.peak < 1, "--peak is how many times the mean the busiest minute has: give 1 or more."),
            (self.anomalous > 1, "--anomalous is a share of windows: give a number from 0 to 1."),
            (self.plants < 1, "Somewhere it must run: give --plants of 1 or more."),
            (self.replication < 1, "Kafka keeps at least one copy: give --replication of 1 or more."),
            (
                self.gpu_windows_per_s == 0,
                "A GPU that does no windows cannot serve: measure --gpu-windows-per-s with perf_analyzer.",
            ),
            (
                self.gpu_windows_per_s is not None and not self.gpu,
                "--gpu-windows-per-s says how fast a GPU is: give --gpu as well, or leave it out.",
            ),
        ]

    @property
    def samples_a_frame(self) -> int:
        """As asked, else a hop."""
        return self.frame if self.frame is not None else self.hop

    @property
    def frame_bytes(self) -> int:
        """Of samples in a frame."""
        return self.samples_a_frame * self.signals * FLOAT

    @property
    def window_bytes(self) -> int:
        """Of samples in a window."""
        return self.window * self.signals * FLOAT

    def factory(self) -> dict[Driver, float]:
        """What assets and stations give in a second, over all plants, on average."""
        samples = self.assets * self.hz * self.duty
        parts = self.stations * self.parts_per_hour / 3600
        weld = WELD_SAMPLES * WELD_SIGNALS * FLOAT
        windows = samples / self.hop
        return {
            Driver.FRAMES: samples / self.samples_a_frame + parts,
            Driver.SAMPLE_BYTES: samples * self.signals * FLOAT + parts * weld,
            Driver.WINDOWS: windows + parts,
            Driver.WINDOW_BYTES: windows * self.window_bytes + parts * weld,
            Driver.PARTS: parts,
            Driver.CHANGES: self.stations * self.changes_per_hour / 3600,
            Driver.STATIONS: self.stations,
        }

    def fleet(self) -> dict[Driver, float]:
        """What vehicles give in a second: a frame and a window are a minute of driving."""
        minutes = self.vehicles * self.minutes_per_day / DAY_S
        each = MINUTE_SAMPLES * MINUTE_SIGNALS * FLOAT
        return {
            Driver.FRAMES: minutes,
            Driver.SAMPLE_BYTES: minutes * each,
            Driver.WINDOWS: minutes,
            Driver.WINDOW_BYTES: minutes * each,
            Driver.VEHICLES_BUILT: self.built_per_day / DAY_S,
        }


def added(*loads: dict[Driver, float]) -> dict[Driver, float]:
    """Loads together."""
    total: dict[Driver, float] = {}
    for one in loads:
        for driver, rate in one.items():
            total[driver] = total.get(driver, 0.0) + rate
    return total


def times(load: dict[Driver, float], factor: float) -> dict[Driver, float]:
    """A load so many times."""
    return {driver: rate * factor for driver, rate in load.items()}


def at_peak(load: dict[Driver, float], peak: float) -> dict[Driver, float]:
    """The busiest minute: what is no rate stays as it is."""
    still = (Driver.STATIONS, Driver.PROCESS)
    return {driver: rate if driver in still else rate * peak for driver, rate in load.items()}


def at_work(rates: Rates) -> dict[Driver, float]:
    """What reaches one process that is there, with its rounds."""
    return {
        **rates,
        Driver.PROCESS: 1.0,
        Driver.ROUNDS: rounds(rates.get(Driver.FRAMES, 0.0)),
    }


def _option(names: list[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-').removesuffix('-h')}" for name in names)
