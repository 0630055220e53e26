"""The file of limits and the settings: what is wrong is said at once, and nothing has a silent default."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from twinloop.contracts.changes import Parameter
from twinloop.line.limits import LineLimits
from twinloop.line.settings import LineSettings
from twinloop.runtime.settings import load, load_toml

ASSET = "acme.berlin.packs.line1.weld1"
POWER = {
    "hard": {"low": 800.0, "high": 1400.0},
    "operator": {"low": 850.0, "high": 1350.0},
    "baseline": 1000.0,
    "step": 30.0,
    "hourly_travel": 800.0,
    "authority": 350.0,
    "deadband": 5.0,
    "tolerance": 0.5,
}
FILE: dict[str, Any] = {
    "assets": {
        ASSET: {
            "station": "weld1",
            "recipe": "cu-al-tab-7",
            "highest_mode": "auto",
            "beat_s": 0.5,
            "cooldown": {"parts": 10, "seconds": 0.3},
            "read_back_s": 1.0,
            "laser_power_w": POWER,
            "focus_mm": POWER,
            "end_of_line_limit_uohm": POWER,
        }
    }
}


def test_the_file_of_the_local_stack_has_the_limits_of_the_reference_line() -> None:
    root = next(one for one in Path(__file__).parents if (one / "deploy/local/config").is_dir())
    limits = load_toml(root / "deploy/local/config/line.toml", LineLimits)
    own = limits.assets[ASSET]
    power, focus = own.of(Parameter.LASER_POWER_W), own.of(Parameter.FOCUS_MM)
    assert (power.operator.low, power.operator.high, power.step, power.deadband) == (850, 1350, 30, 5)
    assert (focus.operator.low, focus.operator.high, focus.step, focus.deadband) == (-1.5, 1.5, 0.25, 0.05)
    assert (focus.hard.low, focus.hard.high) == (-2, 2)
    gate = own.of(Parameter.END_OF_LINE_LIMIT_UOHM)
    assert (gate.hard.low, gate.hard.high, gate.operator.low, gate.operator.high) == (42, 60, 45, 55)
    assert (gate.step, gate.deadband, gate.authority, gate.hourly_travel) == (15, 1, 15, 30)
    assert (power.baseline, power.authority, power.hourly_travel) == (1000, 350, 800)
    assert (focus.baseline, focus.authority, focus.hourly_travel) == (0, 1.5, 6)
    assert (own.cooldown.parts, own.beat_s, own.highest_mode) == (10, 0.5, "auto")
    assert sorted(one.station for one in limits.assets.values()) == ["weld1", "weld2"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("laser_power_w", "operator", "high"), 1500.0, "within the hard range"),
        (("laser_power_w", "hard", "low"), 1400.0, "low must be below high"),
        (("laser_power_w", "deadband"), 30.0, "smaller than the step"),
        (("laser_power_w", "hourly_travel"), 29.0, "at least one step"),
        (("laser_power_w", "baseline"), 1360.0, "within the operator's range"),
        (("laser_power_w", "validity"), {"low": 840.0, "high": 1000.0}, "within the operator's range"),
        (("laser_power_w", "authority"), 0.0, "greater than 0"),
        (("highest_mode",), "manual", "off"),
        (("beat_s",), 0.0, "greater than 0"),
        (("laser_power_w", "tolerance"), 0.0, "greater than 0"),
        (("laser_power_w", "step"), float("inf"), "finite"),
        (("cooldown", "parts"), -1, "greater than or equal to 0"),
        (("station",), "", "at least 1 character"),
        (("recipe",), "", "at least 1 character"),
        (("stetp",), 1.0, "not permitted"),
    ],
)
def test_a_wrong_figure_is_refused(path: tuple[str, ...], value: Any, says: str) -> None:
    data = deepcopy(FILE)
    LineLimits.model_validate(data)
    place = data["assets"][ASSET]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValidationError, match=says):
        LineLimits.model_validate(data)


@pytest.mark.parametrize("name", list(FILE["assets"][ASSET]))
def test_no_figure_has_a_default(name: str) -> None:
    data = deepcopy(FILE)
    del data["assets"][ASSET][name]
    with pytest.raises(ValidationError, match="Field required"):
        LineLimits.model_validate(data)


@pytest.mark.parametrize("name", list(POWER))
def test_no_figure_of_a_parameter_has_a_default(name: str) -> None:
    data = deepcopy(FILE)
    del data["assets"][ASSET]["laser_power_w"][name]
    with pytest.raises(ValidationError, match="Field required"):
        LineLimits.model_validate(data)


GOOD = {
    "TWINLOOP_KAFKA": "localhost:9092",
    "TWINLOOP_OPCUA": "opc.tcp://localhost:4840/twinloop/",
    "TWINLOOP_LINE_ASSETS": "line.toml",
    "TWINLOOP_LINE_APPROVERS": "trusted",
    "TWINLOOP_LINE_AUDIT": "audit",
    "TWINLOOP_ACCESS_PEOPLE": "people.toml",
}
FILES = {
    "TWINLOOP_LINE_OPCUA_CERTIFICATE": "line.cert.der",
    "TWINLOOP_LINE_OPCUA_KEY": "line.key.pem",
    "TWINLOOP_LINE_OPCUA_TRUSTED": "trusted",
}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (GOOD, "OPCUA_SECURITY=none"),
        ({**GOOD, **FILES, "TWINLOOP_LINE_OPCUA_KEY": "line.key"}, "must end in .pem"),
        ({**GOOD, "TWINLOOP_LINE_OPCUA_SECURITY": "sign"}, "sign_and_encrypt"),
        ({**GOOD, **FILES, "TWINLOOP_ACCESS_PEOPLE": None}, "TWINLOOP_ACCESS_PEOPLE"),
        ({**GOOD, **FILES, "TWINLOOP_LINE_APPROVERS": None}, "TWINLOOP_LINE_APPROVERS"),
        ({**GOOD, **FILES, "TWINLOOP_LINE_AUDIT": None}, "TWINLOOP_LINE_AUDIT"),
    ],
)
def test_nothing_is_insecure_by_default(
    settings: dict[str, str | None],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given(monkeypatch, settings)
    with pytest.raises(SystemExit):
        load(LineSettings)
    assert says in capsys.readouterr().err


def given(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str | None]) -> None:
    for name in {*GOOD, *FILES, "TWINLOOP_LINE_OPCUA_SECURITY", "TWINLOOP_ACCESS_JWKS_URL"}:
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        if value is not None:
            monkeypatch.setenv(name, value)


def test_security_is_switched_off_only_by_saying_so(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, {**GOOD, **FILES})
    secured = load(LineSettings).security
    assert secured is not None
    assert secured.key == Path("line.key.pem")
    given(monkeypatch, {**GOOD, "TWINLOOP_LINE_OPCUA_SECURITY": "none"})
    assert load(LineSettings).security is None


def test_every_bad_setting_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINLOOP_KAFKA", "localhost:9092")
    monkeypatch.setenv("TWINLOOP_OPCUA", "http://localhost")
    monkeypatch.setenv("TWINLOOP_LINE_CALL_TIMEOUT_S", "0")
    monkeypatch.delenv("TWINLOOP_LINE_ASSETS", raising=False)
    with pytest.raises(SystemExit) as ended:
        load(LineSettings)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    for name in ("TWINLOOP_OPCUA", "TWINLOOP_LINE_CALL_TIMEOUT_S", "TWINLOOP_LINE_ASSETS"):
        assert name in said
