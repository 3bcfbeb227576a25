# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # sourced: its variables are set in lib.sh and its callers
# Sourced by compare.sh: what the clients do in each case. A case is three functions of its kind: its client, the warm-up that
# its kind has, and the variants that it makes sense for.
readonly BULK="get get16 get64 h2get h2get16 h2get64 h2streams put h2put"
readonly PROXIED="manifest head h2manifest h2head pull"
readonly RATES="rate h2rate rateblob h2rateblob"
readonly LOCAL="answer401 answer403 token"
readonly TLS="tlsfull tlsresumed"
readonly ALL_CASES="$BULK $PROXIED $RATES $LOCAL $TLS"

among() { case " $2 " in *" $1 "*) return 0 ;; *) return 1 ;; esac }

kind() { # CASE: what its CPU time is divided by
  if among "$1" "$BULK"; then printf 'GiB'
  elif [ "$1" = pull ]; then printf '50 pulls'
  elif among "$1" "$TLS"; then printf '1000 connections'
  else printf '1000 requests'; fi
}

# What has no upstream is the same over either; what is no upstream's and no body's is the same tuned or not.
applies() { # CASE VARIANT
  among "$1" "$LOCAL $TLS" || return 0
  case $2 in *-unix|*-default) return 1 ;; *) return 0 ;; esac
}

# What clients saw must be what was asked for.
expect() { # WHAT GOT WANTED
  [ "$2" = "$3" ] || die "$1: got '$2', wanted '$3'"
}

bearer() { [ -z "$TOKEN" ] || printf 'Authorization: Bearer %s' "$TOKEN"; }

# One blob through curl.
get_one() { # HTTP-VERSION-FLAG VERSION
  expect "GET" "$(fetch "$1" -H "$(bearer)" -o /dev/null -w '%{http_code} %{http_version} %{size_download}' "$BASE/v2/bench/blob/blobs/$BLOB")" "200 $2 $BYTES"
}

# h2load ARGUMENTS...: its report into LOADED. The windows of Go's HTTP/2 client: 4 MiB a stream, 1 GiB a connection.
load() {
  LOADED=$(client h2load -t1 -w22 -W30 --tls13-ciphers=TLS_AES_128_GCM_SHA256 --groups=X25519 ${TOKEN:+-H "$(bearer)"} "$@" 2>&1) || die "h2load: $LOADED"
  grep -q 'Cipher: TLS_AES_128_GCM_SHA256' <<< "$LOADED" || die "h2load: $LOADED"
  grep -q ' 0 failed, 0 errored, 0 timeout' <<< "$LOADED" || die "h2load: $LOADED"
}

# As many transfers at once of one blob each.
get_many() { # TRANSFERS DIGEST BYTES H2LOAD-ARGUMENTS...
  local transfers=$1 digest=$2 size=$3; shift 3
  load -n "$transfers" "$@" "$BASE/v2/bench/blob/blobs/$digest"
  expect "$transfers GETs" "$(sed -n 's/^status codes: \([0-9]*\) 2xx.*/\1/p' <<< "$LOADED") $(sed -n 's/^traffic: .*(\([0-9]*\)) data$/\1/p' <<< "$LOADED")" \
    "$transfers $((transfers * size))"
}

