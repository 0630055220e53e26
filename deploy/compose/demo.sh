#!/usr/bin/env bash
# demo.sh [SCENARIO] [OVERLAY]    Play a scenario of `make demo` on the containers of docker-compose.yml, from empty volumes,
# and judge it the same way. Exit status 0 when the loop closed. KEEP=1 leaves everything running.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
SCENARIO=${1:-window-drift} OVERLAY=${2:-}
PROJECT=${COMPOSE_PROJECT:-twinloop-demo} READY_S=240
FILES=(-f "$ROOT/docker-compose.yml")
for one in $OVERLAY; do
  [ -f "$ROOT/deploy/compose/$one.yml" ] || { echo "There is no overlay deploy/compose/$one.yml." >&2; exit 2; }
  FILES+=(-f "$ROOT/deploy/compose/$one.yml")
done
"$ROOT/deploy/docker/engine.sh" up
# shellcheck source=deploy/compose/compose.sh
. "$ROOT/deploy/compose/compose.sh"

# Ports that the engine chooses, so that nothing else on this machine is in the way; Kafka's is in its own settings.
export TWINLOOP_KAFKA_PORT=${TWINLOOP_KAFKA_PORT:-19094}
export TWINLOOP_KAFKA_2_PORT=19095 TWINLOOP_KAFKA_3_PORT=19096
for one in TRITON TRITON_HTTP MQTT INGEST DETECTOR DETECTOR_VEHICLES MODELOPS CONTROLLER TWIN LINE HISTORIAN SIMULATOR OPCUA PROMETHEUS; do
  export "TWINLOOP_${one}_PORT="
done

finish() {
  status=$?
  if [ $status != 0 ]; then
    mkdir -p "$ROOT/.twinloop"
    compose logs --no-color >"$ROOT/.twinloop/compose-demo.log" 2>&1 || true
    echo "the containers' logs are in .twinloop/compose-demo.log" >&2
  fi
  if [ -z "${KEEP:-}" ]; then compose down -v -t 20 >/dev/null 2>&1 || true; fi
  exit $status
}
trap finish EXIT
compose down -v -t 5 >/dev/null 2>&1 || true

mapfile -t services < <(compose config --services | grep -vxE 'cli|demo|grafana')
if [ "$SCENARIO" = line-off ]; then mapfile -t services < <(printf '%s\n' "${services[@]}" | grep -vx line); fi
began=$SECONDS
compose up -d --no-build "${services[@]}" >"${TMPDIR:-/tmp}/twinloop-compose-up.$$" 2>&1 ||
  { tail -n 30 "${TMPDIR:-/tmp}/twinloop-compose-up.$$" >&2; exit 1; }
rm -f "${TMPDIR:-/tmp}/twinloop-compose-up.$$"
deadline=$((SECONDS + READY_S))
while waiting=$(unready) && [ -n "$waiting" ]; do
  if [ $SECONDS -gt $deadline ]; then
    echo "Not everything is ready after $READY_S s:" >&2
    echo "$waiting" >&2
    exit 1
  fi
  sleep 0.5
done
echo "up       everything is ready after $((SECONDS - began)) s"
compose run --rm --no-deps demo --scenario "$SCENARIO" ${VEHICLES:+--vehicles "$VEHICLES"}
[ "$SCENARIO" = line-off ] || compose exec -T prometheus python - <"$ROOT/deploy/compose/watched.py"
