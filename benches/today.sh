#!/bin/bash
# What people put before a registry today, with the logins that they really have, beside portcullis: fifty clients, each with a
# name and a password of its own, pull an image of twelve layers at once. See README.md.
#
#   benches/today.sh [--rounds 3] [--size 1GiB] [--costs 5,10] [--images small,image] [--pulls 1] [--gates portcullis,nginx-basic,...]
#                    [--server-cpu 0] [--load-cpu 1] [--port 18743] [--dir SCRATCH] [--out FILE.json]
#
# --costs are bcrypt's: htpasswd's own default is 5. `image` has --size / 32 in all, `small` 768 KiB. --pulls are those of each client, one
# after another, with a login each.
# PORTCULLIS=/path/to/portcullis takes a binary that is there.
set -uo pipefail
HELPERS=$(cd "$(dirname "${BASH_SOURCE[0]}")/compare" && pwd)
# shellcheck source=benches/compare/lib.sh
. "$HELPERS/lib.sh"
# shellcheck source=benches/compare/scene.sh
. "$HELPERS/scene.sh"
# shellcheck source=benches/compare/proxies.sh
. "$HELPERS/proxies.sh"
# shellcheck source=benches/compare/gates.sh
. "$HELPERS/gates.sh"

ROUNDS=3 SIZE=1GiB COSTS=5,10 IMAGES=small,image PULLS=1 CHOSEN=${GATES// /,} SERVER_CPU=0 LOAD_CPU=1 PORT=18743 SCRATCH='' OUT=''
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) ROUNDS=${2:?}; shift 2 ;;
    --size) SIZE=${2:?}; shift 2 ;;
    --costs) COSTS=${2:?}; shift 2 ;;
    --images) IMAGES=${2:?}; shift 2 ;;
    --pulls) PULLS=${2:?}; shift 2 ;;
    --gates) CHOSEN=${2:?}; shift 2 ;;
    --server-cpu) SERVER_CPU=${2:?}; shift 2 ;;
    --load-cpu) LOAD_CPU=${2:?}; shift 2 ;;
    --port) PORT=${2:?}; shift 2 ;;
    --dir) SCRATCH=${2:?}; shift 2 ;;
    --out) OUT=${2:?}; shift 2 ;;
    -h|--help) sed -n '2,10p' "$0"; exit 0 ;;
    *) die "unknown argument $1" ;;
  esac
done
read -r -a costs <<< "${COSTS//,/ }"
read -r -a images <<< "${IMAGES//,/ }"
read -r -a gates <<< "${CHOSEN//,/ }"
for g in "${gates[@]}"; do case " $GATES " in *" $g "*) ;; *) die "no gate $g (there are $GATES)" ;; esac; done
for i in "${images[@]}"; do case $i in small|image) ;; *) die "no image $i" ;; esac; done
for number in "$ROUNDS" "$PULLS" "$PORT" "${costs[@]}"; do [[ $number =~ ^[1-9][0-9]*$ ]] || die "'$number' is no number"; done
[ "$SERVER_CPU" != "$LOAD_CPU" ] || die "the servers and the load need a CPU each"
parse_size "$SIZE"
need_programs curl h2load jq openssl htpasswd python3 taskset pgrep nginx haproxy docker-registry
find_portcullis
choose_report today
choose_ports
make_scratch $((BYTES * 3 / 1024 + 131072))
note_load

# Into the registry's storage as any client does it, once for all gates.
push_image() { # NAME
  local folder=$DIR/www/v2/bench/$1 at=http://127.0.0.1:$REGISTRY_PORT blob location
  for blob in "$folder"/blobs/*; do
    location=$(curl -sS --fail -X POST -d '' -o /dev/null -w '%header{location}' "$at/v2/bench/$1/blobs/uploads/")
    curl -sS --fail -o /dev/null -T "$blob" -H 'Content-Type: application/octet-stream' "$at$location&digest=$(basename "$blob")" || die "no blob pushed"
  done
  curl -sS --fail -o /dev/null -X PUT --data-binary "@$folder/manifests/latest" -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' \
    "$at/v2/bench/$1/manifests/latest" || die "no manifest pushed"
}

# cell ROUND GATE COST IMAGE: fresh processes, so that nobody is remembered from before.
cell() {
  local before after out registry
  start_gate "$2" "$3"
  before=$(cpu_ticks "${SERVERS[@]}") registry=$(cpu_ticks "${SERVERS[0]}")
  out=$(client python3 "$HELPERS/client/pull.py" --clients 50 --pulls "$PULLS" --users 'user{}' --port "$PORT" --repository "bench/$4" \
    --ca "$DIR/tls/ca.crt" <<< "$PASSWORD") || die "pulls through $2"
  after=$(cpu_ticks "${SERVERS[@]}") registry=$(($(cpu_ticks "${SERVERS[0]}") - registry))
  stop_gate
  jq -c --argjson round "$1" --arg gate "$2" --argjson cost "$3" --arg image "$4" \
    --argjson ticks $((after - before)) --argjson registry "$registry" --argjson hz "$(getconf CLK_TCK)" \
    '. + {round: $round, gate: $gate, cost: $cost, image: $image, cpu_seconds: ($ticks / $hz), registry_cpu_seconds: ($registry / $hz)}' <<< "$out" >> "$DIR/samples.jsonl"
  tail -n 1 "$DIR/samples.jsonl" | jq -r '"  round \(.round) \(.gate), cost \(.cost), \(.image): "
    + "\(.requests / .seconds | round) requests/s, \(.cpu_seconds) CPU-s, \(.registry_cpu_seconds) of it the registry\u0027s"' >&2
}

make_certificates
make_blobs
make_image bench/image $((BYTES / 32))
make_image bench/small $((12 * 65536))
make_token
mkdir -p "$DIR/registry"
SERVERS=()
serve_registry "$REGISTRY_PORT" ''
answers "$STARTED" "$DIR/registry.log" "http://127.0.0.1:$REGISTRY_PORT/v2/"
push_image image
push_image small
stop_gate
say "${#gates[@]} gates x ${#costs[@]} costs x ${#images[@]} images x $ROUNDS rounds; servers on CPU $SERVER_CPU, clients on CPU $LOAD_CPU"
for cost in "${costs[@]}"; do
  make_users "$cost"
  for round in $(seq "$ROUNDS"); do
    for image in "${images[@]}"; do
      for i in "${!gates[@]}"; do cell "$round" "${gates[(i + round - 1) % ${#gates[@]}]}" "$cost" "$image"; done
    done
  done
done

abouts=$(for g in "${gates[@]}"; do jq -n --arg g "$g" --arg a "$(about "$g")" '{($g): $a}'; done | jq -s add)
jq -s --arg size "$SIZE" --argjson pulls "$PULLS" --argjson abouts "$abouts" --argjson machine "$(machine portcullis nginx haproxy registry)" \
  -f "$HELPERS/today.jq" "$DIR/samples.jsonl" > "$OUT" || die "no report"
jq -r -f "$HELPERS/today-table.jq" "$OUT" || die "no table"
say "written to $OUT"
