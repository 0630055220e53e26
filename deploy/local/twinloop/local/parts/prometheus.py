"""Prometheus, where it is wanted: scrapes every process of the stack, with the rules of the chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from twinloop.local import probes
from twinloop.local.errors import CannotStart
from twinloop.local.install.prometheus import find
from twinloop.local.parts.base import Part
from twinloop.local.places import find_places
from twinloop.local.ports import Ports
from twinloop.local.process import Command

NAME = "prometheus"
RULES = "TWINLOOP_PROMETHEUS_RULES"
INTERVAL = "TWINLOOP_PROMETHEUS_INTERVAL_S"
TARGETS = "TWINLOOP_PROMETHEUS_TARGETS"


def tool(program: str) -> Path | None:
    """Where `prometheus` or `promtool` is."""
    return find(find_places(), program)


class Prometheus(Part):
    """`targets`: by job, the addresses that it scrapes.

    The environment may name another folder of rules (`TWINLOOP_PROMETHEUS_RULES`), another interval of
    scraping and judging (`TWINLOOP_PROMETHEUS_INTERVAL_S`), and more targets
    (`TWINLOOP_PROMETHEUS_TARGETS`: `job=host:port,...`).
    """

    name = NAME
    grace_s = 10.0

    def __init__(
        self,
        state: Path,
        rules: Path,
        targets: Mapping[str, Sequence[str]],
        environ: Mapping[str, str],
        ports: Ports,
    ) -> None:
        program = tool(NAME)
        if program is None:
            raise CannotStart(
                "Prometheus is not installed: run `python3.11 deploy/local/bootstrap.py prometheus`."
            )
        self._program = program
        self._folder = state / NAME
        self._rules = Path(environ.get(RULES) or rules)
        self._interval_s = environ.get(INTERVAL) or "5"
        self._targets = {job: list(addresses) for job, addresses in targets.items()}
        for one in filter(None, environ.get(TARGETS, "").split(",")):
            job, _, address = one.partition("=")
            self._targets.setdefault(job, []).append(address)
        self._environ = environ
        self._port = ports.reserve("TWINLOOP_PROMETHEUS_PORT")

    @property
    def where(self) -> str:
        return self._port.address

    def prepare(self) -> Sequence[Command]:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "prometheus.yml").write_text(self._config())
        return ()

    def command(self) -> Command:
        argv = [str(self._program), f"--config.file={self._folder / 'prometheus.yml'}"]
        argv += [f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address={self.where}"]
        argv += ["--storage.tsdb.retention.time=7d", "--log.level=warn"]
        return Command(tuple(argv), self._environ)

    async def ready(self) -> bool:
        return await probes.http_ok(self.where, "/-/ready")

    def _config(self) -> str:
        lines = [
            "global:",
            f"  scrape_interval: {self._interval_s}s",
            f"  scrape_timeout: {self._interval_s}s",
        ]
        lines += [f"  evaluation_interval: {self._interval_s}s", "rule_files:", f"  - {self._rules}/*.yaml"]
        lines += ["scrape_configs:"]
        for job, addresses in self._targets.items():
            lines += [
                f"  - job_name: {job}",
                "    honor_labels: true",
                "    static_configs:",
                "      - targets:",
            ]
            lines += [f"          - {address}" for address in addresses]
        return "\n".join(lines) + "\n"