put_one() { # HTTP-VERSION-FLAG VERSION
  local at location headers=(-H "Content-Type: application/octet-stream" -H "Expect:" -H "$(bearer)")
  location=$(fetch "$1" "${headers[@]}" -X POST -d '' -o /dev/null -w '%header{location}' "$UPLOAD_BASE/v2/bench/upload/blobs/uploads/")
  case $location in
    /*) at=$UPLOAD_BASE$location ;;
    https://*) at=$location ;;
    *) die "POST gave no Location: '$location'" ;;
  esac
  case $at in *\?*) at="$at&digest=$BLOB" ;; *) at="$at?digest=$BLOB" ;; esac
  expect "PUT" "$(fetch "$1" "${headers[@]}" -T "$DIR/blob" -o /dev/null -w '%{http_code} %{http_version} %{size_upload}' "$at")" "201 $2 $BYTES"
}

# wrk URL [HEADER] [STATUS]: 64 connections for --seconds, everything answered with the status that is wanted; sets AMOUNT.
requests() {
  local out requests others
  out=$(client wrk -t1 -c64 -d"${SECONDS_SMALL}s" ${2:+-H "$2"} "$1" 2>&1) || die "wrk: $out"
  grep -q 'Socket errors' <<< "$out" && die "wrk: $out"
  requests=$(awk '/ requests in / { print $1 }' <<< "$out")
  others=$(awk '/Non-2xx/ { print $NF }' <<< "$out")
  [ "${requests:-0}" -gt 0 ] || die "wrk: $out"
  if [ "${3:-200}" = 200 ]; then expect "other answers" "${others:-0}" 0; else expect "answers that are no success" "${others:-0}" "$requests"; fi
  AMOUNT=$(awk -v n="$requests" 'BEGIN { print n / 1000 }')
}

# The same through h2load: 64 connections, one request at a time on each.
h2_requests() { # METHOD
  local requests
  load -c64 -m1 -D "$SECONDS_SMALL" -H ":method: $1" "$BASE/v2/bench/blob/manifests/latest"
  requests=$(sed -n 's/^requests: .* \([0-9]*\) succeeded.*/\1/p' <<< "$LOADED")
  # with 2xx are counted, too, the answers that began before the time was over
  grep -q '^status codes: [0-9]* 2xx, 0 3xx, 0 4xx, 0 5xx' <<< "$LOADED" || die "h2load: $LOADED"
  [ "${requests:-0}" -gt 0 ] || die "h2load: $LOADED"
  AMOUNT=$(awk -v n="$requests" 'BEGIN { print n / 1000 }')
}

# Requests at a rate that none of the proxies is busy with, and how long they took: P50 and P99 in microseconds. The first second,
# with the handshakes in it, is left out.
at_rate() { # RATE CONNECTIONS URL H2LOAD-ARGUMENTS...
  local rate=$1 connections=$2 url=$3 total took; shift 3
  total=$((rate * (SECONDS_SMALL + 1)))
  rm -f "$DIR/latencies"
  load -n "$total" -c "$connections" --rps "$(awk -v r="$rate" -v c="$connections" 'BEGIN { print r / c }')" --log-file "$DIR/latencies" "$@" "$url"
  expect "good answers" "$(awk '$2 == 200' "$DIR/latencies" | wc -l)" "$total"
  took=$(sed -n 's/^finished in .*, \([0-9.]*\) req.*/\1/p' <<< "$LOADED")
  awk -v got="$took" -v rate="$rate" 'BEGIN { exit !(got >= 0.9 * rate) }' ||
    die "$took of $rate requests a second: too much for this machine (--rate, --blob-rate)"
  sort -n "$DIR/latencies" | awk 'NR == 1 { from = $1 + 1000000 } $1 >= from' | sort -n -k 3,3 | awk '{ took[NR] = $3 } END { print took[int((NR + 1) * 0.5)], took[int((NR + 1) * 0.99)] }' > "$DIR/percentiles"
  read -r P50 P99 < "$DIR/percentiles"
  AMOUNT=$(awk -v n="$total" 'BEGIN { print n / 1000 }')
}

connections() { # full | resumed
  local made
  made=$(TOKEN=$TOKEN client python3 "$HELPERS/client/connect.py" --mode "$1" --count "$CONNECTIONS" --port "$PORT" --ca "$DIR/tls/ca.crt" \
    --path /v2/bench/blob/manifests/latest --length 1024) || die "connections"
  expect "connections" "$made" "$CONNECTIONS"
  AMOUNT=$(awk -v n="$CONNECTIONS" 'BEGIN { print n / 1000 }')
}

# portcullis answers by itself; the peers have an answer of their own that is no decision.
local_answer() { # STATUS HEADER
  if [ "$(program "$VARIANT")" = portcullis ]; then requests "$BASE/v2/bench/blob/manifests/latest" "$2" "$1"; else requests "$BASE/local"; fi
}

