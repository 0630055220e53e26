"""What a station tells the plant network: its Sparkplug metrics, and the values of a weld. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from twinloop.simulator.plant import MadePart
from twinloop.simulator.process import SAMPLE_PERIOD_US, SAMPLES, SIGNAL_SET, SIGNALS
from twinloop.sparkplug import DataType, MetricSpec, Value

WELD_MS = SAMPLES * SAMPLE_PERIOD_US // 1000
"""How long a weld takes by its samples. Campaigns may weld faster than that; their welds overlap in time."""

METRICS = (
    MetricSpec("Signals/Set", DataType.STRING),
    *(MetricSpec(f"Signals/{name}", DataType.FLOAT_ARRAY) for name in SIGNALS),
    MetricSpec("Part/Id", DataType.STRING),
    MetricSpec("Part/Counter", DataType.UINT64),
    MetricSpec("Part/WeldedAt", DataType.DATE_TIME),
    MetricSpec("Part/SamplePeriodUs", DataType.UINT32),
    MetricSpec("Part/Resistance", DataType.DOUBLE),
    MetricSpec("Setpoint/Power", DataType.DOUBLE),
    MetricSpec("Setpoint/Focus", DataType.DOUBLE),
    MetricSpec("Setpoint/EndOfLineLimit", DataType.DOUBLE),
    MetricSpec("Part/Rejected", DataType.BOOLEAN),
    MetricSpec("Recipe", DataType.STRING),
)


def at_birth(power_w: float, focus_mm: float, limit_uohm: float, recipe: str) -> Mapping[str, Value]:
    """The values of a birth: the settings in force. All of the part's metrics are null: no part is meant."""
    return {
        "Signals/Set": SIGNAL_SET,
        "Part/SamplePeriodUs": SAMPLE_PERIOD_US,
        "Setpoint/Power": power_w,
        "Setpoint/Focus": focus_mm,
        "Setpoint/EndOfLineLimit": limit_uohm,
        "Recipe": recipe,
    }


def of_part(part: MadePart, ended_ms: int) -> Mapping[str, Value]:
    """The values of a weld that ended at `ended_ms`; `Part/WeldedAt` is when its first sample was taken."""
    return {
        "Signals/Set": SIGNAL_SET,
        **{
            f"Signals/{name}": part.signals[:, column]
            for column, name in enumerate(SIGNALS)
            if name not in part.missing
        },
        "Part/Id": part.part_id,
        "Part/Counter": part.sequence,
        "Part/WeldedAt": ended_ms - WELD_MS,
        "Part/SamplePeriodUs": SAMPLE_PERIOD_US,
        "Part/Resistance": part.resistance_uohm,
        "Setpoint/Power": part.power_w,
        "Setpoint/Focus": part.focus_mm,
        "Setpoint/EndOfLineLimit": part.limit_uohm,
        "Part/Rejected": part.rejected,
        "Recipe": part.recipe,
    }
