#!/bin/bash
# What a byte costs: portcullis beside nginx, HAProxy and Caddy, in CPU time and peak memory, as ratios. See README.md.
#
#   benches/gate.sh [--rounds 3] [--size 1GiB] [--peers nginx,haproxy,caddy] [--cases get,get16,put,h2get,manifest]
#                   [--seconds 5] [--out FILE.json] [--dir SCRATCH] [--proxy-cpu 0] [--load-cpu 1] [--port 18443]
#                   [--without-portcullis] [--check]
#
# PORTCULLIS=/path/to/portcullis takes a binary that is there; otherwise `cargo build --release` makes it.
# --without-portcullis measures the peers alone. --check exits 1 when a limit in gate/limits.json is exceeded.
set -uo pipefail
HELPERS=$(cd "$(dirname "${BASH_SOURCE[0]}")/gate" && pwd)
ROOT=$(cd "$HELPERS/../.." && pwd)
# shellcheck source=gate/setup.sh
. "$HELPERS/setup.sh"
# shellcheck source=gate/measure.sh
. "$HELPERS/measure.sh"

ROUNDS=3 SIZE=1GiB PEERS=nginx,haproxy,caddy CASES=get,get16,put,h2get,manifest SECONDS_SMALL=5 OUT='' SCRATCH='' CHECK='' ALONE=''
PROXY_CPU=0 LOAD_CPU=1 PORT=18443
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) ROUNDS=${2:?}; shift 2 ;;
    --size) SIZE=${2:?}; shift 2 ;;
    --peers) PEERS=${2?}; shift 2 ;;
    --cases) CASES=${2:?}; shift 2 ;;
    --seconds) SECONDS_SMALL=${2:?}; shift 2 ;;
    --out) OUT=${2:?}; shift 2 ;;
    --dir) SCRATCH=${2:?}; shift 2 ;;
    --proxy-cpu) PROXY_CPU=${2:?}; shift 2 ;;
    --load-cpu) LOAD_CPU=${2:?}; shift 2 ;;
    --port) PORT=${2:?}; shift 2 ;;
    --without-portcullis) ALONE=1; shift ;;
    --check) CHECK=1; shift ;;
    -h|--help) sed -n '2,10p' "$0"; exit 0 ;;
    *) die "unknown argument $1" ;;
  esac
done
read -r -a peers <<< "${PEERS//,/ }"
read -r -a cases <<< "${CASES//,/ }"
for p in "${peers[@]}"; do case $p in nginx|haproxy|caddy) ;; *) die "unknown peer $p" ;; esac; done
for c in "${cases[@]}"; do case $c in get|get16|put|h2get|manifest) ;; *) die "unknown case $c" ;; esac; done
[[ $ROUNDS =~ ^[1-9][0-9]*$ && $SECONDS_SMALL =~ ^[1-9][0-9]*$ && $PORT =~ ^[1-9][0-9]*$ ]] || die "--rounds, --seconds and --port are numbers"
BYTES=$(numfmt --from=iec-i --suffix=B "$SIZE" 2>/dev/null) || die "--size is like 256MiB or 1GiB"
BYTES=${BYTES%B}; PART_BYTES=$((BYTES / 16))
[ "$PROXY_CPU" != "$LOAD_CPU" ] || die "the proxy and the load need a CPU each"
FILES_PORT=$((PORT + 1)) REGISTRY_PORT=$((PORT + 2)) ADMIN_PORT=$((PORT + 3)) MANIFEST_DIGEST=''
BASE=https://localhost:$PORT UPLOAD_BASE=https://127.0.0.1:$PORT

for tool in curl wrk jq openssl htpasswd taskset pgrep nginx docker-registry ${peers[@]+"${peers[@]}"}; do
  command -v "$tool" >/dev/null || die "$tool is missing: apt-get install curl wrk jq openssl apache2-utils util-linux procps nginx-light haproxy caddy docker-registry"
