#!/usr/bin/env bash
# Runs the whole tutorial for real and checks what it says. Needs a Docker engine and Compose; pulls nothing.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=x86_64-unknown-linux-gnu
profile=${PROFILE:-quick}

if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; "${compose[@]}" logs --tail 20 >&2 || true; exit 1; }

if [[ -z ${UNDERSTUDY:-} ]]; then
  say "building one static binary"
  (cd "$root" && RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile "$profile" --target $target)
  UNDERSTUDY=$root/target/$target/$profile/understudy
fi
cp "$UNDERSTUDY" understudy
trap '"${compose[@]}" down --timeout 2 >/dev/null 2>&1 || true; rm -f understudy' EXIT

say "docker compose up --build -d"
DOCKER_BUILDKIT=0 "${compose[@]}" build front-envoy >/dev/null
"${compose[@]}" up -d >/dev/null
for _ in $(seq 100); do
  curl -fs localhost:8000/service/1 >/dev/null 2>&1 && curl -fs localhost:8000/service/2 >/dev/null 2>&1 && break
  sleep 0.2
done

for n in 1 2; do
  answer=$(curl -si localhost:8000/service/$n)
  for part in "HTTP/1.1 200 OK" "server: envoy" "x-envoy-upstream-service-time: " "Hello from behind Envoy (service $n)! hostname: "; do
    grep -qF "$part" <<<"$answer" || fail "/service/$n lacks '$part': $answer"
  done
  say "/service/$n: $(tail -1 <<<"$answer")"
done

hostnames() { for _ in $(seq "$1"); do curl -fs localhost:8000/service/1 | sed 's/.*hostname: \([^ ]*\) resolved.*/\1/'; done; }
members() { curl -fs "localhost:8001/stats?filter=^cluster.service1.membership_total" | sed 's/.*: //'; }
wait_members() { for _ in $(seq 150); do [[ $(members) == "$1" ]] && return; sleep 0.2; done; fail "service1 has $(members) hosts, not $1"; }

say "one request after the other while the service is scaled; none may fail"
failures=$(mktemp); (while [[ -e $failures ]]; do curl -fs -o /dev/null localhost:8000/service/1 || echo x >>"$failures"; sleep 0.02; done) & loop=$!
"${compose[@]}" up -d --scale service1=3 --no-recreate >/dev/null 2>&1
wait_members 3
sleep 0.5
kill $loop 2>/dev/null || true; wait $loop 2>/dev/null || true
[[ ! -s $failures ]] || fail "$(wc -l <"$failures") requests failed while scaling up"

three=$(hostnames 9)
[[ $(sort -u <<<"$three" | wc -l) == 3 ]] || fail "not three hosts: $three"
[[ $(sed -n 1,3p <<<"$three") == "$(sed -n 4,6p <<<"$three")" && $(sed -n 4,6p <<<"$three") == "$(sed -n 7,9p <<<"$three")" ]] || fail "no strict rotation: $three"
say "strict rotation 1-2-3 over $(tr '\n' ' ' <<<"$three")"

"${compose[@]}" up -d --scale service1=1 --no-recreate >/dev/null 2>&1
wait_members 1
[[ $(hostnames 4 | sort -u | wc -l) == 1 ]] || fail "removed hosts still answer"
rm -f "$failures"
say "scaled down to one host"

for path in / /certs /clusters /config_dump /help /hot_restart_version /listeners /runtime /server_info /stats /stats/prometheus /ready; do
  curl -fs -o /dev/null "localhost:8001$path" || fail "GET $path"
done
for path in "/cpuprofiler?enable=n" /healthcheck/fail /healthcheck/ok "/logging?level=info" /reset_counters "/runtime_modify?foo=bar"; do
  curl -fs -o /dev/null -X POST "localhost:8001$path" || fail "POST $path"
done
curl -fs -X POST localhost:8001/quitquitquit >/dev/null || fail "POST /quitquitquit"
say "19 admin endpoints answered"
say "the tutorial works"