case_get()        { get_one --http1.1 1.1; }
case_get16()      { get_many 16 "$PART16" $((BYTES / 16)) --h1 -c16; }
case_get64()      { get_many 64 "$PART64" $((BYTES / 64)) --h1 -c64; }
case_h2get()      { get_one --http2 2; }
case_h2get16()    { get_many 16 "$PART16" $((BYTES / 16)) -c16 -m1; }
case_h2get64()    { get_many 64 "$PART64" $((BYTES / 64)) -c64 -m1; }
case_h2streams()  { get_many 16 "$PART16" $((BYTES / 16)) -c1 -m16; }
case_put()        { put_one --http1.1 1.1; }
case_h2put()      { put_one --http2 2; }
case_manifest()   { requests "$BASE/v2/bench/blob/manifests/latest" "$(bearer)"; }
case_h2manifest() { h2_requests GET; }
case_h2head()     { h2_requests HEAD; }
case_rate()       { at_rate "$RATE" 64 "$BASE/v2/bench/blob/manifests/latest" --h1; }
case_h2rate()     { at_rate "$RATE" 16 "$BASE/v2/bench/blob/manifests/latest" -m16; }
case_rateblob()   { at_rate "$BLOB_RATE" 16 "$BASE/v2/bench/blob/blobs/$MIB" --h1; }
case_h2rateblob() { at_rate "$BLOB_RATE" 16 "$BASE/v2/bench/blob/blobs/$MIB" -m4; }
case_answer401()  { local_answer 401 ''; }
case_answer403()  { local_answer 403 "$(bearer)"; }
case_tlsfull()    { connections full; }
case_tlsresumed() { connections resumed; }

case_head() {
  local answered
  answered=$(TOKEN=$TOKEN client python3 "$HELPERS/client/head.py" --seconds "$SECONDS_SMALL" --port "$PORT" --ca "$DIR/tls/ca.crt" \
    --path /v2/bench/blob/manifests/latest --length 1024) || die "HEADs"
  AMOUNT=$(awk -v n="$answered" 'BEGIN { print n / 1000 }')
}

case_token() {
  if [ "$(program "$VARIANT")" = portcullis ]; then
    requests "$BASE/token?service=localhost&scope=repository:bench/blob:pull" "Authorization: Basic $(printf 'bench:%s' "$PASSWORD" | base64 -w0)"
  else
    requests "$BASE/local"
  fi
}

case_pull() {
  local out
  out=$(client python3 "$HELPERS/client/pull.py" --clients 50 --port "$PORT" --repository bench/image --ca "$DIR/tls/ca.crt" <<< "$PASSWORD") || die "pulls"
  expect "pulls" "$(jq .pulls <<< "$out")" 50
  AMOUNT=1
}

# One request of the same kind before the clock starts: the login, connections to the upstream, first pages of memory.
warm_up() { # VARIANT CASE
  case $2 in
    put|h2put)
      fetch_token "$1" "$UPLOAD_BASE" repository:bench/upload:pull,push
      fetch -H "$(bearer)" -o /dev/null "$UPLOAD_BASE/v2/" || die "$1 answers no /v2/" ;;
    *)
      fetch_token "$1" "$BASE" repository:bench/blob:pull
      expect "manifest" "$(fetch -H "$(bearer)" -o /dev/null -w '%{http_code} %{size_download}' "$BASE/v2/bench/blob/manifests/latest")" "200 1024" ;;
  esac
  # a token that is in order and is for something else
  [ "$2" = answer403 ] && fetch_token "$1" "$BASE" repository:bench/other:pull
  return 0
}

# cell ROUND VARIANT CASE: a fresh process, one case, one line into samples.tsv.
cell() {
  local before after began ended rss
  VARIANT=$2 P50='' P99='' AMOUNT=''
  among "$3" "$BULK" && AMOUNT=$(awk -v b="$BYTES" 'BEGIN { print b / 1073741824 }')
  start_proxy "$2"
  [ "$1" = 1 ] && check_tls "$2"
  warm_up "$2" "$3"
  rss=$(rss_kib "$PROXY"); before=$(cpu_ticks "$PROXY"); began=$(date +%s%N)
  "case_$3"
  ended=$(date +%s%N); after=$(cpu_ticks "$PROXY")
  awk -v OFS='\t' -v round="$1" -v proxy="$2" -v case="$3" -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" -v ns=$((ended - began)) \
    -v amount="$AMOUNT" -v peak="$(peak_kib "$PROXY")" -v growth=$(($(rss_kib "$PROXY") - rss)) -v p50="${P50:--}" -v p99="${P99:--}" \
    'BEGIN { print round, proxy, case, ticks / hz, ns / 1e9, amount, peak, growth, p50, p99 }' >> "$DIR/samples.tsv"
  stop "$PROXY"
  tail -n 1 "$DIR/samples.tsv" | awk -F '\t' -v kind="$(kind "$3")" '{
    printf "  round %s %-15s %-11s %8.4f CPU-s per %-16s %7.2f s, peak %6.1f MiB%s\n", $1, $2, $3, $4 / $6, kind, $5, $7 / 1024,
      $9 == "-" ? "" : sprintf(", p50 %.2f ms, p99 %.2f ms", $9 / 1000, $10 / 1000) }' >&2
}
