#!/bin/bash
# What a byte, a request and a connection cost: portcullis beside nginx, HAProxy and Caddy, as ratios. See README.md.
#
#   benches/compare.sh [--rounds 3] [--size 1GiB] [--seconds 5] [--cases get,put,...] [--variants portcullis,nginx,...]
#                      [--rate 2000] [--blob-rate 100] [--connections 2000] [--uploads-to registry|sink] [--no-access-logs]
#                      [--proxy-cpu 0] [--load-cpu 1] [--port 18643] [--dir SCRATCH] [--out FILE.json] [--check]
#
# PORTCULLIS=/path/to/portcullis takes a binary that is there; otherwise `cargo build --release` makes it. --check compares with
# compare/limits.json and exits 1 where a target is missed or not measured. --list shows the cases and the variants.
set -uo pipefail
HELPERS=$(cd "$(dirname "${BASH_SOURCE[0]}")/compare" && pwd)
# shellcheck source=benches/compare/lib.sh
. "$HELPERS/lib.sh"
# shellcheck source=benches/compare/scene.sh
. "$HELPERS/scene.sh"
# shellcheck source=benches/compare/proxies.sh
. "$HELPERS/proxies.sh"
# shellcheck source=benches/compare/cases.sh
. "$HELPERS/cases.sh"

ROUNDS=3 SIZE=1GiB SECONDS_SMALL=5 CASES=${ALL_CASES// /,} CHOSEN=${USUAL// /,} RATE=2000 BLOB_RATE=100 CONNECTIONS=2000
UPLOADS_TO=registry ACCESS_LOGS=1 PROXY_CPU=0 LOAD_CPU=1 PORT=18643 SCRATCH='' OUT='' CHECK=''
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) ROUNDS=${2:?}; shift 2 ;;
    --size) SIZE=${2:?}; shift 2 ;;
    --seconds) SECONDS_SMALL=${2:?}; shift 2 ;;
    --cases) CASES=${2:?}; shift 2 ;;
    --variants) CHOSEN=${2:?}; shift 2 ;;
    --rate) RATE=${2:?}; shift 2 ;;
    --blob-rate) BLOB_RATE=${2:?}; shift 2 ;;
    --connections) CONNECTIONS=${2:?}; shift 2 ;;
    --uploads-to) UPLOADS_TO=${2:?}; shift 2 ;;
    --no-access-logs) ACCESS_LOGS=''; shift ;;
    --proxy-cpu) PROXY_CPU=${2:?}; shift 2 ;;
    --load-cpu) LOAD_CPU=${2:?}; shift 2 ;;
    --port) PORT=${2:?}; shift 2 ;;
    --dir) SCRATCH=${2:?}; shift 2 ;;
    --out) OUT=${2:?}; shift 2 ;;
    --check) CHECK=1; shift ;;
    --list) printf 'cases: %s\nvariants: %s\n' "$ALL_CASES" "$VARIANTS"; exit 0 ;;
    -h|--help) sed -n '2,9p' "$0"; exit 0 ;;
    *) die "unknown argument $1" ;;
  esac
done
read -r -a cases <<< "${CASES//,/ }"
read -r -a variants <<< "${CHOSEN//,/ }"
for c in "${cases[@]}"; do among "$c" "$ALL_CASES" || die "no case $c (--list)"; done
for v in "${variants[@]}"; do among "$v" "$VARIANTS" || die "no variant $v (--list)"; done
for number in "$ROUNDS" "$SECONDS_SMALL" "$PORT" "$RATE" "$BLOB_RATE" "$CONNECTIONS"; do [[ $number =~ ^[1-9][0-9]*$ ]] || die "'$number' is no number"; done
[[ $((RATE * SECONDS_SMALL)) -ge 64 && $((BLOB_RATE * SECONDS_SMALL)) -ge 16 ]] || die "the rates are too low for percentiles"
[ "$SECONDS_SMALL" -ge 2 ] || die "--seconds is 2 at least: in one, wrk may not even have its connections"
[ $((CONNECTIONS % 4)) = 0 ] || die "--connections is a multiple of 4"
among "$UPLOADS_TO" "registry sink" || die "--uploads-to registry or sink"
[ "$PROXY_CPU" != "$LOAD_CPU" ] || die "the proxy and the load need a CPU each"
parse_size "$SIZE"
[ "$BYTES" -ge 67108864 ] || die "--size is 64MiB at least"

# shellcheck disable=SC2046 # programs are single words
need_programs curl wrk h2load jq openssl htpasswd python3 taskset pgrep nginx docker-registry \
  $(for v in "${variants[@]}"; do program "$v"; echo; done | grep -v portcullis | sort -u)
among portcullis "${variants[*]//-*/}" && find_portcullis
choose_report compare
choose_ports
make_scratch $((BYTES * 6 / 1024 + 131072))
note_load

make_certificates
make_blobs
make_manifest
make_image bench/image $((BYTES / 32))
make_user
start_files
start_uploads "$UPLOADS_TO"
for v in "${variants[@]}"; do render_proxy "$v"; done
say "${#cases[@]} cases x ${#variants[@]} variants x $ROUNDS rounds, $SIZE; proxies on CPU $PROXY_CPU, clients and upstreams on CPU $LOAD_CPU"
for round in $(seq "$ROUNDS"); do
  for c in "${cases[@]}"; do
    # the order turns with the rounds, so that no proxy always runs first
    for i in "${!variants[@]}"; do
      v=${variants[(i + round - 1) % ${#variants[@]}]}
      applies "$c" "$v" && cell "$round" "$v" "$c"
    done
  done
done

kinds=$(for c in "${cases[@]}"; do jq -n --arg c "$c" --arg k "$(kind "$c")" '{($c): $k}'; done | jq -s add)
settings=$(jq -n --arg size "$SIZE" --argjson rounds "$ROUNDS" --argjson seconds "$SECONDS_SMALL" --argjson rate "$RATE" --argjson blob_rate "$BLOB_RATE" \
  --arg uploads_to "$UPLOADS_TO" --arg logs "${ACCESS_LOGS:+on}" \
  '{size: $size, rounds: $rounds, seconds: $seconds, rate: $rate, blob_rate: $blob_rate, uploads_to: $uploads_to,
    access_logs: (if $logs == "on" then "on" else "off" end), tls: "TLS 1.3, TLS_AES_128_GCM_SHA256, X25519, ECDSA P-256"}')
jq -R -s --arg cases "${cases[*]}" --arg variants "${variants[*]}" --argjson kinds "$kinds" --argjson machine "$(machine "${variants[@]}")" \
  --argjson settings "$settings" -f "$HELPERS/report.jq" "$DIR/samples.tsv" > "$OUT" || die "no report"
jq -r -f "$HELPERS/table.jq" "$OUT" || die "no table"
say "written to $OUT"

[ -n "$CHECK" ] || exit 0
checked=$(jq --slurpfile limits "$HELPERS/limits.json" -f "$HELPERS/check.jq" "$OUT") || die "the targets cannot be read"
printf '\nTARGETS\n'
jq -r '.lines[]' <<< "$checked"
[ "$(jq .missed <<< "$checked")" = 0 ]
