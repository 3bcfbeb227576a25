#!/bin/bash
# The catalog of a registry with many repositories, for callers who see all of them, three that are named in their grants, and
# three that only a pattern with a leading wildcard finds. See README.md.
#
#   benches/catalog.sh [--repositories 100000] [--maxentries 1000] [--callers three,wild,all] [--dir SCRATCH] [--port 18543]
#
# PORTCULLIS=/path/to/portcullis takes a binary that is there; otherwise `cargo build --release` makes it. Exits 1 where a
# page differs from the filtered reference.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() { echo "catalog.sh: $*" >&2; exit 2; }

TOTAL=100000 MAXENTRIES=1000 CALLERS=three,wild,all SCRATCH='' PORT=18543
while [ $# -gt 0 ]; do
  case $1 in
    --repositories) TOTAL=${2:?}; shift 2 ;;
    --maxentries) MAXENTRIES=${2:?}; shift 2 ;;
    --callers) CALLERS=${2:?}; shift 2 ;;
    --dir) SCRATCH=${2:?}; shift 2 ;;
    --port) PORT=${2:?}; shift 2 ;;
    -h|--help) sed -n '2,8p' "$0"; exit 0 ;;
    *) die "unknown argument $1" ;;
  esac
done
[[ $TOTAL =~ ^[1-9][0-9]{3,}$ && $MAXENTRIES =~ ^[1-9][0-9]*$ && $PORT =~ ^[1-9][0-9]*$ ]] || die "numbers, and 1000 repositories at least"
for caller in ${CALLERS//,/ }; do case $caller in three|wild|all) ;; *) die "unknown caller $caller" ;; esac; done
for tool in curl jq openssl awk docker-registry; do command -v "$tool" >/dev/null || die "$tool is missing"; done
if [ -z "${PORTCULLIS:-}" ]; then
  (cd "$ROOT" && cargo build --release --locked --bin portcullis) || die "the build failed"
  PORTCULLIS=$(cd "$ROOT" && cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/release/portcullis
fi
REGISTRY_PORT=$((PORT + 1)) ADMIN_PORT=$((PORT + 2)) BASE=https://localhost:$PORT DIRECT=http://127.0.0.1:$((PORT + 1))
for p in "$PORT" "$REGISTRY_PORT" "$ADMIN_PORT"; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then die "port $p is taken (--port chooses others)"; fi
done

W=$(mktemp -d "${SCRATCH:-${TMPDIR:-/tmp}}/catalog.XXXXXX")
pids=()
# shellcheck disable=SC2317 # the trap calls it
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done; rm -rf "$W"; }
trap finish EXIT

# A repository is a folder that holds _layers. Namespaces of a thousand, with dots, dashes, underscores and depth.
storage=$W/storage/docker/registry/v2/repositories
mkdir -p "$storage"
echo "making $TOTAL repositories"
awk -v total="$TOTAL" 'BEGIN {
  split("team%03d team-%03d team.%03d te/am%03d", spaces, " ")
  split("app%04d app-%04d app.%04d nest/app%04d app_%04d", apps, " ")
  for (i = 0; i < total - 3; i++) {
    space = int(i / 1000)
    printf spaces[space % 4 + 1] "/" apps[i % 5 + 1] "\n", space, i % 1000
  }
  last = int((total - 4) / 1000)
  printf "team-%03d/needle\nteam.%03d/needle\nteam%03d/needle\n", 1, int(last / 2), last
}' > "$W/names"
(cd "$storage" && sed 's|$|/_layers|' "$W/names" | xargs mkdir -p && sed 's|$|/_manifests/tags|' "$W/names" | xargs mkdir -p)

cat > "$W/registry.yml" <<END
version: 0.1
log: {level: warn, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: $W/storage}}
http: {addr: "127.0.0.1:$REGISTRY_PORT"}
catalog: {maxentries: $MAXENTRIES}
END
env -u REGISTRY_AUTH_FILE OTEL_TRACES_EXPORTER=none docker-registry serve "$W/registry.yml" > "$W/registry.log" 2>&1 &
pids+=($!)

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
  -keyout "$W/tls.key" -out "$W/tls.crt" 2>/dev/null
for user in three wild all; do echo "$user's password" | "$PORTCULLIS" hash "$user"; done > "$W/htpasswd"
named=$(grep /needle "$W/names" | sed 's/.*/"&"/' | paste -sd,)
cat > "$W/portcullis.yml" <<END
version: 1
listen: {https: ["127.0.0.1:$PORT"], http: [], admin: "127.0.0.1:$ADMIN_PORT"}
tls: {certificates: [{certificate_file: tls.crt, key_file: tls.key}]}
registries: [{hosts: [localhost], upstream: {servers: [{url: "$DIRECT"}]}}]
identity: {providers: [{htpasswd: {file: htpasswd}}]}
tokens: {keys: [token.key]}
access:
  grants:
    - {name: three, repositories: [$named], actions: [pull], to: ["user:three"]}
    - {name: wild, repositories: ["**/needle"], actions: [pull], to: ["user:wild"]}
    - {name: all, repositories: ["**"], actions: [pull], to: ["user:all"]}
