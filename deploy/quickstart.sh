#!/usr/bin/env bash
# From a fresh Debian or Ubuntu with Rust to a registry behind portcullis: builds, makes a folder with everything,
# starts both, proves a login, a push and a pull, and runs until Ctrl-C.
#
#   deploy/quickstart.sh [--once]      --once: stop after the proof
#
# A second start reuses the folder, ports and passwords included. Settings of the first start, by environment:
#   DIR            the folder                                   (./portcullis-quickstart)
#   UPSTREAM       a registry that runs already                 (none: one is started)
#   HOSTS          more names or IP addresses of this machine, separated by blanks
#   LISTEN         the address to listen on; 0.0.0.0 lets other machines in       (127.0.0.1)
#   HTTPS_PORT     the registry                                 (8443)
#   ADMIN_PORT     status, metrics and health, on 127.0.0.1     (9090)
#   REGISTRY_PORT  the registry behind it, on 127.0.0.1         (5000)
#   USER_NAME      the first user, who may do everything        (admin)
#   PORTCULLIS     a portcullis binary; otherwise it is built
set -euo pipefail

here=$(pwd)
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*"; }

fail() {
  printf 'quickstart: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || fail "this needs root or sudo: $*"
    sudo "$@"
  fi
}

apt_updated=
apt_update() {
  command -v apt-get >/dev/null || fail "no apt-get here: this script knows Debian and Ubuntu"
  if [ -z "$apt_updated" ]; then
    as_root apt-get -qq -o DPkg::Lock::Timeout=600 update
    apt_updated=yes
  fi
}

# need COMMAND PACKAGE: installs the package where the command is missing.
need() {
  command -v "$1" >/dev/null && return
  say "installing $2"
  apt_update
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$2" >/dev/null
  hash -r
}

has_docker() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

check_ports() {
  local port
  for port in "$@"; do
    if port_taken "$port"; then
      if [ -f "$DIR/settings" ]; then
        fail "port $port is taken; end what uses it, or remove $DIR to begin anew with other ports"
      fi
      fail "port $port is taken; HTTPS_PORT, ADMIN_PORT and REGISTRY_PORT choose others (see the head of this script)"
    fi
  done
}

# The settings of the first start hold for every later one.
load_settings() {
  local file=$DIR/settings
  if [ -f "$file" ]; then
    # shellcheck source=/dev/null
    . "$file"
    say "using $DIR as it is"
    return
  fi
  HTTPS_PORT=${HTTPS_PORT:-8443} ADMIN_PORT=${ADMIN_PORT:-9090} REGISTRY_PORT=${REGISTRY_PORT:-5000}
  UPSTREAM=${UPSTREAM:-} HOSTS=${HOSTS:-} LISTEN=${LISTEN:-127.0.0.1} USER_NAME=${USER_NAME:-admin}
}

keep_settings() {
  local file=$DIR/settings name
  if [ -f "$file" ]; then return; fi
  for name in HTTPS_PORT ADMIN_PORT REGISTRY_PORT UPSTREAM HOSTS LISTEN USER_NAME; do
    printf '%s=%q\n' "$name" "${!name}"
  done >"$file.new"
  mv "$file.new" "$file"
}

