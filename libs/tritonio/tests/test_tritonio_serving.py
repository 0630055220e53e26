"""`serving.toml`: what holds for a model, and what is refused with the name of the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinloop.runtime.settings import load_toml
from twinloop.tritonio.serving import Serving, ServingTable, TensorRT


def table(folder: Path, text: str) -> ServingTable:
    path = folder / "serving.toml"
    path.write_text(text)
    return load_toml(path, ServingTable)


def test_a_model_has_what_its_own_table_says_and_else_the_default(tmp_path: Path) -> None:
    read = table(
        tmp_path,
        """
        engine_cache = "/engines"
        [default]
        batch = 8
        instances = 2
        [models.cells]
        priority = 3
        instances = 1
        [models."skab.v2-1"]
        tensorrt = "off"
        """,
    )
    assert read.engine_cache == "/engines"
    assert read.of("weld") == Serving(batch=8, instances=2)
    assert read.of("cells") == Serving(batch=8, instances=1, priority=3)
    assert read.of("skab.v2-1") == Serving(batch=8, instances=2, tensorrt=TensorRT.OFF)
    assert table(tmp_path, "").of("any") == Serving()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[default]\ninstances = 0", "default.instances"),
        ("[default]\npriority = 4", "default.priority"),
        ("[default]\ndelay_s = -1", "default.delay_s"),
        ("[default]\ndelay_s = nan", "default.delay_s"),
        ("[default]\nbatch = 1025", "default.batch"),
        ('[models.weld]\ntensorrt = "int8"', "models.weld.tensorrt"),
        ("[models.weld]\nprio = 1", "models.weld.prio"),
        ('[models."../weld"]\npriority = 1', "models.../weld"),
        ('engine_cache = "engines"', "engine_cache"),
        ("weld = 1", "weld"),
        ("[default", "no valid TOML"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(
    tmp_path: Path, text: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        table(tmp_path, text)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err
