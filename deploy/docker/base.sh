#!/usr/bin/env bash
# base.sh [TAG]    Make sure that the engine has the base image that the Dockerfile names: it is there, or it is pulled,
# or, where no registry answers, it is made of Debian's own packages and tagged so. That stand-in has what the
# Dockerfile relies on: Debian 12, `python` 3.11, pip that installs without a virtual environment.
set -euo pipefail
TAG=${1:-python:3.11-slim-bookworm}
DOCKER=$("$(dirname "$0")/engine.sh" client)
PULL_S=300 ANSWER_S=20

refuse() { echo "$1" >&2; exit 2; }
there() { "$DOCKER" image inspect "$TAG" >/dev/null 2>&1; }

if there; then exit 0; fi
# A registry that is shielded off by a firewall answers neither yes nor no: ask for the manifest first, shortly.
if timeout "$ANSWER_S" "$DOCKER" manifest inspect "$TAG" >/dev/null 2>&1 &&
  timeout "$PULL_S" "$DOCKER" pull --quiet "$TAG"; then exit 0; fi

echo "no registry answers: making a stand-in for $TAG of Debian's packages"
PATH=$PATH:/usr/sbin:/sbin
command -v debootstrap >/dev/null || refuse "$TAG can neither be pulled nor made: install the package debootstrap."
[ "$(id -u)" = 0 ] || refuse "$TAG can not be pulled, and only root can make it (debootstrap): run this as root."
ROOT=$(mktemp -d)
trap 'rm -rf --one-file-system "$ROOT"' EXIT
# From where this machine's own packages of bookworm come; without any, debootstrap's default.
MIRROR=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
  awk '$1 == "bookworm" {print $2; exit}')
debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
  bookworm "$ROOT" ${MIRROR:+"$MIRROR"} >"$ROOT.log" 2>&1 ||
  { tail -n 15 "$ROOT.log" >&2; refuse "debootstrap failed; all that it said is in $ROOT.log."; }
rm -f "$ROOT.log" "$ROOT/usr/lib/python3.11/EXTERNALLY-MANAGED"
ln -sf python3 "$ROOT/usr/bin/python"
rm -rf "$ROOT"/var/cache/apt/* "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/log/* \
  "$ROOT"/usr/share/{doc,man,locale,info,lintian}/*
# What a cache would be: it is made anew by the first import of root, and never needed.
find "$ROOT/usr/lib/python3" -name __pycache__ -prune -exec rm -rf {} +
tar -C "$ROOT" -c . | "$DOCKER" import --change 'CMD ["python3"]' --change 'ENV LANG=C.UTF-8' \
  --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' - "$TAG" >/dev/null
echo "made $TAG: $(($("$DOCKER" image inspect --format '{{.Size}}' "$TAG") / 1000000)) MB in $SECONDS s"