build() {
  if [ -n "${PORTCULLIS:-}" ]; then
    case $PORTCULLIS in /*) portcullis=$PORTCULLIS ;; *) portcullis=$here/$PORTCULLIS ;; esac
    if [ ! -f "$portcullis" ] || [ ! -x "$portcullis" ]; then fail "PORTCULLIS=$PORTCULLIS is no program"; fi
    return
  fi
  command -v cargo >/dev/null || fail "Rust is needed (rustup.rs)"
  need cc build-essential
  need cmake cmake
  say "building portcullis (the first time takes some minutes)"
  cargo build --release --locked --bin portcullis
  portcullis=$(realpath "${CARGO_TARGET_DIR:-target}/release/portcullis")
}

make_files() {
  local arguments=(--listen "$LISTEN" --https-port "$HTTPS_PORT" --admin-port "$ADMIN_PORT" --user "$USER_NAME")
  arguments+=(--upstream "${UPSTREAM:-http://127.0.0.1:$REGISTRY_PORT}")
  local host
  for host in $HOSTS; do arguments+=(--host "$host"); done
  # Not into a log: on the first start it holds the password.
  local said
  said=$("$portcullis" quickstart "$DIR" "${arguments[@]}") || fail "could not make the files in $DIR"
  sed -n '/^  \(made\|kept\|note:\) /p; /^User .* password /p' <<<"$said"
}

children=()
container=

stop_all() {
  local status=$? child
  trap - EXIT INT TERM
  for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
  if [ -n "$container" ]; then docker stop "$container" >/dev/null 2>&1 || true; fi
  wait
  exit "$status"
}

# until_ready NAME LOG COMMAND…: waits until the command succeeds, as long as every child lives.
until_ready() {
  local name=$1 log=$2 child
  shift 2
  for _ in $(seq 300); do
    "$@" >/dev/null 2>&1 && return
    for child in "${children[@]}"; do
      kill -0 "$child" 2>/dev/null || {
        tail -n 20 "$log" >&2
        fail "$name ended; its log is $log"
      }
    done
    sleep 0.1
  done
  tail -n 20 "$log" >&2
  fail "$name does not answer; its log is $log"
}

start_registry() {
  if [ -n "$UPSTREAM" ]; then
    say "the registry is $UPSTREAM"
    return
  fi
  mkdir -p "$DIR/registry"
  if has_docker && docker pull --quiet registry:2 >/dev/null 2>&1; then
    say "starting registry:2 with Docker"
    container=portcullis-quickstart-$REGISTRY_PORT
    docker run --detach --rm --name "$container" --user "$(id -u):$(id -g)" \
      --publish "127.0.0.1:$REGISTRY_PORT:5000" --volume "$DIR/registry:/var/lib/registry" \
      --env REGISTRY_STORAGE_DELETE_ENABLED=true registry:2 >"$DIR/logs/registry.log"
  else
    start_debian_registry
  fi
  until_ready "the registry" "$DIR/logs/registry.log" curl -fs "http://127.0.0.1:$REGISTRY_PORT/v2/"
}

# The package is unpacked into the folder rather than installed: that would start and enable a service on port 5000.
start_debian_registry() {
  local binary
  binary=$(command -v docker-registry || printf '%s' "$DIR/docker-registry/usr/bin/docker-registry")
  if [ ! -x "$binary" ]; then
    say "getting docker-registry"
    apt_update
    mkdir -p "$DIR/docker-registry"
    (cd "$DIR/docker-registry" && apt-get -qq -o APT::Sandbox::User=root download docker-registry && dpkg-deb -x docker-registry_*.deb .)
  fi
  cat >"$DIR/registry.yml" <<YAML
version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage:
  filesystem: {rootdirectory: "$DIR/registry"}
  delete: {enabled: true}
http:
  addr: 127.0.0.1:$REGISTRY_PORT
  relativeurls: true
YAML
  say "starting docker-registry"
  # REGISTRY_* variables of other tools would override the configuration.
  env -i PATH="$PATH" HOME="$HOME" OTEL_TRACES_EXPORTER=none \
    "$binary" serve "$DIR/registry.yml" >"$DIR/logs/registry.log" 2>&1 &
  children+=($!)
}

start_gate() {
  say "starting portcullis"
  "$portcullis" serve -c "$DIR/portcullis.yml" >"$DIR/logs/portcullis.log" 2>&1 &
  children+=($!)
  until_ready portcullis "$DIR/logs/portcullis.log" curl -fs "http://127.0.0.1:$ADMIN_PORT/readyz"
}

# put FILE: moves a file among the blobs of the layout and prints its digest.
put() {
  local sum
  sum=$(sha256sum "$1" | cut -d ' ' -f 1)
  mv "$1" "$image/blobs/sha256/$sum"
  printf 'sha256:%s' "$sum"
}

size_of() { stat -c %s "$image/blobs/sha256/${1#sha256:}"; }

# A small image without any network: an OCI layout of one layer with one file. Sets manifest to its digest.
make_image() {
  image=$DIR/client/image
  rm -rf "$image"
  mkdir -p "$image/blobs/sha256" "$image/root"
  printf 'Pushed through portcullis.\n' >"$image/root/hello.txt"
  tar -C "$image/root" --owner=0 --group=0 --numeric-owner --mtime=@0 --sort=name -cf "$image/layer.tar" hello.txt
  local diff layer config
  diff=sha256:$(sha256sum "$image/layer.tar" | cut -d ' ' -f 1)
  gzip -n "$image/layer.tar"
  layer=$(put "$image/layer.tar.gz")
  printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}' "$diff" >"$image/config"
  config=$(put "$image/config")
  local oci=application/vnd.oci.image
  printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json","digest":"%s","size":%d},"layers":[{"mediaType":"%s.layer.v1.tar+gzip","digest":"%s","size":%d}]}' \
    $oci $oci "$config" "$(size_of "$config")" $oci "$layer" "$(size_of "$layer")" >"$image/manifest"
  manifest=$(put "$image/manifest")
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"%s","size":%d,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}' \
    $oci "$manifest" "$(size_of "$manifest")" >"$image/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$image/oci-layout"
}

# refused WHAT COMMAND…: the command has to fail.
refused() {
  local what=$1
  shift
  if "$@" >>"$DIR/logs/client.log" 2>&1; then fail "$what was not refused"; fi
  say "refused, as it should be: $what"
}

done_with() {
  local what=$1
  shift
  "$@" >>"$DIR/logs/client.log" 2>&1 || {
    tail -n 20 "$DIR/logs/client.log" >&2
    fail "$what failed; the log is $DIR/logs/client.log"
  }
  say "done: $what"
}

login_with_skopeo() {
  skopeo login --cert-dir "$DIR/client/certs.d" --username "$user" --password-stdin "$public"
}

prove_with_skopeo() {
  local name=docker://$public/quickstart/hello:v1 certs=$DIR/client/certs.d
  mkdir -p "$certs"
  cp "$DIR/tls/ca.crt" "$certs/ca.crt"
  rm -rf "$DIR/client/pulled"
  printf '{"auths":{}}' >"$DIR/client/auth.json"
  export REGISTRY_AUTH_FILE=$DIR/client/auth.json
  refused "a login with a wrong password" login_with_skopeo <<<"wrong"
  refused "a push without a login" \
    skopeo --insecure-policy copy --dest-cert-dir "$certs" "oci:$image:v1" "$name"
  done_with "login with the password in $DIR/password" login_with_skopeo <"$DIR/password"
  done_with "push of $public/quickstart/hello:v1" \
    skopeo --insecure-policy copy --dest-cert-dir "$certs" "oci:$image:v1" "$name"
  done_with "pull of the same" \
    skopeo --insecure-policy copy --src-cert-dir "$certs" "$name" "oci:$DIR/client/pulled:v1"
  cmp -s "$image/blobs/sha256/${manifest#sha256:}" "$DIR/client/pulled/blobs/sha256/${manifest#sha256:}" ||
    fail "what came back is not what was pushed"
  say "what came back is what was pushed: $manifest"
}

login_with_docker() {
  docker --config "$DIR/client/docker" login --username "$user" --password-stdin "$public"
}

prove_with_docker() {
  local name=$public/quickstart/hello:v1 docker=(docker --config "$DIR/client/docker") pushed
  rm -rf "$DIR/client/docker"
  tar -C "$image/root" -c hello.txt | docker import - "$name" >/dev/null
  refused "a login with a wrong password" login_with_docker <<<"wrong"
  refused "a push without a login" "${docker[@]}" push --quiet "$name"
  done_with "login with the password in $DIR/password" login_with_docker <"$DIR/password"
  done_with "push of $name" "${docker[@]}" push --quiet "$name"
  pushed=$(docker image inspect --format '{{.Id}}' "$name")
  docker image rm "$name" >/dev/null
  done_with "pull of the same" "${docker[@]}" pull --quiet "$name"
  [ "$(docker image inspect --format '{{.Id}}' "$name")" = "$pushed" ] || fail "what came back is not what was pushed"
  docker image rm "$name" >/dev/null
  say "what came back is what was pushed: $pushed"
}

prove() {
  # The names of the first start; a person may have added users and names since.
  public=localhost:$HTTPS_PORT
  user=$USER_NAME
  mkdir -p "$DIR/client"
  make_image
  if has_docker; then prove_with_docker; else prove_with_skopeo; fi
}

next_steps() {
  cat <<TEXT

portcullis serves https://$public/ in front of ${UPSTREAM:-a registry on 127.0.0.1:$REGISTRY_PORT}.
The password of "$user" is in $DIR/password. What you type next:

  sudo install -D -m 644 "$DIR/tls/ca.crt" "/etc/docker/certs.d/$public/ca.crt"
  docker login -u $user $public
  docker push $public/NAME:TAG

TEXT
}

main() {
  local once=
  case ${1:-} in
    --once) once=yes ;;
    '') ;;
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
      exit 0
      ;;
    *) fail "usage: deploy/quickstart.sh [--once] [--help]" ;;
  esac
  DIR=${DIR:-$here/portcullis-quickstart}
  case $DIR in /*) ;; *) DIR=$here/$DIR ;; esac
  umask 077
  mkdir -p "$DIR/logs"

  load_settings
  if [ -n "$UPSTREAM" ]; then check_ports "$HTTPS_PORT" "$ADMIN_PORT"; else check_ports "$HTTPS_PORT" "$ADMIN_PORT" "$REGISTRY_PORT"; fi
  need curl curl
  if ! has_docker; then need skopeo skopeo; fi
  build
  keep_settings
  make_files

  trap stop_all EXIT
  trap 'exit 0' INT TERM
  start_registry
  start_gate
  prove
  if [ -n "$once" ]; then
    say "all of it works; it ends now, and starts again without --once"
    return
  fi
  next_steps

  say "running until Ctrl-C; the logs are in $DIR/logs"
  wait -n "${children[@]}" || true
  fail "a process ended; the logs are in $DIR/logs"
}

main "$@"
