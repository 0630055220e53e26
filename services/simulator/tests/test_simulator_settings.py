"""Wrong settings: every bad field is listed, exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinloop.runtime.settings import load, load_toml
from twinloop.simulator.opcua_server import Security
from twinloop.simulator.plc_state import Range
from twinloop.simulator.settings import PlantTable, SimulatorSettings

STATION = """
group = "acme.berlin"
node = "packs.line1"
[stations.weld1]
recipe = "r"
power_w = { nominal = 1000.0, low = 850.0, high = 1350.0, max_step = 30.0 }
focus_mm = { nominal = 0.0, low = -2.0, high = 2.0, max_step = 0.25 }
"""


def environment(patch: pytest.MonkeyPatch, **values: str) -> None:
    good = {
        "TWINLOOP_MQTT": "127.0.0.1:1883",
        "TWINLOOP_OPCUA": "opc.tcp://127.0.0.1:4840/twinloop/",
        "TWINLOOP_SIMULATOR_STATIONS": "plant.toml",
        "TWINLOOP_SIMULATOR_OPCUA_SECURITY": "none",
    }
    for name, value in {**good, **values}.items():
        patch.setenv(name, value)


def test_good_settings_need_no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch)
    monkeypatch.delenv("TWINLOOP_KAFKA", raising=False)
    settings = load(SimulatorSettings)
    assert settings.first_part is None
    assert settings.stations == Path("plant.toml")


def test_every_bad_setting_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(
        monkeypatch,
        TWINLOOP_MQTT="a:1,b:2",
        TWINLOOP_OPCUA="http://127.0.0.1:4840",
        TWINLOOP_SIMULATOR_FIRST_PART="0",
    )
    with pytest.raises(SystemExit) as caught:
        load(SimulatorSettings)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    for name in ("TWINLOOP_MQTT", "TWINLOOP_OPCUA", "TWINLOOP_SIMULATOR_FIRST_PART"):
        assert name in said


def test_the_primary_host_carries_the_topic_prefix_as_the_host_itself_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch, TWINLOOP_TOPIC_PREFIX="berlin.")
    assert load(SimulatorSettings).host is None
    monkeypatch.setenv("TWINLOOP_SIMULATOR_PRIMARY_HOST", "twinloop")
    assert load(SimulatorSettings).host == "berlin.twinloop"
    for wrong in ("", "a/b", "+"):
        monkeypatch.setenv("TWINLOOP_SIMULATOR_PRIMARY_HOST", wrong)
        with pytest.raises(SystemExit):
            load(SimulatorSettings)
        assert "TWINLOOP_SIMULATOR_PRIMARY_HOST" in capsys.readouterr().err


def secured(folder: Path) -> dict[str, str]:
    (folder / "trusted").mkdir()
    for name in ("plc.cert.der", "plc.key.pem", "plc.key"):
        (folder / name).touch()
    return {
        "TWINLOOP_SIMULATOR_OPCUA_SECURITY": "sign_and_encrypt",
        "TWINLOOP_SIMULATOR_OPCUA_CERTIFICATE": str(folder / "plc.cert.der"),
        "TWINLOOP_SIMULATOR_OPCUA_KEY": str(folder / "plc.key.pem"),
        "TWINLOOP_SIMULATOR_OPCUA_TRUSTED": str(folder / "trusted"),
    }


def test_certificates_are_used_unless_none_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment(monkeypatch, **secured(tmp_path))
    there = Security(tmp_path / "plc.cert.der", tmp_path / "plc.key.pem", tmp_path / "trusted")
    assert load(SimulatorSettings).security() == there
    monkeypatch.delenv("TWINLOOP_SIMULATOR_OPCUA_SECURITY")
    assert load(SimulatorSettings).security() == there
    monkeypatch.setenv("TWINLOOP_SIMULATOR_OPCUA_SECURITY", "none")
    assert load(SimulatorSettings).security() is None


def test_without_certificates_security_must_be_refused_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch)
    monkeypatch.delenv("TWINLOOP_SIMULATOR_OPCUA_SECURITY")
    with pytest.raises(SystemExit):
        load(SimulatorSettings)
    said = capsys.readouterr().err
    for name in ("CERTIFICATE", "KEY", "TRUSTED"):
        assert f"TWINLOOP_SIMULATOR_OPCUA_{name}: " in said
    assert "make certs" in said


@pytest.mark.parametrize(
    ("name", "file", "problem"),
    [
        ("CERTIFICATE", "nowhere.der", "is not there"),
        ("KEY", "nowhere.pem", "is not there"),
        ("KEY", "plc.key", "must end in .pem"),
        ("TRUSTED", "plc.cert.der", "is not there"),
        ("SECURITY", "some", "sign_and_encrypt"),
    ],
)
def test_a_bad_security_setting_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    file: str,
    problem: str,
) -> None:
    variable = f"TWINLOOP_SIMULATOR_OPCUA_{name}"
    value = file if name == "SECURITY" else str(tmp_path / file)
    environment(monkeypatch, **{**secured(tmp_path), variable: value})
    with pytest.raises(SystemExit):
        load(SimulatorSettings)
    said = capsys.readouterr().err
    assert variable in said
    assert problem in said


def test_a_plant_file(tmp_path: Path) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(STATION)
    [(name, station)] = load_toml(file, PlantTable).stations.items()
    assert name == "weld1"
    assert station.spec().power_w == Range(nominal=1000, low=850, high=1350, max_step=30)
    assert station.spec().watchdog_s == 1.5
    assert station.spec().end_of_line_limit_uohm == Range(nominal=55, low=42, high=60, max_step=15)
    gate = "end_of_line_limit_uohm = { nominal = 50, low = 45, high = 52, max_step = 1 }\n"
    file.write_text(STATION + "watchdog_s = 2.5\n" + gate)
    spec = load_toml(file, PlantTable).stations["weld1"].spec()
    assert spec.watchdog_s == 2.5
    assert spec.end_of_line_limit_uohm == Range(nominal=50, low=45, high=52, max_step=1)


def test_every_bad_field_of_a_plant_file_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plant.toml"
    file.write_text(
        STATION.replace("low = 850", "low = 1100").replace("max_step = 0.25", "max_step = 0.0")
        + 'colour = "red"\nwatchdog_s = 0\n'
    )
    with pytest.raises(SystemExit) as caught:
        load_toml(file, PlantTable)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    for field in ("power_w", "focus_mm.max_step", "colour", "watchdog_s"):
        assert f"stations.weld1.{field}: " in said


def test_the_file_of_the_reference_line_is_good() -> None:
    here = next(one for one in Path(__file__).parents if (one / "deploy").is_dir())
    table = load_toml(here / "deploy/local/config/simulator.toml", PlantTable)
    assert set(table.stations) == {"weld1", "weld2"}
    assert (table.group, table.node) == ("acme.berlin", "packs.line1")
