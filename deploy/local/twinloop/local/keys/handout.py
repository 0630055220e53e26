"""`python -m twinloop.local.keys.handout --from <folder> --to <folder>`: each program its keys, no others.

`twinloop.local.keys.certs` makes everything in one folder. Containers are handed what their program needs, in
a folder (a volume) of their own: the twin's signing key is for the twin alone. Runs at every start: what
changed is replaced.

With `--kafka <folder>` and `--mqtt <folder>` also what makes Kafka and the MQTT broker ask who one is, over
TLS, in a folder there for each user, for the broker, and for Kafka's administrator.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from twinloop.local.errors import CannotStart
from twinloop.local.keys import certs
from twinloop.local.keys.authority import write
from twinloop.local.keys.secured import ADMIN, BROKER, Secrets, Secure
from twinloop.local.parts import mqtt_secured
from twinloop.local.parts.kafka_secured import write_key_store
from twinloop.runtime.credentials import secret_of

PSEUDONYM_KEY: Final = "ingest/pseudonym.key"
"""The secret of the keyed hash of VINs; with another one every vehicle would get another pseudonym."""

HANDED: Final[Mapping[str, Sequence[str]]] = {
    "ingest": (PSEUDONYM_KEY, "people.toml"),
    "twin": ("signing/twin.key.pem", "people.toml"),
    "line": (
        "opcua/line.cert.der",
        "opcua/line.key.pem",
        "opcua/trusted-by-line",
        "signing/trusted",
        "people.toml",
    ),
    "simulator": (
        "opcua/plc.cert.der",
        "opcua/plc.key.pem",
        "opcua/trusted-by-plc",
        "senders/plant.token",
    ),
    "access": ("people.toml",),
    "people": ("tokens",),
}
"""What goes to whom. `access`: services that only tell people apart; `people`: those who speak for them."""

KAFKA: Final = "kafka"
"""What containers call Kafka's."""
MQTT: Final = "mqtt"
"""What they call the MQTT broker's."""
_AUTHORITIES: Final = "ca.pem"
_MQTT_ADDRESS: Final = "0.0.0.0:1883"
_MQTT_FOLDER: Final = Path("/mqtt")
"""Where that one finds its folder."""
USERS: Final = (
    *("ingest", "detector", "modelops", "controller", "twin", "line", "historian"),
    *("provision", "monitor"),
)
"""Users of Kafka that containers are."""


def make(folder: Path) -> None:
    """Make what `folder` lacks. Raises `CannotStart`."""
    certs.make(folder, datetime.now(UTC))
    key = folder / PSEUDONYM_KEY
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = key.with_suffix(".new")
        aside.touch(mode=0o600)
        aside.write_text(f"{secrets.token_hex(32)}\n")
        aside.replace(key)


def make_secured(folder: Path, prefix: str) -> Secrets:
    """Make what `folder` lacks for a Kafka that is known as `KAFKA`, with users at the site `prefix`, and for
    an MQTT broker that is known as `MQTT`."""
    secrets_ = Secrets(folder, Secure(sites=(prefix,)), (KAFKA,), (MQTT,))
    secrets_.make(datetime.now(UTC))
    write_key_store(secrets_)
    return secrets_


def hand_out_kafka(made: Secrets, prefix: str, into: Path) -> None:
    """Copy to each user of Kafka below `into` his password, to the broker and the administrator their keys,
    and to everybody whom to believe."""
    for program in USERS:
        _give(into / program, made, {"password": made.kafka_password(f"{prefix}{program}")})
    _give(into / ADMIN, made, {f"{one}.pem": made.kafka / f"{ADMIN}.{one}.pem" for one in ("cert", "key")})
    _give(into / BROKER, made, {"broker.pem": made.kafka / "broker.pem"})
    lines = [f"{user} {secret_of(made.kafka_password(user))}\n" for user in made.secure.users()]
    write(into / BROKER / "users", "".join(lines).encode(), private=True)


def hand_out_mqtt(made: Secrets, into: Path) -> None:
    """Copy to each user of the MQTT broker below `into` his password, to the broker its key, what is told of
    passwords and what is allowed, and to everybody whom to believe."""
    for user in made.secure.mqtt_users():
        _give(into / user, made, {"password": made.mqtt_password(user)})
    _give(into / BROKER, made, {"cert.pem": made.mqtt_certificate, "key.pem": made.mqtt_key})
    told = mqtt_secured.configuration(
        _MQTT_ADDRESS,
        made.secure.plants,
        certificate=_MQTT_FOLDER / "cert.pem",
        key=_MQTT_FOLDER / "key.pem",
        authorities=_MQTT_FOLDER / _AUTHORITIES,
        passwords=_MQTT_FOLDER / "passwords",
    )
    write(into / BROKER / "amqtt.json", told)
    write(into / BROKER / "passwords", mqtt_secured.hashed_passwords(made), private=True)


def _give(folder: Path, made: Secrets, files: Mapping[str, Path]) -> None:
    """Copy each to its name in `folder`, and beside them whom to believe."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in {_AUTHORITIES: made.authorities, **files}.items():
        shutil.copy2(file, folder / name)


def hand_out(source: Path, into: Path) -> None:
    """Copy to each one's folder below `into` what is theirs."""
    for party, files in HANDED.items():
        for name in files:
            given, there = source / name, into / party / name
            there.parent.mkdir(parents=True, exist_ok=True)
            if given.is_dir():
                shutil.copytree(given, there, dirs_exist_ok=True)
            else:
                shutil.copy2(given, there)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m twinloop.local.keys.handout", description=__doc__)
    parser.add_argument("--from", type=Path, required=True, metavar="FOLDER", dest="source")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", dest="into")
    parser.add_argument("--kafka", type=Path, metavar="FOLDER")
    parser.add_argument("--mqtt", type=Path, metavar="FOLDER")
    parser.add_argument("--prefix", default="", help="of the site, as TWINLOOP_TOPIC_PREFIX")
    options = parser.parse_args(arguments)
    try:
        secured = options.kafka is not None or options.mqtt is not None
        made = make_secured(options.source, options.prefix) if secured else None
        make(options.source)
        hand_out(options.source, options.into)
        if made is not None and options.kafka is not None:
            hand_out_kafka(made, options.prefix, options.kafka)
        if made is not None and options.mqtt is not None:
            hand_out_mqtt(made, options.mqtt)
    except CannotStart as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except OSError as problem:
        print(f"The keys cannot be handed out to {options.into}: {problem}", file=sys.stderr)
        return 1
    print(f"handed out to {', '.join(HANDED)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
