# shellcheck shell=bash disable=SC2153,SC2154 # sourced: its variables are set in gate.sh
# Sourced by gate.sh: certificates, test data, upstreams and proxies. Needs DIR, the ports and the CPU numbers.

say() { printf '%s\n' "$*" >&2; }
die() { say "gate.sh: $*"; exit 2; }

render() { # TEMPLATE TARGET
  sed -e "s|@DIR@|$DIR|g; s|@USER@|$(id -un)|g; s|@PORT@|$PORT|g; s|@FILES_PORT@|$FILES_PORT|g" \
      -e "s|@REGISTRY_PORT@|$REGISTRY_PORT|g; s|@ADMIN_PORT@|$ADMIN_PORT|g; s|@MANIFEST_DIGEST@|$MANIFEST_DIGEST|g" \
      "$HELPERS/$1" > "$2"
}

make_certificates() {
  mkdir -p "$DIR/tls"
  ( cd "$DIR/tls" && exec 2>openssl.log &&
    openssl ecparam -name prime256v1 -genkey -noout -out ca.key &&
    openssl req -x509 -new -key ca.key -sha256 -days 2 -subj "/CN=bench CA" -out ca.crt \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign &&
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out server.key &&
    openssl req -new -key server.key -subj "/CN=localhost" -out server.csr &&
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -sha256 -out server.crt -extfile <(
      printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \
        extendedKeyUsage=serverAuth subjectAltName=DNS:localhost,IP:127.0.0.1) &&
    cat server.crt ca.crt > fullchain.crt && cat fullchain.crt server.key > haproxy.pem
  ) || die "no certificates: $DIR/tls/openssl.log"
}

# A blob of SIZE bytes that does not compress, one of a sixteenth of it, and a manifest of 1 KiB.
make_data() {
  local blobs=$DIR/www/v2/bench/blob/blobs manifests=$DIR/www/v2/bench/blob/manifests pad
  mkdir -p "$blobs" "$manifests" "$DIR/registry"
  # the file ends before openssl has seen an end of its input: SIGPIPE is what is expected here
  { openssl enc -aes-128-ctr -pass pass:bench -nosalt -pbkdf2 </dev/zero 2>/dev/null || true; } | head -c "$BYTES" > "$DIR/blob"
  head -c "$PART_BYTES" "$DIR/blob" > "$DIR/part"
  BLOB=sha256:$(sha256sum < "$DIR/blob" | cut -d' ' -f1)
  PART=sha256:$(sha256sum < "$DIR/part" | cut -d' ' -f1)
  ln "$DIR/blob" "$blobs/$BLOB"
  ln "$DIR/part" "$blobs/$PART"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":%s},"layers":[],"annotations":{"pad":"' \
    "$PART" "$PART_BYTES" > "$manifests/latest"
  pad=$((1024 - $(stat -c %s "$manifests/latest") - 3))
  { head -c "$pad" /dev/zero | tr '\0' x; printf '"}}'; } >> "$manifests/latest"
  MANIFEST_DIGEST=sha256:$(sha256sum < "$manifests/latest" | cut -d' ' -f1)
}

# start NAME CPU COMMAND...: sets STARTED to the process id. taskset replaces itself by the command.
start() {
  local name=$1 cpu=$2; shift 2
  taskset -c "$cpu" "$@" >"$DIR/$name.log" 2>&1 </dev/null &
  STARTED=$!
  RUNNING+=("$STARTED")
}

stop() { # PID
  local i kept=() p
  kill -TERM "$1" 2>/dev/null
  for i in $(seq 100); do kill -0 "$1" 2>/dev/null || break; [ "$i" = 60 ] && kill -KILL "$1" 2>/dev/null; sleep 0.05; done
  wait "$1" 2>/dev/null
  for p in "${RUNNING[@]}"; do [ "$p" = "$1" ] || kept+=("$p"); done
  RUNNING=("${kept[@]}")
}

stop_all() { local p; for p in "${RUNNING[@]}"; do kill -TERM "$p" 2>/dev/null; done; wait 2>/dev/null; RUNNING=(); }

answers() { # PID LOG URL: waits until the URL is answered by anything, dies if the process does first
  local i
  for i in $(seq 200); do
    curl -s -o /dev/null --cacert "$DIR/tls/ca.crt" "$3" && return 0
    kill -0 "$1" 2>/dev/null || break
    sleep 0.05
  done
  tail -n 20 "$2" >&2; die "no answer from $3"
}

start_upstreams() {
  render files.conf.in "$DIR/files.conf"
  render registry.yml.in "$DIR/registry.yml"
  start files "$LOAD_CPU" nginx -c "$DIR/files.conf" -e "$DIR/files.err"
  answers "$STARTED" "$DIR/files.log" "http://127.0.0.1:$FILES_PORT/v2/"
  # REGISTRY_* in the environment would override the configuration file
  start registry "$LOAD_CPU" env -i PATH="$PATH" HOME="$DIR" OTEL_TRACES_EXPORTER=none docker-registry serve "$DIR/registry.yml"
  answers "$STARTED" "$DIR/registry.log" "http://127.0.0.1:$REGISTRY_PORT/v2/"
}

start_proxy() { # NAME: sets PROXY to its process id
  case $1 in
    portcullis) start portcullis "$PROXY_CPU" "$PORTCULLIS" serve -c "$DIR/portcullis.yml" ;;
    nginx)      start nginx "$PROXY_CPU" nginx -c "$DIR/nginx.conf" -e "$DIR/nginx.err" ;;
    haproxy)    start haproxy "$PROXY_CPU" haproxy -db -f "$DIR/haproxy.cfg" ;;
    caddy)      start caddy "$PROXY_CPU" env GOMAXPROCS=1 HOME="$DIR/caddy" XDG_DATA_HOME="$DIR/caddy" XDG_CONFIG_HOME="$DIR/caddy" \
                  caddy run --config "$DIR/Caddyfile" --adapter caddyfile ;;
  esac
  PROXY=$STARTED
  answers "$PROXY" "$DIR/$1.log" "https://localhost:$PORT/v2/"
}

render_proxies() {
  render nginx.conf.in "$DIR/nginx.conf"
  render haproxy.cfg.in "$DIR/haproxy.cfg"
  render Caddyfile.in "$DIR/Caddyfile"
  render portcullis.yml.in "$DIR/portcullis.yml"
  mkdir -p "$DIR/caddy"
  PASSWORD=$(openssl rand -hex 12)
  # cost 12, as in production: the login happens once, outside of what is measured
  htpasswd -iB -C 12 -c "$DIR/htpasswd" bench <<< "$PASSWORD" 2>/dev/null || die "htpasswd failed"
}
