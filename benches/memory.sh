#!/bin/bash
# What is held costs memory: idle TLS connections, transfers whose client does not read, many such streams on one HTTP/2
# connection; and whether large bodies take more than small ones. portcullis beside nginx and HAProxy. See README.md.
#
#   benches/memory.sh [--many] [--items idle:1000,stalled:64,...] [--bodies 64MiB,1GiB] [--proxies portcullis,nginx,haproxy]
#                     [--buffers 512MiB] [--proxy-cpu 0] [--load-cpu 1] [--port 18843] [--dir SCRATCH] [--out FILE.json]
#
# --many adds 10,000 idle connections. --buffers is portcullis' limits.buffers. PORTCULLIS=/path/to/portcullis takes a binary that
# is there.
set -uo pipefail
HELPERS=$(cd "$(dirname "${BASH_SOURCE[0]}")/compare" && pwd)
# shellcheck source=benches/compare/lib.sh
. "$HELPERS/lib.sh"
# shellcheck source=benches/compare/scene.sh
. "$HELPERS/scene.sh"
# shellcheck source=benches/compare/proxies.sh
. "$HELPERS/proxies.sh"

ITEMS=idle:1000,stalled:64,stalled:1000,h2stalled:64,h2stalled:1000,h2streams:100 BODIES=64MiB,1GiB CHOSEN=portcullis,nginx,haproxy
BUFFERS=512MiB MANY='' PROXY_CPU=0 LOAD_CPU=1 PORT=18843 SCRATCH='' OUT='' ACCESS_LOGS=1
while [ $# -gt 0 ]; do
  case $1 in
    --many) MANY=1; shift ;;
    --items) ITEMS=${2:?}; shift 2 ;;
    --bodies) BODIES=${2:?}; shift 2 ;;
    --proxies) CHOSEN=${2:?}; shift 2 ;;
    --buffers) BUFFERS=${2:?}; shift 2 ;;
    --proxy-cpu) PROXY_CPU=${2:?}; shift 2 ;;
    --load-cpu) LOAD_CPU=${2:?}; shift 2 ;;
    --port) PORT=${2:?}; shift 2 ;;
    --dir) SCRATCH=${2:?}; shift 2 ;;
    --out) OUT=${2:?}; shift 2 ;;
    -h|--help) sed -n '2,9p' "$0"; exit 0 ;;
    *) die "unknown argument $1" ;;
  esac
done
[ -n "$MANY" ] && ITEMS=$ITEMS,idle:10000
read -r -a items <<< "${ITEMS//,/ }"
read -r -a bodies <<< "${BODIES//,/ }"
read -r -a proxies <<< "${CHOSEN//,/ }"
for p in "${proxies[@]}"; do case $p in portcullis|nginx|haproxy|caddy) ;; *) die "no proxy $p" ;; esac; done
for i in "${items[@]}"; do [[ $i =~ ^(idle|stalled|h2stalled|h2streams):[1-9][0-9]*$ ]] || die "an item is like idle:1000"; done
parse_size "${bodies[-1]}"; LARGEST_BODY=$BYTES
parse_size "${bodies[0]}"
[[ $BYTES -ge 67108864 && $LARGEST_BODY -ge $BYTES ]] || die "--bodies: the first is 64MiB at least, the last the largest"
# one descriptor for a client, one for the registry behind, and what the process has besides
most=$(printf '%s\n' "${items[@]#*:}" | sort -n | tail -n 1)
stalled=$(printf '%s\n' "${items[@]}" | sed -n 's/stalled:\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
needed=$((most + ${stalled:-0} + 500))
ulimit -Sn "$(ulimit -Hn)"
case $(ulimit -n) in unlimited) ;; *) [ "$(ulimit -n)" -ge "$needed" ] || die "$needed open files are needed, $(ulimit -n) allowed" ;; esac
MAXCONN=$((most + 100))
# shellcheck disable=SC2046 # programs are single words
need_programs curl h2load jq openssl htpasswd python3 taskset pgrep nginx docker-registry "${proxies[@]/portcullis/curl}"
find_portcullis
choose_report memory
choose_ports
make_scratch $((LARGEST_BODY * 4 / 1024 + 131072))
note_load

