# Sourced by the scripts beside it: `compose` is Compose v2 where the client has it, else docker-compose (1.29 or newer).
DOCKER=$("$ROOT/deploy/docker/engine.sh" client)
if "$DOCKER" compose version >/dev/null 2>&1; then
  COMPOSE=("$DOCKER" compose)
elif command -v docker-compose >/dev/null; then
  COMPOSE=(docker-compose)
  export COMPOSE_HTTP_TIMEOUT=${COMPOSE_HTTP_TIMEOUT:-300}  # a busy engine answers late
else
  echo "There is no Compose here: install the package docker-compose (Debian, Ubuntu), or Docker's plugin." >&2
  exit 2
fi
compose() { "${COMPOSE[@]}" "${FILES[@]}" -p "$PROJECT" "$@"; }

# What is not as it should be, a line a container; nothing when everything is ready.
unready() {
  local ids
  ids=$("$DOCKER" ps -aq --filter "label=com.docker.compose.project=$PROJECT")
  [ -n "$ids" ] || { echo "nothing runs"; return; }
  # shellcheck disable=SC2086
  "$DOCKER" inspect --format '{{.Name}} {{.State.Status}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}}' $ids |
    awk '!($2 == "running" && ($4 == "healthy" || $4 == "-")) && !($2 == "exited" && $3 == 0 && $4 == "-")'
}
