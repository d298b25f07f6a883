#!/usr/bin/env bash
# Scales containers with `docker compose up --scale` under load. Needs a Docker engine and Compose; pulls nothing.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=x86_64-unknown-linux-gnu
profile=${PROFILE:-quick}

if [[ -z ${UNDERSTUDY:-} ]]; then
  (cd "$root" && RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile "$profile" --target $target)
  UNDERSTUDY=$root/target/$target/$profile/understudy
fi
if docker compose version >/dev/null 2>&1; then compose="docker compose"; else compose=docker-compose; fi
cp "$UNDERSTUDY" understudy
trap '$compose down --timeout 2 >/dev/null 2>&1 || true; rm -f understudy' EXIT
DOCKER_BUILDKIT=0 $compose build front-envoy >/dev/null
$compose up -d >/dev/null 2>&1
COMPOSE=$compose cargo run --quiet --manifest-path "$root/Cargo.toml" --profile "$profile" --example scale-under-load -- --compose "$@"
