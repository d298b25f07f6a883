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
cp "$UNDERSTUDY" understudy
trap 'docker compose down --timeout 2 >/dev/null 2>&1 || true; rm -f understudy' EXIT
DOCKER_BUILDKIT=0 docker compose build front-envoy >/dev/null
docker compose up -d >/dev/null
cd "$root"
cargo run --quiet --profile "$profile" --example scale-under-load -- --compose "$@"
