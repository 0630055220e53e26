"""Prometheus as a part: what it scrapes, with which rules; and what is said where it is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from twinloop.local.errors import CannotStart
from twinloop.local.install import prometheus as install
from twinloop.local.parts import prometheus as part
from twinloop.local.parts.prometheus import Prometheus
from twinloop.local.places import Places
from twinloop.local.ports import Ports

TARGETS = {"detector": ["127.0.0.1:1", "127.0.0.1:2"], "triton": ["127.0.0.1:3"]}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The configuration that it writes, in an environment."""
    monkeypatch.setattr(part, "tool", lambda _: Path("/usr/bin/prometheus"))

    def make(**environ: str) -> str:
        ports = Ports({})
        one = Prometheus(tmp_path, tmp_path / "rules", TARGETS, environ, ports)
        one.prepare()
        ports.release()
        return (tmp_path / "prometheus" / "prometheus.yml").read_text()

    return make


def test_every_process_is_scraped_by_the_name_of_its_program(
    made: Callable[..., str], tmp_path: Path
) -> None:
    text = made()
    assert "job_name: detector" in text
    assert "          - 127.0.0.1:1\n          - 127.0.0.1:2\n" in text
    assert f"- {tmp_path / 'rules'}/*.yaml" in text
    assert "scrape_interval: 5s" in text


def test_the_environment_may_name_other_rules_another_interval_and_more_targets(
    made: Callable[..., str],
) -> None:
    text = made(
        TWINLOOP_PROMETHEUS_RULES="/rules",
        TWINLOOP_PROMETHEUS_INTERVAL_S="1",
        TWINLOOP_PROMETHEUS_TARGETS="kube-state=127.0.0.1:9,detector=127.0.0.1:4",
    )
    assert "- /rules/*.yaml" in text
    assert "evaluation_interval: 1s" in text
    assert "job_name: kube-state" in text
    assert "          - 127.0.0.1:2\n          - 127.0.0.1:4\n" in text


def test_without_it_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    places = Places(repository=tmp_path, cache=tmp_path)
    with pytest.raises(CannotStart, match="put the programs prometheus and promtool on the path"):
        install.ensure_prometheus(places, lambda _: None)
    monkeypatch.setattr(part, "tool", lambda _: None)
    with pytest.raises(CannotStart, match=r"bootstrap\.py prometheus"):
        Prometheus(tmp_path, tmp_path, {}, {}, Ports({}))
