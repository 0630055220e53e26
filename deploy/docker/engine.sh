#!/usr/bin/env bash
# engine.sh up|down|client     The Docker engine that images, Compose and the container tests use.
#   up      where one answers already, use it; else start Debian's `dockerd` (root, package docker.io) and record it
#   down    end the engine that `up` started, and no other
#   client  print the docker client: the distribution's own, which has BuildKit, before others on the path
# The record and log are in $TWINLOOP_ENGINE (default: engine/ in the cache folder).
set -euo pipefail
STATE=${TWINLOOP_ENGINE:-${TWINLOOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/twinloop}/engine}
RECORD=$STATE/pid LOG=$STATE/dockerd.log
UP_S=60 DOWN_S=60

refuse() { echo "$1" >&2; exit 2; }
client() {
  for one in /usr/bin/docker "$(command -v docker || true)"; do
    if [ -x "$one" ]; then echo "$one"; return; fi
  done
  refuse "There is no Docker client here: install the package docker.io (Debian, Ubuntu), or Docker."
}
answers() { timeout 10 "$(client)" info >/dev/null 2>&1; }
started() { awk '{sub(/.*\) /, ""); print $20}' "/proc/$1/stat" 2>/dev/null; }  # in clock ticks after boot
ours() {  # the pid that was recorded, while it is still that process
  local pid ticks
  read -r pid ticks 2>/dev/null <"$RECORD" && [ "$(started "$pid")" = "$ticks" ] && echo "$pid"
}

up() {
  client >/dev/null
  if answers; then echo "a Docker engine runs already"; return; fi
  PATH=$PATH:/usr/sbin:/sbin
  command -v dockerd >/dev/null || refuse "No Docker engine answers and there is no dockerd to start: install the \
package docker.io (Debian, Ubuntu), or start an engine and name it by DOCKER_HOST."
  [ -z "${DOCKER_HOST:-}" ] || refuse "Nothing answers at DOCKER_HOST=$DOCKER_HOST: start it, or unset DOCKER_HOST."
  [ "$(id -u)" = 0 ] || refuse "No Docker engine answers, and only root can start one: start it, or run this as root."
  mkdir -p "$STATE"
  setsid dockerd >"$LOG" 2>&1 </dev/null &
  local pid=$! deadline=$((SECONDS + UP_S))
  echo "$pid $(started "$pid")" >"$RECORD"
  until answers; do
    if ! ours >/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
      tail -n 15 "$LOG" >&2
      down
      refuse "The Docker engine did not start within $UP_S s; above are the last lines of $LOG."
    fi
    sleep 0.2
  done
  echo "started a Docker engine (pid $pid, log $LOG)"
}

down() {
  local pid deadline=$((SECONDS + DOWN_S))
  if ! pid=$(ours); then echo "no Docker engine of ours runs"; rm -f "$RECORD"; return; fi
  kill "$pid" 2>/dev/null || true
  while ours >/dev/null; do
    if [ "$SECONDS" -gt "$deadline" ]; then kill -9 "$pid" 2>/dev/null || true; fi
    sleep 0.2
  done
  rm -f "$RECORD"
  echo "stopped the Docker engine (pid $pid)"
}

case ${1:-} in
  up | down | client) "$1" ;;
  *) refuse "usage: engine.sh up|down|client" ;;
esac
