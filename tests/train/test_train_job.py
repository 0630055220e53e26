"""Training as a whole: from files to an artefact, again after it was killed, refused where it must be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from train.made import process, windows
from twinloop.features.windows import WindowSpec
from twinloop.trainer.__main__ import main
from twinloop.trainer.fit import answer, fit_mahalanobis
from twinloop.trainer.recipes import WELD, Statistic
from twinloop.trainer.training.descent import Say
from twinloop.trainer.training.detectors.base import Answer
from twinloop.trainer.training.detectors.whitened import Mahalanobis
from twinloop.trainer.training.job import Order, train
from twinloop.trainer.training.recordings import Recording, Recordings
from twinloop.tritonio.artefact import Artefact, read
from twinloop.tritonio.onnx_server import OnnxModel

EXAMPLE = Path(__file__).parents[2] / "docs/examples/own_detector.py"


def recorded(folder: Path, files: int = 3, rows: int = 500) -> list[str]:
    """CSV files of healthy assets."""
    made = []
    for seed in range(files):
        path = folder / f"asset{seed}.csv"
        lines = [",".join(f"{value:.5f}" for value in row) for row in process(seed, rows)]
        path.write_text("a,b,c,d\n" + "\n".join(lines) + "\n")
        made.append(str(path))
    return made


def words(folder: Path, *more: str) -> list[str]:
    named = [] if "--out" in more else ["--out", str(folder / "made")]
    return ["train", "--model", "made", "--signal-set", "made.v1", *named, *more]


def test_a_drift_filter_from_csv_files_is_a_whole_artefact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = recorded(tmp_path)
    said = words(tmp_path, "--architecture", "drift-filter", "--learn-from-all", "--csv", *files)
    assert main(said) == 0
    assert "calibrate it, unjudged" in capsys.readouterr().out
    made = read(tmp_path / "made")
    assert (made.contract.version, made.contract.memory, made.contract.window) == (0, 11 * 4 + 3 + 11 * 4, 10)
    assert made.card.architecture == "drift-filter"
    assert made.card.trained.assets == ("asset0", "asset1", "asset2")
    assert (made.contract.quiet, made.contract.columns) == (391, ())
    assert (made.card.reference, set(made.card.by_asset)) == ({}, set(made.card.trained.assets))
    assert [set(one.quantiles) for one in made.card.by_asset.values()] == [{"score"}] * 3
    (figure,) = made.card.measured
    assert figure.value < 0.2
    assert main(said) == 1
    assert "an artefact never changes" in capsys.readouterr().err


def test_windows_without_a_verdict_make_no_figure(tmp_path: Path) -> None:
    more = ["--rows", "400", "--learn-from-all", "--csv", *recorded(tmp_path)]
    assert main(words(tmp_path, "--architecture", "drift-filter", *more)) == 0
    card = read(tmp_path / "made").card
    assert (card.measured, card.by_asset) == ((), {})


def test_settings_are_those_of_the_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = recorded(tmp_path, files=1)
    assert main(words(tmp_path, "--architecture", "drift-filter", "--csv", *files, "--set", "knob=3")) == 1
    assert "knob is no setting: there are sensitivity" in capsys.readouterr().err


def test_a_module_of_one_s_own_becomes_an_artefact(tmp_path: Path) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40
    more = ["--csv", *recorded(tmp_path), "--window", "32", "--hop", "8", "--epochs", "3"]
    assert main(words(tmp_path, "--module", f"{EXAMPLE}:Forecast", *more)) == 0
    made = read(tmp_path / "made")
    assert (made.contract.memory, made.contract.quiet) == (0, 0)
    assert set(made.card.reference) == {"score", "a.mean", "b.mean", "c.mean", "d.mean"}
    assert made.card.by_asset["asset1"].quantiles.keys() == made.card.reference.keys()
    odd = windows(process(9, 64), 32, 8)
    odd[:, 20:, 1] += 40
    answer = OnnxModel(made.contract, made.onnx).infer(odd)
    assert (answer.score > made.contract.threshold).all()
    assert (answer.deviations.argmax(axis=1) == 1).all()
    assert "module_sha256" in made.card.settings


def test_a_module_with_a_loss_is_learnt_without_being_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--csv", *recorded(tmp_path, files=1), "--window", "32", "--hop", "32"]
    assert main(words(tmp_path, "--module", f"{EXAMPLE}:Forecast", *more)) == 0
    assert "epoch 60 of 60: loss" in capsys.readouterr().err
    assert read(tmp_path / "made").card.settings["epochs"] == 60


def test_a_module_that_remembers_is_asked_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "class Slow(torch.nn.Module):\n"
        "    def __init__(self, window, signals):\n"
        "        super().__init__()\n"
        "        self.memory = signals\n"
        "        self.quiet = 5\n"
        "    def forward(self, windows, memory):\n"
        "        memory = 0.9 * memory + 0.1 * windows.mean(dim=1)\n"
        "        return memory.square(), memory\n"
    )
    more = ["--csv", *recorded(tmp_path), "--window", "8", "--hop", "8"]
    assert main(words(tmp_path, "--module", f"{tmp_path}/own.py:Slow", *more)) == 0
    made = read(tmp_path / "made")
    assert (made.contract.memory, made.contract.quiet) == (4, 5)
    assert made.golden.memory is not None
    assert np.abs(made.golden.memory).max() > 0


def test_a_model_of_some_signals_says_which_columns_it_leaves_out(tmp_path: Path) -> None:
    """A recording that holds no window is left out, too."""
    files = recorded(tmp_path)
    (tmp_path / "empty.csv").write_text("a,b,c,d\n1,2,3,4\n")
    more = ["--signals", "d,b", "--columns", "a,b,c,d", "--csv", *files, str(tmp_path / "empty.csv")]
    assert main(words(tmp_path, "--architecture", "drift-filter", *more)) == 0
    made = read(tmp_path / "made")
    assert (made.contract.signals, made.contract.columns) == (("d", "b"), ("a", "b", "c", "d"))
    assert made.golden.windows.shape[2] == 2
    assert "empty" not in made.card.trained.assets


FINE = "return windows.mean(dim=1)"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("", "has no class Mine that is a torch.nn.Module: it has none"),
        ("import torch\nclass Other(torch.nn.Linear): pass", "it has Other"),
        ("x = 1 /", "own.py cannot be loaded: SyntaxError: invalid syntax (own.py, line 1)"),
        ("x = 1\ny = x / 0", "ZeroDivisionError: division by zero (line 2 of own.py)"),
        ("class Mine:\n  def __init__(s, w, n): pass", "no class Mine that is a torch.nn.Module"),
        (
            "import torch\nclass Mine(torch.nn.Module):\n  def __init__(self): super().__init__()",
            "Mine(8, 4) cannot be made, with the length of a window and the number of signals: TypeError",
        ),
    ],
)
def test_a_module_that_cannot_be_made_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, why: str
) -> None:
    (tmp_path / "own.py").write_text(code)
    more = ["--csv", *recorded(tmp_path), "--window", "8", "--hop", "8"]
    assert main(words(tmp_path, "--module", f"{tmp_path}/own.py:Mine", *more)) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "why"),
    [("own.py", "name a file and a class in it"), ("nowhere.py:Mine", "there is no file nowhere.py")],
)
def test_a_module_must_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str, why: str
) -> None:
    more = ["--csv", *recorded(tmp_path), "--window", "8", "--hop", "8"]
    assert main(words(tmp_path, "--module", named, *more)) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("made", "forward", "loss", "why"),
    [
        ("", "return windows.mean(dim=(1, 2))", "", "each signal is must be float32 [2, 4], not float32 [2]"),
        ("", "return windows.mean(dim=1)[:, :2]", "", "must be float32 [2, 4], not float32 [2, 2]"),
        ("", "return windows.mean(dim=1).double()", "", "must be float32 [2, 4], not float64 [2, 4]"),
        ("", "pass", "", "how unusual each signal is must be float32 [2, 4], not None"),
        ("", "return windows @ torch.ones(3, 3)", "", "forward: RuntimeError"),
        ("", "\n        return windows @ torch.ones(3, 3)", "", "(line 8 of own.py)"),
        ("", "return torch.linalg.svdvals(windows)[:, :4]", "", "not to be written as ONNX"),
        ("", "return windows.mean(dim=1) / 0", "", "NaN or infinity"),
        ("self.memory = 3", FINE, "", "forward: TypeError"),
        ("self.quiet = 2.5", FINE, "", "its attribute `quiet` must be a whole number from 0 on, not a float"),
        ("", FINE, "return self(windows)", "loss: it must return one number"),
        ("", FINE, "return windows.mean()", "does not depend on the parameters, so nothing is learnt"),
        ("", FINE, "return float(windows.mean())", "a tensor without dimensions, not a float"),
        ("", FINE, "return self.nothing", "loss: AttributeError"),
    ],
)
def test_a_module_that_does_otherwise_than_is_asked_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: str, forward: str, loss: str, why: str
) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "class Mine(torch.nn.Module):\n"
        "    def __init__(self, window, signals):\n"
        "        super().__init__()\n"
        f"        self.scale = torch.nn.Parameter(torch.ones(1)); {made}\n"
        f"    def forward(self, windows):\n        {forward}\n"
        + (f"    def loss(self, windows):\n        {loss}\n" if loss else "")
    )
    more = ["--csv", *recorded(tmp_path), "--window", "8", "--hop", "8"]
    assert main(words(tmp_path, "--module", f"{tmp_path}/own.py:Mine", *more)) == 1
    assert why in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_parameters_that_nothing_learns_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "class Mine(torch.nn.Module):\n"
        "    def __init__(self, window, signals):\n"
        "        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(torch.ones(signals))\n"
        "    def forward(self, windows):\n"
        "        return (windows.mean(dim=1) * self.scale).square()\n"
    )
    more = ["--csv", *recorded(tmp_path), "--window", "8", "--hop", "8"]
    assert main(words(tmp_path, "--module", f"{tmp_path}/own.py:Mine", *more)) == 0
    assert any("no `loss`" in one for one in read(tmp_path / "made").card.limits)


def test_killed_at_any_time_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    common = ["--architecture", "autoencoder", "--csv", *recorded(tmp_path), "--epochs", "40", "--seed", "5"]
    common += ["--window", "20", "--hop", "1", "--set", "hidden=64"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(words(tmp_path, "--out", str(whole), *common)) == 0

    checkpoint = tmp_path / ".killed.checkpoint"
    job = [sys.executable, "-m", "twinloop.trainer", *words(tmp_path, "--out", str(killed), *common)]
    with subprocess.Popen(job, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert any("epoch 2 of" in line for line in running.stderr)
        os.kill(running.pid, signal.SIGKILL)
    assert checkpoint.exists()
    assert not killed.exists()
    done = subprocess.run(job, capture_output=True, text=True, check=True)
    assert "going on after epoch" in done.stderr
    assert not checkpoint.exists()
    same(read(whole), read(killed))


def test_what_a_module_draws_by_chance_is_drawn_again(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "class Drawn(torch.nn.Module):\n"
        "    def __init__(self, window, signals):\n"
        "        super().__init__()\n"
        "        self.net = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(signals, signals))\n"
        "    def forward(self, windows):\n"
        "        return (windows - self.net(windows)).square().mean(dim=1)\n"
        "    def loss(self, windows):\n"
        "        return self(windows).mean()\n"
    )
    cut = Recording("a", windows(process(1, 300), 8))
    data = Recordings("a test", "made.v1", WindowSpec(8, 1, ("a", "b", "c", "d")), (cut,))
    order = Order("made", module=f"{tmp_path}/own.py:Drawn", epochs=4)

    def trained(name: str, say: Say) -> Artefact:
        return train(order, data, tmp_path / name, datetime(2026, 1, 1, tzinfo=UTC), say)

    def die(told: str) -> None:
        if told.startswith("epoch 2 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("killed", die)
    told: list[str] = []
    same(trained("whole", lambda _: None), trained("killed", told.append))
    assert "going on after epoch 2 of 4" in told


def same(one: Artefact, other: Artefact) -> None:
    assert one.onnx == other.onnx
    assert one.contract == other.contract
    assert (one.card.reference, one.card.by_asset) == (other.card.reference, other.card.by_asset)
    assert (one.golden.answer.score == other.golden.answer.score).all()


def test_what_onnxruntime_answers_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(Mahalanobis):
        """Exports as if everything were twice as unusual."""

        def forward(self, windows: Tensor, memory: Tensor) -> Answer:
            score, features, deviations, memory = super().forward(windows, memory)
            return (2.0 if torch.onnx.is_in_onnx_export() else 1.0) * score, features, deviations, memory

    monkeypatch.setattr("twinloop.trainer.training.job.DETECTORS", {"mahalanobis": Wrong})
    more = ["--csv", *recorded(tmp_path), "--window", "10", "--hop", "5"]
    assert main(words(tmp_path, "--architecture", "mahalanobis", *more)) == 1
    assert "onnxruntime answers otherwise than torch: score" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_mahalanobis_in_torch_is_the_one_in_numpy() -> None:
    draw = np.random.default_rng(1)
    spec = WindowSpec(20, 20, WELD.spec.signals)
    cut = (3 + draw.standard_normal((300, 20, 6)) * (1 + draw.random((300, 1, 6)))).astype(np.float32)
    numpy = fit_mahalanobis(cut, (Statistic.MEAN, Statistic.STD), 1e-5)
    detector = Mahalanobis(spec, {})
    with torch.no_grad():
        detector.learn([torch.from_numpy(cut)])
        detector.calibrate([torch.from_numpy(cut)], [torch.from_numpy(cut)])
        score, features, _, _ = detector(torch.from_numpy(cut), torch.zeros(300, 0))
    assert detector.threshold == pytest.approx(numpy.threshold, rel=1e-3)
    due = answer(numpy, cut)
    assert score.numpy() == pytest.approx(due.score, rel=1e-3)
    assert features.numpy() == pytest.approx(due.features, rel=1e-4)
