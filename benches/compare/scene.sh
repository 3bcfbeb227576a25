# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # sourced: its variables are set in lib.sh and its callers
# Sourced by compare.sh, today.sh and memory.sh: certificates, data, users and upstreams. Needs DIR, BYTES, the ports and the CPU numbers.

# render TEMPLATE TARGET [KEY=VALUE...]: puts values in place of @KEY@.
render() {
  local text pair source=$HELPERS/conf/$1 target=$2; shift 2
  text=$(cat "$source") || die "no template $source"
  for pair in "DIR=$DIR" "USER=$(id -un)" "PORT=$PORT" "FILES_PORT=$FILES_PORT" "REGISTRY_PORT=$REGISTRY_PORT" "ADMIN_PORT=$ADMIN_PORT" \
    "VERIFIER_PORT=$VERIFIER_PORT" "$@"; do
    text=${text//"@${pair%%=*}@"/"${pair#*=}"}
  done
  if grep -o '@[A-Z_]*@' <<< "$text" >&2; then die "left over in $source"; fi
  printf '%s\n' "$text" > "$target" || die "$target cannot be written"
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
  ) || die "no certificates: $(tail -n 3 "$DIR/tls/openssl.log")"
}

digest() { printf 'sha256:%s' "$(sha256sum < "$1" | cut -d' ' -f1)"; }

# put_blob FILE REPOSITORY: hands a file to the static upstream; sets DIGEST.
put_blob() {
  local blobs=$DIR/www/v2/$2/blobs
  mkdir -p "$blobs"
  DIGEST=$(digest "$1")
  ln -f "$1" "$blobs/$DIGEST" || die "no blob $1"
}

# Data that does not compress: a blob of --size, parts of it, and 1 MiB.
make_blobs() {
  # the file ends before openssl has seen an end of its input: SIGPIPE is what is expected here
  { openssl enc -aes-128-ctr -pass pass:bench -nosalt -pbkdf2 </dev/zero 2>/dev/null || true; } | head -c "$BYTES" > "$DIR/blob"
  put_blob "$DIR/blob" bench/blob; BLOB=$DIGEST
  head -c $((BYTES / 16)) "$DIR/blob" > "$DIR/part16"; put_blob "$DIR/part16" bench/blob; PART16=$DIGEST
  head -c $((BYTES / 64)) "$DIR/blob" > "$DIR/part64"; put_blob "$DIR/part64" bench/blob; PART64=$DIGEST
  head -c 1048576 "$DIR/blob" > "$DIR/mib"; put_blob "$DIR/mib" bench/blob; MIB=$DIGEST
}

# A manifest of exactly 1 KiB.
make_manifest() {
  local manifest=$DIR/www/v2/bench/blob/manifests/latest pad
  mkdir -p "$(dirname "$manifest")"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":%s},"layers":[],"annotations":{"pad":"' \
    "$PART64" $((BYTES / 64)) > "$manifest"
  pad=$((1024 - $(stat -c %s "$manifest") - 3))
  { head -c "$pad" /dev/zero | tr '\0' x; printf '"}}'; } >> "$manifest"
  MANIFEST_DIGEST=$(digest "$manifest")
}

# An image of twelve layers, unequal as in real ones, BYTES-IN-ALL together, by tag and by digest. Sets IMAGE_DIGEST.
make_image() { # REPOSITORY BYTES-IN-ALL
  local repository=$1 total=$2 folder=$DIR/www/v2/$1 weight at=0 size i=0 layers=()
  mkdir -p "$folder/manifests" "$DIR/layers"
  for weight in 420 230 120 80 60 40 30 20 12 8 3 1; do
    size=$((total * weight / 1024 + 512)); i=$((i + 1))
    tail -c "+$((at + 1))" "$DIR/blob" | head -c "$size" > "$DIR/layers/$i"
    at=$((at + size))
    put_blob "$DIR/layers/$i" "$repository"
    layers+=("{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"$DIGEST\",\"size\":$(stat -c %s "$DIR/layers/$i")}")
  done
  printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}' > "$DIR/layers/config"
  put_blob "$DIR/layers/config" "$repository"
  (IFS=,; printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%s},"layers":[%s]}' \
    "$DIGEST" "$(stat -c %s "$DIR/layers/config")" "${layers[*]}") > "$folder/manifests/latest"
  [ "$(jq '.layers | length' "$folder/manifests/latest")" = 12 ] || die "no image"
  IMAGE_DIGEST=$(digest "$folder/manifests/latest")
  ln -f "$folder/manifests/latest" "$folder/manifests/$IMAGE_DIGEST"
  rm -rf "$DIR/layers"
}

# The user of all cases, with a hash as in production: the login happens once, outside of what is measured.
make_user() {
  PASSWORD=$(openssl rand -hex 12)
  htpasswd -iB -C 12 -c "$DIR/htpasswd" bench <<< "$PASSWORD" 2>/dev/null || die "htpasswd failed"
}

# Downloads: an nginx that sends files, over TCP and over a Unix socket.
start_files() {
  render files.conf.in "$DIR/files.conf" "MANIFEST_DIGEST=$MANIFEST_DIGEST" "IMAGE_DIGEST=$IMAGE_DIGEST"
  start files "$LOAD_CPU" nginx -c "$DIR/files.conf" -e "$DIR/files.err"
  answers "$STARTED" "$DIR/files.log" "http://127.0.0.1:$FILES_PORT/v2/"
  answers "$STARTED" "$DIR/files.log" --unix-socket "$DIR/files.sock" "http://localhost/v2/"
}

# start_registry NAME CPU NET ADDRESS MORE-YAML: sets STARTED. REGISTRY_* in the environment would override the file.
start_registry() {
  render registry.yml.in "$DIR/$1.yml" "NET=$3" "ADDRESS=$4" "MORE=${5:-}"
  start "$1" "$2" env -i PATH="$PATH" HOME="$DIR" ${GOMAXPROCS:+GOMAXPROCS="$GOMAXPROCS"} OTEL_TRACES_EXPORTER=none docker-registry serve "$DIR/$1.yml"
}

# Uploads: a docker-registry, or a sink that reads and says 201; over TCP and over a Unix socket.
start_uploads() { # registry | sink
  mkdir -p "$DIR/registry"
  if [ "$1" = sink ]; then
    start sink "$LOAD_CPU" python3 "$HELPERS/client/sink.py" --port "$REGISTRY_PORT" --socket "$DIR/registry.sock"
    answers "$STARTED" "$DIR/sink.log" "http://127.0.0.1:$REGISTRY_PORT/v2/"
  else
    start_registry registry "$LOAD_CPU" tcp "127.0.0.1:$REGISTRY_PORT"
    answers "$STARTED" "$DIR/registry.log" "http://127.0.0.1:$REGISTRY_PORT/v2/"
    start_registry registry-unix "$LOAD_CPU" unix "$DIR/registry.sock"
    answers "$STARTED" "$DIR/registry-unix.log" --unix-socket "$DIR/registry.sock" "http://localhost/v2/"
  fi
}