done
for p in "$PORT" "$FILES_PORT" "$REGISTRY_PORT" "$ADMIN_PORT"; do
  (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null && die "port $p is taken (--port chooses others)"
done

proxies=()
if [ -z "$ALONE" ]; then
  if [ -z "${PORTCULLIS:-}" ]; then
    (cd "$ROOT" && cargo build --release --locked --bin portcullis) || die "the build failed (--without-portcullis measures the peers alone)"
    PORTCULLIS=$(cd "$ROOT" && cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/release/portcullis
  fi
  [ -x "$PORTCULLIS" ] || die "$PORTCULLIS is no program (--without-portcullis measures the peers alone)"
  proxies=(portcullis)
fi
proxies+=(${peers[@]+"${peers[@]}"})
[ ${#proxies[@]} -gt 0 ] || die "nothing to measure"

need=$((BYTES * 4 / 1024 + 65536))
if [ -z "$SCRATCH" ]; then
  SCRATCH=/tmp
  [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt "$need" ] 2>/dev/null && SCRATCH=/dev/shm
fi
[ "$(df --output=avail -k "$SCRATCH" | tail -n 1)" -gt "$need" ] || die "$SCRATCH has less than $need KiB free"
DIR=$(mktemp -d "$SCRATCH/gate-bench.XXXXXX"); RUNNING=()
trap 'stop_all; rm -rf "$DIR"' EXIT
trap 'exit 130' INT TERM

load=$(cut -d' ' -f1 /proc/loadavg)
awk -v l="$load" 'BEGIN { exit !(l > 0.3) }' && say "warning: load average is $load; other work on this machine makes the figures worthless"

make_certificates
make_data
render_proxies
start_upstreams
say "${#cases[@]} cases x ${#proxies[@]} proxies x $ROUNDS rounds, $SIZE; proxies on CPU $PROXY_CPU, clients and upstream on CPU $LOAD_CPU"
for round in $(seq "$ROUNDS"); do
  for c in "${cases[@]}"; do
    # the order turns with the rounds, so that no proxy always runs first
    for i in "${!proxies[@]}"; do cell "$round" "${proxies[(i + round - 1) % ${#proxies[@]}]}" "$c"; done
  done
done

version() {
  case $1 in
    portcullis) "$PORTCULLIS" --version ;;
    nginx) nginx -v 2>&1 ;;
    haproxy) haproxy -v | head -n 1 ;;
    caddy) caddy version ;;
  esac
}
machine=$(jq -n --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --arg cpus "$(nproc --all)" --arg kernel "$(uname -r)" --arg load "$load" \
  --arg curl "$(curl --version | head -n 1)" --arg wrk "$(wrk -v 2>&1 | head -n 1)" --arg registry "$(docker-registry --version)" \
  --argjson proxies "$(for p in "${proxies[@]}"; do jq -n --arg k "$p" --arg v "$(version "$p")" '{($k): $v}'; done | jq -s add)" \
  '{cpu: $cpu, cpus: ($cpus | tonumber), kernel: $kernel, load_before: ($load | tonumber), curl: $curl, wrk: $wrk, registry: $registry, proxies: $proxies}')
settings=$(jq -n --arg size "$SIZE" --argjson rounds "$ROUNDS" --argjson seconds "$SECONDS_SMALL" \
  '{size: $size, rounds: $rounds, manifest_seconds: $seconds, tls: "TLS 1.3, TLS_AES_128_GCM_SHA256, X25519, ECDSA P-256"}')
report=$(jq -R -s --arg order "${cases[*]}" --arg proxies "${proxies[*]}" --arg base "${proxies[0]}" --argjson machine "$machine" --argjson settings "$settings" \
  -f "$HELPERS/report.jq" "$DIR/samples.tsv") || die "no report"
[ -n "$OUT" ] || OUT=gate-$(date +%Y%m%d-%H%M%S).json
printf '%s\n' "$report" > "$OUT" || die "$OUT cannot be written"

jq -r '
  def pad($n): tostring | . + (" " * ([0, $n - length] | max));
  "\(.base) relative to each peer, CPU time per unit (peak memory in brackets); below 1 is less",
  (.ratios as $all | ([$all[].case] | reduce .[] as $c ([]; if index([$c]) then . else . + [$c] end))[] as $c | [$all[] | select(.case == $c)] | "  " + (.[0].case | pad(10)) + (map((.to + " " + (.cpu | tostring) + " (" + (.peak_memory | tostring) + ")") | pad(26)) | join(""))),
  "",
  "medians on this machine: CPU-seconds per GiB (manifest: per 1000 requests) [least..most], units a second, peak MiB",
  (.medians[] | "  " + (.case | pad(10)) + (.proxy | pad(12)) + ("\(.cpu_per_unit) [\(.cpu_min)..\(.cpu_max)]" | pad(34)) + (.units_per_second | pad(10)) + "\(.peak_mib)")
' "$OUT"
say "written to $OUT"

[ -z "$CHECK" ] && exit 0
[ -z "$ALONE" ] || die "--check needs portcullis"
exceeded=$(jq -r --slurpfile limits "$HELPERS/limits.json" '.ratios[] as $r | $limits[0][]
  | select(.case == $r.case and .to == $r.to and $r.cpu > .cpu) | "\(.case) costs \($r.cpu) of \(.to), allowed \(.cpu)"' "$OUT") || die "the limits cannot be read"
[ -z "$exceeded" ] && { say "all limits kept"; exit 0; }
say "limits exceeded:"; say "$exceeded"; exit 1
