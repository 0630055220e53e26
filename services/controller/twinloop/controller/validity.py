"""Whether what was read is good enough to be acted on. Pure.

| what | bad |
|---|---|
| quality | a measurement is missing or not a number |
| age | older than three periods, or from the future |
| range | outside what the sensor, or the device, can be at |
| jump | the depth differs from the part's before by more than a part can |
| frozen | identical over several parts: these measurements have noise |
| missing | parts were made and never told of |

A bad part is neither learnt from nor acted on, and nothing is proposed while the newest part is bad. So many
in succession that it is no accident shed the asset.

**Silence is not bad input.** A line that stands still makes no parts, and nothing is proposed without a fresh
one. When the edge node died instead (Sparkplug NDEATH) the plant went on: the part counter has moved when
it is heard again, and the parts in between are `missing`. So the two are told apart by the counter and not by
a clock. While an asset is silent its device is watched by `line`, beat by beat.

A gap stops the station: its plasma speaks for it, and neither a depth that jumps nor one that is frozen
speaks against it.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from twinloop.contracts.events import Anomaly, JointWelded
from twinloop.controller.diagnose import DEPTH, NEEDED, REFLECTION
from twinloop.controller.state import BAD_KEPT, Bad, BadInput, Depth, Given, Part, Station

CLOCK_SKEW: Final = timedelta(seconds=1)
MISTRUSTED: Final = frozenset({"quality", "range", "frozen"})
"""A part with these is not measured by. What is old or alone is true all the same."""

_DEPTHS_KEPT: Final = 8


def of_part(station: Station, joint: JointWelded, given: Given) -> tuple[BadInput, ...]:
    """What is wrong with a new part: those missing before it, then its own fault, if it has one."""
    rule, number = given.policy.input, joint.sequence
    newest = station.newest
    since = number if newest is None else max(newest.sequence + 1, number - rule.hold_parts)
    missing = tuple(BadInput("missing", one, "it was made and never told of") for one in range(since, number))
    values = (joint.resistance_uohm, joint.power_w, joint.focus_mm, joint.limit_uohm)
    own: BadInput | None = None
    if not all(map(math.isfinite, values)):
        own = BadInput("quality", number, "a measurement is not a number")
    elif (stale := age(joint.observed_at, given)) is not None:
        own = BadInput("age", number, stale)
    elif not rule.resistance_range_uohm.holds(joint.resistance_uohm):
        own = BadInput("range", number, f"a resistance of {joint.resistance_uohm:g} µΩ")
    elif not _settable(joint, given):
        told = f"{joint.power_w:g} W, {joint.focus_mm:g} mm and {joint.limit_uohm:g} µΩ"
        own = BadInput("range", number, f"setpoints of {told}")
    elif _frozen([one.resistance_uohm for one in station.parts], joint.resistance_uohm, rule.frozen_parts):
        own = BadInput("frozen", number, f"{joint.resistance_uohm:g} µΩ on {rule.frozen_parts} parts")
    return missing if own is None else (*missing, own)


def _settable(joint: JointWelded, given: Given) -> bool:
    policy = given.policy
    return (
        policy.laser_power_w.hard.holds(joint.power_w)
        and policy.focus_mm.hard.holds(joint.focus_mm)
        and policy.end_of_line_limit_uohm.hard.holds(joint.limit_uohm)
    )


def of_anomaly(station: Station, anomaly: Anomaly, given: Given) -> BadInput | None:
    """What is wrong with an anomalous window. Asked for a part's first window."""
    policy, number = given.policy, anomaly.sequence
    depth, reflection = (anomaly.features.get(name, math.nan) for name in (DEPTH, REFLECTION))
    needed = [depth, reflection, *(anomaly.deviations.get(name, math.nan) for name in NEEDED)]
    if not all(map(math.isfinite, needed)):
        return BadInput("quality", number, "a measurement is missing or not a number")
    if (stale := age(anomaly.observed_at, given)) is not None:
        return BadInput("age", number, stale)
    if not policy.diagnosis.depth_range_mm.holds(depth):
        return BadInput("range", number, f"a depth of {depth:g} mm")
    if not policy.diagnosis.reflection_range.holds(reflection):
        return BadInput("range", number, f"a reflection of {reflection:g}")
    before = [one for one in station.depths if one.sequence == number - 1]
    if before and abs(depth - before[0].depth_mm) > policy.input.depth_jump_mm:
        return BadInput("jump", number, f"a depth of {depth:.3f} mm after {before[0].depth_mm:.3f} mm")
    if _frozen([one.depth_mm for one in station.depths], depth, policy.input.frozen_parts):
        return BadInput("frozen", number, f"a depth of {depth:g} mm on {policy.input.frozen_parts} parts")
    return None


def age(seen_at: datetime, given: Given) -> str | None:
    """Why something seen at `seen_at` is too old, or from the future."""
    seconds = (given.now - seen_at).total_seconds()
    if seconds > given.policy.input.age_s:
        return f"it is {seconds:.1f} s old"
    if seen_at > given.now + CLOCK_SKEW:
        return f"it is {-seconds:.1f} s in the future"
    return None


def _frozen(before: list[float], value: float, parts: int) -> bool:
    last = before[-(parts - 1) :]
    return len(last) == parts - 1 and all(one == value for one in last)


def remembered(station: Station, anomaly: Anomaly) -> Station:
    """The depth of this part is what the next one's is compared with."""
    depth = anomaly.features.get(DEPTH, math.nan)
    if not math.isfinite(depth):
        return station
    depths = (*station.depths, Depth(anomaly.sequence, depth))[-_DEPTHS_KEPT:]
    return replace(station, depths=depths)


def marked(station: Station, *found: BadInput) -> Station:
    """These parts are bad."""
    known = {one.sequence for one in station.bad}
    new = [Bad(one.sequence, one.reason) for one in found if one.sequence not in known]
    return replace(station, bad=tuple(sorted((*station.bad, *new), key=lambda one: one.sequence))[-BAD_KEPT:])


def problem(station: Station, sequence: int) -> str | None:
    """What is wrong with this part's input, or `None`."""
    found = next((one for one in station.bad if one.sequence == sequence), None)
    return None if found is None else f"part {sequence}: {found.reason}"


def in_succession(station: Station, sequence: int) -> int:
    """How many bad parts there are around this one without a good part between them."""
    bad = {one.sequence for one in station.bad}
    first = last = sequence
    while first - 1 in bad:
        first -= 1
    while last + 1 in bad:
        last += 1
    return last - first + 1 if sequence in bad else 0


def trusted(found: tuple[BadInput, ...], joint: JointWelded) -> Part:
    """The part as it is remembered."""
    own = any(one.sequence == joint.sequence and one.what in MISTRUSTED for one in found)
    return Part.of(joint, trusted=not own)