make_certificates
BYTES=$LARGEST_BODY
make_blobs
make_manifest
make_image bench/image 1048576
make_user
start_files
start_uploads sink
for p in "${proxies[@]}"; do render_proxy "$p"; done
[ -f "$DIR/portcullis/conf" ] && sed -i "s/^limits: { /&buffers: \"$BUFFERS\", /" "$DIR/portcullis/conf"

# held PROXY WHAT:COUNT: a fresh process, and what it holds.
held() {
  local out
  start_proxy "$1"
  fetch_token "$1" "$BASE" repository:bench/blob:pull
  out=$(TOKEN=$TOKEN client python3 "$HELPERS/client/hold.py" --what "${2%:*}" --count "${2#*:}" --pid "$PROXY" --port "$PORT" --ca "$DIR/tls/ca.crt" \
    --path "/v2/bench/blob/blobs/$BLOB" --small /v2/bench/blob/manifests/latest) || die "$2 with $1"
  stop "$PROXY"
  jq -c --arg proxy "$1" '. + {proxy: $proxy}' <<< "$out" >> "$DIR/held.jsonl"
  jq -r --arg proxy "$1" '"  \($proxy) \(.what) \(.count): \(.each.pss_kib) KiB each, \(.after.pss_kib / 1024 | round) MiB in all, answers \(.answers | tojson)"' <<< "$out" >&2
}

# body PROXY SIZE: a fresh process, one download and one upload of the size, and the peak.
body() {
  local at=$DIR/body out
  parse_size "$2"
  start_proxy "$1"
  head -c "$BYTES" "$DIR/blob" > "$at"
  put_blob "$at" bench/blob
  fetch_token "$1" "$BASE" repository:bench/blob:pull
  out=$(fetch ${TOKEN:+-H "Authorization: Bearer $TOKEN"} -o /dev/null -w '%{size_download}' "$BASE/v2/bench/blob/blobs/$DIGEST")
  [ "$out" = "$BYTES" ] || die "$2 through $1: $out bytes came"
  fetch_token "$1" "$UPLOAD_BASE" repository:bench/upload:pull,push
  out=$(fetch ${TOKEN:+-H "Authorization: Bearer $TOKEN"} -H 'Content-Type: application/octet-stream' -H Expect: -X POST -d '' -o /dev/null -w '%header{location}' \
    "$UPLOAD_BASE/v2/bench/upload/blobs/uploads/")
  case $out in /*) out=$UPLOAD_BASE$out ;; esac
  case $out in *\?*) out="$out&digest=$DIGEST" ;; *) out="$out?digest=$DIGEST" ;; esac
  out=$(fetch ${TOKEN:+-H "Authorization: Bearer $TOKEN"} -H 'Content-Type: application/octet-stream' -H Expect: -T "$at" -o /dev/null -w '%{http_code}' "$out")
  [ "$out" = 201 ] || die "$2 up through $1: $out"
  jq -nc --arg proxy "$1" --arg size "$2" --argjson peak "$(peak_kib "$PROXY")" '{proxy: $proxy, size: $size, peak_kib: $peak}' >> "$DIR/bodies.jsonl"
  tail -n 1 "$DIR/bodies.jsonl" | jq -r '"  \(.proxy), \(.size) down and up: peak \(.peak_kib / 1024 | round) MiB"' >&2
  stop "$PROXY"
  rm -f "$at"
}

for i in "${items[@]}"; do for p in "${proxies[@]}"; do held "$p" "$i"; done; done
for b in "${bodies[@]}"; do for p in "${proxies[@]}"; do body "$p" "$b"; done; done

jq -n --slurpfile held "$DIR/held.jsonl" --slurpfile bodies "$DIR/bodies.jsonl" --arg buffers "$BUFFERS" --argjson machine "$(machine "${proxies[@]}")" \
  '{machine: $machine, limits_buffers: $buffers, held: $held, bodies: $bodies}' > "$OUT" || die "no report"
jq -r -f "$HELPERS/memory-table.jq" "$OUT" || die "no table"
say "written to $OUT"