log: {access: false}
END
gate=''
start_gate() {
  "$PORTCULLIS" serve -c "$W/portcullis.yml" > "$W/portcullis.log" 2>&1 &
  gate=$!
  pids+=("$gate")
  for _ in $(seq 100); do curl -sf -o /dev/null "http://127.0.0.1:$ADMIN_PORT/readyz" && return; sleep 0.1; done
  die "portcullis did not start: $(cat "$W/portcullis.log")"
}
memory() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$gate/status"; }
requests() { grep -c '"GET /v2/_catalog' "$W/registry.log" || true; }
for _ in $(seq 100); do curl -sf -o /dev/null "$DIRECT/v2/" && break; sleep 0.1; done

# The reference: the registry's own catalog, page by page.
echo "reading the registry's own catalog"
target="/v2/_catalog?n=$MAXENTRIES" began=$EPOCHREALTIME pages=0
: > "$W/reference"
while [ -n "$target" ]; do
  curl -sf -D "$W/head" "$DIRECT$target" | jq -r '.repositories[]?' >> "$W/reference"
  target=$(tr -d '\r' < "$W/head" | sed -n 's/^[Ll]ink: <\([^>]*\)>.*/\1/p') pages=$((pages + 1))
done
[ "$(wc -l < "$W/reference")" = "$TOTAL" ] || die "the registry lists $(wc -l < "$W/reference") repositories"
echo "directly: $pages pages in $(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s"

status=0
# Walks all pages of a caller and compares them with the reference.
walk() {
  local caller=$1 n=$2 expected=$3 target page=0 unfinished=0 first='' slowest=0 most=0 before after seconds code at=0
  start_gate
  # The first login costs a password hash, which is none of the catalog's.
  curl -sf -o /dev/null --cacert "$W/tls.crt" -u "$caller:$caller's password" "$BASE/v2/"
  local resident; resident=$(memory VmRSS)
  : > "$W/shown"
  target="/v2/_catalog?n=$n" first=0
  while [ -n "$target" ]; do
    before=$(requests)
    read -r code seconds < <(curl -s --cacert "$W/tls.crt" -u "$caller:$caller's password" -D "$W/head" -o "$W/body" \
      -w '%{http_code} %{time_total}\n' "$BASE$target")
    after=$(requests)
    most=$((after - before > most ? after - before : most))
    if [ "$code" = 503 ]; then
      grep -qi '^retry-after:' "$W/head" || die "503 without Retry-After"
      unfinished=$((unfinished + 1)) first=$(awk -v a="$first" -v b="$seconds" 'BEGIN { print a + b }')
      sleep 1
      continue
    fi
    [ "$code" = 200 ] || die "$caller: $code for $target: $(cat "$W/body")"
    jq -r '.repositories[]' < "$W/body" >> "$W/shown"
    if [ $page = 0 ]; then first=$(awk -v a="$first" -v b="$seconds" 'BEGIN { print a + b }')
    else slowest=$(awk -v a="$slowest" -v b="$seconds" 'BEGIN { m = a > b ? a : b; print m }'); fi
    page=$((page + 1))
    target=$(tr -d '\r' < "$W/head" | sed -n 's/^[Ll]ink: <\([^>]*\)>.*/\1/p')
    if [ -n "$target" ]; then
      at=$(jq -r '.repositories[-1] | @uri' < "$W/body")
      case $target in *"last=$at&n=$n"|*"n=$n&last=$at") ;; *) die "the link goes on from another name: $target" ;; esac
    fi
  done
  cmp -s "$W/shown" "$expected" || { echo "$caller: differs from the reference" >&2; diff "$W/shown" "$expected" | head -5 >&2; status=1; }
  printf '%-6s n=%-4s  %5d names  %3d pages  first %6.2f s (%d× 503)  slowest later %5.2f s  at most %3d requests a page  RSS %+.1f MiB, peak %+.1f MiB\n' \
    "$caller" "$n" "$(wc -l < "$W/shown")" "$page" "$first" "$unfinished" "$slowest" "$most" \
    "$(awk -v a="$resident" -v b="$(memory VmRSS)" 'BEGIN { print (b - a) / 1024 }')" \
    "$(awk -v a="$resident" -v b="$(memory VmHWM)" 'BEGIN { print (b - a) / 1024 }')"
  kill "$gate"; wait "$gate" 2>/dev/null || true
}
grep /needle "$W/reference" > "$W/needles"
for caller in ${CALLERS//,/ }; do
  case $caller in
    all) walk all 1000 "$W/reference" ;;
    *) walk "$caller" 1 "$W/needles"; walk "$caller" 100 "$W/needles" ;;
  esac
done
exit $status
