# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # sourced: its variables are set in lib.sh and its callers
# Sourced by compare.sh and memory.sh: the proxies. A variant is a program, and where it differs: nginx-default has nothing
# tuned, NAME-unix reaches its upstreams over Unix sockets. Of those that are measured only where they are named,
# portcullis-silent writes neither an access log nor an audit log, and portcullis-told tells an endpoint of every pull.
readonly USUAL="portcullis portcullis-unix nginx nginx-unix nginx-default haproxy haproxy-unix caddy caddy-unix"
readonly VARIANTS="$USUAL portcullis-silent portcullis-told"

program() { printf '%s' "${1%%-*}"; }

# upstream VARIANT files|registry: the upstream's address as the program writes it.
upstream() {
  local port=$FILES_PORT
  [ "$2" = registry ] && port=$REGISTRY_PORT
  case $1 in
    portcullis-unix|nginx-unix) printf 'unix:%s' "$DIR/$2.sock" ;;
    haproxy-unix) printf 'unix@%s' "$DIR/$2.sock" ;;
    caddy-unix) printf 'unix/%s' "$DIR/$2.sock" ;;
    portcullis*) printf 'http://127.0.0.1:%s' "$port" ;;
    *) printf '127.0.0.1:%s' "$port" ;;
  esac
}

# How each writes its access log into DIR/VARIANT/access.log (portcullis and HAProxy: to the descriptor that leads to a file).
access_log() { # VARIANT
  case $1 in
    portcullis-silent) printf 'access: false, audit: false' ;;
    portcullis*) [ -n "$ACCESS_LOGS" ] && printf 'access: true, audit: true' || printf 'access: false, audit: false' ;;
    nginx*) [ -n "$ACCESS_LOGS" ] && printf 'access_log %s combined buffer=64k flush=5s;' "$DIR/$1/access.log" || printf 'access_log off;' ;;
    haproxy*) [ -n "$ACCESS_LOGS" ] && printf 'log stdout format raw local0\n  option httplog' ;;
    caddy*) [ -n "$ACCESS_LOGS" ] && printf 'log {\n\t\toutput file %s {\n\t\t\troll_disabled\n\t\t}\n\t}' "$DIR/$1/access.log" ;;
  esac
}

# Whom it tells of what it does.
endpoints() { # VARIANT
  [ "$1" != portcullis-told ] || printf '{ name: "bench", url: "http://127.0.0.1:%s/events" }' "$FILES_PORT"
}

render_proxy() { # VARIANT
  local template
  case $1 in
    portcullis*) template=portcullis.yml ;;
    nginx-default) template=nginx-default.conf ;;
    nginx*) template=nginx.conf ;;
    haproxy*) template=haproxy.cfg ;;
    caddy*) template=Caddyfile ;;
  esac
  mkdir -p "$DIR/$1"
  render "$template.in" "$DIR/$1/conf" "SCRATCH=$DIR/$1" "FILES=$(upstream "$1" files)" "REGISTRY=$(upstream "$1" registry)" \
    "MAXCONN=${MAXCONN:-4096}" "ACCESS_LOG=$(access_log "$1")" "ENDPOINTS=$(endpoints "$1")"
}

start_proxy() { # VARIANT: sets PROXY to its process id
  local at=$DIR/$1
  rm -f "$at/access.log"
  case $1 in
    portcullis*) start "$1" "$PROXY_CPU" "$PORTCULLIS" serve -c "$at/conf" ;;
    nginx*)      start "$1" "$PROXY_CPU" nginx -c "$at/conf" -e "$at/error.log" ;;
    haproxy*)    start "$1" "$PROXY_CPU" haproxy -db -f "$at/conf" ;;
    caddy*)      start "$1" "$PROXY_CPU" env GOMAXPROCS=1 HOME="$at" XDG_DATA_HOME="$at" XDG_CONFIG_HOME="$at" \
                   caddy run --config "$at/conf" --adapter caddyfile ;;
  esac
  PROXY=$STARTED
  answers "$PROXY" "$DIR/$1.log" "$BASE/v2/"
}

# A token for the repository, into TOKEN; empty where the proxy asks for none.
fetch_token() { # VARIANT BASE SCOPE
  TOKEN=
  [ "$(program "$1")" = portcullis ] || return 0
  TOKEN=$(fetch -u "bench:$PASSWORD" "$2/token?service=$(sed 's|https://||; s|:.*||' <<< "$2")&scope=$3" | jq -r '.token // empty')
  [ -n "$TOKEN" ] || die "$1 gave no token"
}

client() { OPENSSL_CONF="$HELPERS/client/openssl.cnf" taskset -c "$LOAD_CPU" "$@"; }
fetch() { client curl -sS --no-progress-meter --fail --cacert "$DIR/tls/ca.crt" "$@"; }

# The setting that all are compared under, as the client saw it.
check_tls() { # NAME
  local seen
  seen=$(client openssl s_client -connect "127.0.0.1:$PORT" -servername localhost -CAfile "$DIR/tls/ca.crt" -verify_return_error </dev/null 2>/dev/null |
    awk '/^New, / { p = $2 $NF } /^Server Temp Key/ { k = $4 } /^ *Peer signature type|^Peer signature type/ { s = $NF } END { print p, k, s }')
  [ "$seen" = "TLSv1.3,TLS_AES_128_GCM_SHA256 X25519, ECDSA" ] || die "TLS of $1 is '$seen'"
}
