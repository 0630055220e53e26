#!/usr/bin/env bash
# build.sh [IMAGE ...]    Build twinloop/<IMAGE>:$TAG, by default all of them, and hold each to its budget in MB.
# TAG is by default the version of the project.
set -euo pipefail
cd "$(dirname "$0")/../.."
HERE=deploy/docker
SERVICES="ingest detector modelops controller twin line historian simulator"
TAG=${TAG:-$(sed -n 's/^version = "\(.*\)"/\1/p' libs/runtime/pyproject.toml)}
BASE=${BASE:-python:3.11-slim-bookworm}
declare -A BUDGET=([triton-cpu]=700 [kafka]=350 [mqtt]=250 [prometheus]=250 [cli]=250 [trainer]=500 [tools]=500)
for one in $SERVICES; do BUDGET[$one]=250; done

for one in "$@"; do
  [ -n "${BUDGET[$one]:-}" ] || { echo "There is no image $one: choose from ${!BUDGET[*]}." >&2; exit 2; }
done
IMAGES=("$@")
[ $# -gt 0 ] || read -ra IMAGES <<<"$SERVICES trainer cli tools mqtt triton-cpu kafka prometheus"

"$HERE/engine.sh" up
DOCKER=$("$HERE/engine.sh" client)
"$HERE/base.sh" "$BASE"

# What this machine needs in order to reach package registries goes in as secrets: in no layer, in no history.
SECRETS=$(mktemp -d)
trap 'rm -rf "$SECRETS"' EXIT
chmod 700 "$SECRETS"
CA=${PIP_CERT:-${SSL_CERT_FILE:-}}
if [ -n "$CA" ] && [ -s "$CA" ]; then cat "$CA" >"$SECRETS/ca"; else : >"$SECRETS/ca"; fi
{
  echo "[global]"
  for setting in INDEX_URL EXTRA_INDEX_URL TRUSTED_HOST TIMEOUT; do
    variable=PIP_$setting
    if [ -n "${!variable:-}" ]; then echo "$(tr 'A-Z_' 'a-z-' <<<"$setting") = ${!variable}"; fi
  done
} >"$SECRETS/pip"
ARGUMENTS=(--build-arg "BASE=$BASE" --build-arg "VERSION=$TAG" --secret "id=ca,src=$SECRETS/ca"
  --secret "id=pip,src=$SECRETS/pip" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
for proxy in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do  # known to the builder, in no history
  if [ -n "${!proxy:-}" ]; then ARGUMENTS+=(--build-arg "$proxy"); fi
done

over=0
for image in "${IMAGES[@]}"; do
  began=$SECONDS
  if ! DOCKER_BUILDKIT=1 "$DOCKER" build --progress=plain -f "$HERE/Dockerfile" --target "$image" \
    -t "twinloop/$image:$TAG" "${ARGUMENTS[@]}" . >"$SECRETS/log" 2>&1; then
    tail -n 40 "$SECRETS/log" >&2
    echo "twinloop/$image could not be built: above are the last lines." >&2
    exit 1
  fi
  size=$(($("$DOCKER" image inspect --format '{{.Size}}' "twinloop/$image:$TAG") / 1000000))
  note=""
  if [ "$size" -gt "${BUDGET[$image]}" ]; then note="  OVER BUDGET"; over=1; fi
  printf '%-32s %4d MB of %d  %4d s%s\n' "twinloop/$image:$TAG" "$size" "${BUDGET[$image]}" $((SECONDS - began)) "$note"
done
if [ $over = 1 ]; then
  echo "Images are larger than their budget: see what they hold with \`docker history\`, and prune in install.sh." >&2
  exit 1
fi
