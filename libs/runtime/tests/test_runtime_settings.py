"""Wrong settings are all named at once, by the variable that holds them, and the exit status is 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.settings import ServiceSettings, load, load_toml


class Example(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TWINLOOP_EXAMPLE_")

    welds: int
    ratio: float = 0.5
    password: SecretStr = SecretStr("")


def test_every_bad_field_is_listed_and_exit_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINLOOP_KAFKA", "nowhere")
    monkeypatch.setenv("TWINLOOP_HEALTH_PORT", "99999")
    monkeypatch.setenv("TWINLOOP_EXAMPLE_RATIO", "half")
    with pytest.raises(SystemExit) as caught:
        load(Example)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    for variable in (
        "TWINLOOP_KAFKA",
        "TWINLOOP_HEALTH_PORT",
        "TWINLOOP_EXAMPLE_RATIO",
        "TWINLOOP_EXAMPLE_WELDS",
    ):
        assert variable in said
    assert "is not host:port" in said


def test_good_settings_are_frozen_and_mask_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINLOOP_KAFKA", "127.0.0.1:9092")
    monkeypatch.setenv("TWINLOOP_EXAMPLE_WELDS", "7")
    monkeypatch.setenv("TWINLOOP_EXAMPLE_PASSWORD", "hunter2")
    settings = load(Example)
    assert settings.welds == 7
    assert "hunter2" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.welds = 8  # type: ignore[misc]


@pytest.mark.parametrize("variable", ["TWINLOOP_TOPIC_PREFIX", "TWINLOOP_MODEL_PREFIX"])
@pytest.mark.parametrize("prefix", ["acme", "controller-b."])
def test_a_prefix_that_is_no_sites_is_refused(
    variable: str, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINLOOP_KAFKA", "127.0.0.1:9092")
    monkeypatch.setenv(variable, prefix)
    with pytest.raises(SystemExit):
        load(ServiceSettings)
    assert f"{variable}: Value error, '{prefix}'" in capsys.readouterr().err


class Limits(BaseModel):
    low: float
    high: float


@pytest.mark.parametrize(
    ("text", "said"),
    [("low = 'x'", ["low", "high"]), ("low =", ["no valid TOML"]), (None, ["cannot be read"])],
)
def test_a_bad_file_is_named_with_each_bad_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: list[str]
) -> None:
    path = tmp_path / "limits.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as caught:
        load_toml(path, Limits)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert all(part in printed for part in [str(path), *said])
