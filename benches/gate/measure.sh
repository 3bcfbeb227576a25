# shellcheck shell=bash disable=SC2154 # sourced: its variables are set in gate.sh
# Sourced by gate.sh: what one cell (proxy, case) does and how its cost is read from /proc.

# Sum of user and system time of a process and its live children, in clock ticks.
cpu_ticks() { # PID
  local pid
  # the name (field 2) may hold blanks: count from behind it
  for pid in "$1" $(pgrep -P "$1"); do sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null; done | awk '{ ticks += $12 + $13 } END { print ticks + 0 }'
}

# Largest peak resident set among the process and its children, in KiB.
peak_kib() { # PID
  local pid
  for pid in "$1" $(pgrep -P "$1"); do awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null; done | sort -n | tail -n 1
}

client() { OPENSSL_CONF="$HELPERS/openssl.cnf" taskset -c "$LOAD_CPU" "$@"; }
fetch() { client curl -sS --no-progress-meter --fail --cacert "$DIR/tls/ca.crt" "$@"; }

# Bytes through curl's hands must be what was asked for, over the version that was asked for.
expect() { # WHAT GOT WANTED
  [ "$2" = "$3" ] || die "$1: got '$2', wanted '$3'"
}

get_one() { # HTTP-VERSION-FLAG VERSION
  expect "GET" "$(fetch "$1" -o /dev/null -w '%{http_code} %{http_version} %{size_download}' "$BASE/v2/bench/blob/blobs/$BLOB")" "200 $2 $BYTES"
}

get_many() { # 16 connections, one transfer each
  local args=()
  for _ in {1..16}; do args+=(-o /dev/null "$BASE/v2/bench/blob/blobs/$PART"); done
  expect "16 GETs" "$(fetch --http1.1 --parallel --parallel-immediate --parallel-max 16 -w '%{http_code} %{size_download} %{num_connects}\n' "${args[@]}" | sort | uniq -c | tr -s ' ')" \
    " 16 200 $PART_BYTES 1"
}

put_one() {
  local at location headers=(-H "Content-Type: application/octet-stream" -H "Expect:")
  [ -n "$TOKEN" ] && headers+=(-H "Authorization: Bearer $TOKEN")
  location=$(fetch --http1.1 "${headers[@]}" -X POST -d '' -o /dev/null -w '%header{location}' "$UPLOAD_BASE/v2/bench/upload/blobs/uploads/")
  case $location in
    /*) at=$UPLOAD_BASE$location ;;
    https://*) at=$location ;;
    *) die "POST gave no Location: '$location'" ;;
  esac
  case $at in *\?*) at="$at&digest=$BLOB" ;; *) at="$at?digest=$BLOB" ;; esac
  expect "PUT" "$(fetch --http1.1 "${headers[@]}" -T "$DIR/blob" -o /dev/null -w '%{http_code} %{http_version} %{size_upload}' "$at")" "201 1.1 $BYTES"
}

manifests() { # sets REQUESTS
  local out
  out=$(client wrk -t1 -c64 -d"${SECONDS_SMALL}s" "$BASE/v2/bench/blob/manifests/latest" 2>&1)
  grep -q -E 'Non-2xx|Socket errors' <<< "$out" && die "wrk: $out"
  REQUESTS=$(awk '/ requests in / { print $1 }' <<< "$out")
  [ "${REQUESTS:-0}" -gt 0 ] || die "wrk: $out"
}

# One request of the same kind before the clock starts: connections to the upstream, token, first pages of memory.
warm_up() { # CASE
  TOKEN=
  if [ "$2" = put ]; then
    if [ "$1" = portcullis ]; then
      TOKEN=$(fetch -u "bench:$PASSWORD" "$UPLOAD_BASE/token?service=127.0.0.1&scope=repository:bench/upload:pull,push" | jq -r '.token // empty')
      [ -n "$TOKEN" ] || die "no token"
    fi
    fetch -o /dev/null ${TOKEN:+-H "Authorization: Bearer $TOKEN"} "$UPLOAD_BASE/v2/"
  else
    expect "manifest" "$(fetch -o /dev/null -w '%{http_code} %{size_download}' "$BASE/v2/bench/blob/manifests/latest")" "200 1024"
  fi
}

# The setting all are compared under, as the client saw it.
check_tls() { # NAME
  local seen
  seen=$(client openssl s_client -connect "127.0.0.1:$PORT" -servername localhost -CAfile "$DIR/tls/ca.crt" -verify_return_error </dev/null 2>/dev/null |
    awk '/^New, / { p = $2 $NF } /^Server Temp Key/ { k = $4 } /^ *Peer signature type|^Peer signature type/ { s = $NF } END { print p, k, s }')
  expect "TLS of $1" "$seen" "TLSv1.3,TLS_AES_128_GCM_SHA256 X25519, ECDSA"
}

# cell ROUND NAME CASE: a fresh process, one case, one line into samples.tsv.
cell() {
  local before after began ended units=1 kind=GiB
  start_proxy "$2"
  [ "$1" = 1 ] && check_tls "$2"
  warm_up "$2" "$3"
  before=$(cpu_ticks "$PROXY"); began=$(date +%s%N)
  case $3 in
    get)       get_one --http1.1 1.1 ;;
    get16)     get_many ;;
    put)       put_one ;;
    h2get)     get_one --http2 2 ;;
    manifest)  manifests; units=$REQUESTS; kind=1000 ;;
  esac
  ended=$(date +%s%N); after=$(cpu_ticks "$PROXY")
  awk -v OFS='\t' -v round="$1" -v proxy="$2" -v case="$3" -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" \
      -v ns=$((ended - began)) -v kind="$kind" -v units="$units" -v bytes="$BYTES" -v kib="$(peak_kib "$PROXY")" 'BEGIN {
    amount = kind == "GiB" ? bytes / 1073741824 : units / 1000
    printf "%s\t%s\t%s\t%.4f\t%.3f\t%.6f\t%d\n", round, proxy, case, ticks / hz, ns / 1e9, amount, kib }' >> "$DIR/samples.tsv"
  stop "$PROXY"
  tail -n 1 "$DIR/samples.tsv" | awk '{ printf "  round %s %-10s %-8s %7.4f CPU-s per unit, %7.2f s, peak %6.1f MiB\n", $1, $2, $3, $4 / $6, $5, $7 / 1024 }' >&2
}
