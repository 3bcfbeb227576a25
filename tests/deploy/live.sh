#!/usr/bin/env bash
# Runs what deploy/ describes: an image of the final stage of deploy/docker on a base made by debootstrap, beside a real
# registry as deploy/compose has them, and nodes that are made to trust its CA by deploy/ansible.
#
#   tests/deploy/live.sh BINARY
#
# As root. Namespaces of its own for mounts, network and processes: nothing outside is touched, nothing is left.
# Downloads about 50 MB of packages, and takes about 1 GB of memory.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

readonly name=registry.example.com
readonly image=registry.example.com/portcullis:0.1.0

say() { printf -- '-- %s s: %s\n' "$SECONDS" "$*"; }

fail() {
  printf 'tests/deploy/live.sh: %s\n' "$*" >&2
  exit 1
}

# --- Outside: the images --------------------------------------------------------------------------------------------

# A base as small as debootstrap's is without what only a person at a shell needs.
make_base() {
  local suite mirror=()
  # shellcheck source=/dev/null
  suite=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
  # Where this machine's own packages come from.
  # shellcheck disable=SC2016 # apt expands it
  mapfile -t mirror < <(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" "Created-By: Packages" | head -n 1)
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$1" "${mirror[@]}" >"$1.log" 2>&1 ||
    { tail -n 20 "$1.log" >&2 && fail "debootstrap failed"; }
  rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/share/{doc,man,locale}/* "$1"/var/log/*
}

make_images() {
  local work=$1 binary=$2 base
  printf '[storage]\ndriver = "vfs"\nrunroot = "%s/run"\ngraphroot = "%s/graph"\n' "$work" "$work" >"$work/storage.conf"
  export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot

  say "a base by debootstrap"
  make_base "$work/base"
  base=$(buildah from scratch)
  buildah add -q "$base" "$work/base" / >/dev/null
  buildah commit -q --rm "$base" localhost/base >/dev/null

  say "an image of the gate, and one of the registry"
  install -D "$binary" "$work/binary/portcullis"
  strip "$work/binary/portcullis"
  mkdir "$work/binary/state"
  buildah bud -q --format docker -f "$root/deploy/docker/Dockerfile" --build-arg RUNTIME_IMAGE=localhost/base \
    --build-context "binary=$work/binary" -t "$image" "$root" >/dev/null
  install -D "$(command -v "${PORTCULLIS_TEST_REGISTRY:-docker-registry}")" "$work/registry/registry"
  printf 'FROM localhost/base\nCOPY registry /bin/registry\nCMD ["registry", "serve", "/etc/registry.yml"]\n%s\n' \
    'COPY registry.yml /etc/registry.yml' >"$work/registry/Dockerfile"
  printf 'version: 0.1\nstorage: { filesystem: { rootdirectory: /var/lib/registry } }\nhttp: { addr: ":5000" }\n' \
    >"$work/registry/registry.yml"
  buildah bud -q --format docker -t localhost/registry "$work/registry" >/dev/null
  buildah push -q "$image" "docker-archive:$work/portcullis.tar:$image"
  buildah push -q localhost/registry "docker-archive:$work/registry.tar:localhost/registry"
  printf 'the image: %s bytes, of which its base %s, the binary %s\n' \
    "$(stat -c %s "$work/portcullis.tar")" "$(du -sb "$work/base" | cut -f 1)" "$(stat -c %s "$work/binary/portcullis")"
}

# --- Inside: mounts, network and processes of our own -----------------------------------------------------------------

# This machine as a node: its own places for CAs, its own names, its own docker.
prepare_node() {
  local work=$1 place
  ip link set lo up
  sysctl -q net.ipv6.conf.all.disable_ipv6=0
  mount -t tmpfs tmpfs /run
  cp -a /etc/ssl/certs "$work/certs"
  for place in /etc/docker /etc/containers /etc/containerd /etc/rancher /usr/local/share/ca-certificates /etc/ssl/certs; do
    mkdir -p "$place"
    mount -t tmpfs tmpfs "$place"
  done
  cp -a "$work/certs/." /etc/ssl/certs/
  printf 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n' \
    >/etc/containerd/config.toml
  # docker does not ask for certificates at 127.0.0.0/8.
  printf '127.0.0.1 localhost\n::1 localhost %s\n' "$name" >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts

  export HOME=$work DOCKER_HOST=unix://$work/docker.sock DOCKER_CONFIG=$work/client REGISTRY_AUTH_FILE=$work/auth.json
  unset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE
  dockerd --host "$DOCKER_HOST" --data-root "$work/docker" --exec-root /run/docker-exec --pidfile "$work/dockerd.pid" \
    --storage-driver overlay2 >"$work/dockerd.log" 2>&1 &
  await "docker is up" docker version
}

await() {
  local what=$1 tries
  shift
  for ((tries = 300; tries > 0; tries--)); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  fail "waited in vain: $what"
}

is() { [ "$(docker inspect --format "$1" portcullis)" = "$2" ]; }

expect() { [ "$2" = "$3" ] || fail "$1: expected $3, found $2"; }

# What the README of deploy/compose says, and compose.yml in the words of docker run.
start_containers() {
  local work=$1
  docker load -q -i "$work/portcullis.tar" >/dev/null
  docker load -q -i "$work/registry.tar" >/dev/null
  cp -r "$root/deploy/compose/config" "$work/config"
  chown -R 65532:65532 "$work/config"
  local hardened=(--read-only --cap-drop ALL --security-opt no-new-privileges:true --pids-limit 512)
  docker run --rm "${hardened[@]}" -v "$work/config:/etc/portcullis" "$image" quickstart /etc/portcullis --host "$name" \
    >"$work/quickstart.log"
  docker network create --internal registry >/dev/null
  docker network create public >/dev/null
  docker run -d --name registry --network registry "${hardened[@]}" --tmpfs /tmp -v images:/var/lib/registry localhost/registry \
    >/dev/null
  docker create --name portcullis --network public "${hardened[@]}" --publish 443:8443 --publish 80:8080 --stop-timeout 40 \
    -v "$work/config:/etc/portcullis:ro" -v state:/var/lib/portcullis "$image" >/dev/null
  docker network connect registry portcullis
  docker start portcullis >/dev/null
  await "the container is healthy" is '{{.State.Health.Status}}' healthy || docker logs portcullis
}

check_confinement() {
  local status
  status=/proc/$(docker inspect --format '{{.State.Pid}}' portcullis)/status
  expect "its user" "$(awk '/^Uid:/ { print $2, $3 }' "$status")" "65532 65532"
  expect "its capabilities" "$(awk '/^Cap(Eff|Prm|Bnd|Amb):/ { sum += $2 } END { print sum }' "$status")" 0
  expect "its root is read-only" "$(docker inspect --format '{{.HostConfig.ReadonlyRootfs}}' portcullis)" true
  if docker exec portcullis touch /usr/local/bin/x 2>/dev/null; then fail "its root can be written to"; fi
  expect "portcullis healthcheck" "$(docker exec portcullis portcullis healthcheck)" ready
  expect "where the key was made" "$(docker exec portcullis ls /var/lib/portcullis)" token.key
}

# An image of one small layer, under the registry's name.
make_small_image() {
  tar -C "$1" -c hosts | docker import - "$name/public/hello:1" >/dev/null
}

no_trust() {
  local said
  if said=$("$@" 2>&1); then fail "trusted without its CA: $*"; fi
  [[ $said == *x509* || $said == *certificate* ]] || fail "$*: $said"
}

login() { docker login -u admin --password-stdin "$name" <"$1/config/password" 2>&1; }

trust() {
  local settings
  settings=$(printf '{"registry_trust_registries": ["%s"], "registry_trust_ca_file": "%s/config/tls/ca.crt", "registry_trust_for": %s}' \
    "$name" "$work" '["docker", "podman", "containerd", "k3s", "system"]')
  LC_ALL=C.UTF-8 ANSIBLE_PIPELINING=1 ansible-playbook -i localhost, -c local -e ansible_python_interpreter=/usr/bin/python3 -e "$settings" "$@" \
    "$root/deploy/ansible/trust.yml" >"$work/ansible.log" 2>&1 || { cat "$work/ansible.log" >&2 && fail "ansible-playbook failed"; }
  sed -n 's/^localhost .*changed=\([0-9]*\) .*/\1/p' "$work/ansible.log"
}

inside() {
  local work=$1
  prepare_node "$work"
  say "quickstart, the registry and the gate as containers"
  start_containers "$work"
  check_confinement
  make_small_image "$work"

  say "no trust, then trust by Ansible"
  no_trust login "$work"
  no_trust skopeo inspect "docker://$name/public/hello:1"
  no_trust curl -sS "https://$name/v2/"
  local changes
  changes=$(trust --check)
  ((changes > 0)) || fail "--check foresees no change"
  [ ! -e /etc/docker/certs.d ] || fail "--check wrote something"
  changes=$(trust)
  ((changes > 0)) || fail "the first run changed nothing"
  expect "changes by a second run" "$(trust)" 0

  say "login, push, pull"
  login "$work" >/dev/null
  docker push -q "$name/public/hello:1" >/dev/null
  skopeo --insecure-policy copy -q "docker://$name/public/hello:1" "dir:$work/pulled"
  docker rmi "$name/public/hello:1" >/dev/null
  docker pull -q "$name/public/hello:1" >/dev/null
  expect "curl by the system's store" "$(curl -s -o "$work/answer" -w '%{http_code}' "https://$name/v2/")" 401

  say "SIGTERM"
  docker stop portcullis >/dev/null
  expect "its exit code" "$(docker inspect --format '{{.State.ExitCode}}' portcullis)" 0
}

main() {
  [ "$(id -u)" -eq 0 ] || fail "needs root"
  local binary
  binary=$(realpath "${1:?the binary}")
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder as it is now
  trap "umount -l '$work' && rmdir '$work'" EXIT
  # In memory: packages and images are written with many a sync, and are gone afterwards.
  mount -t tmpfs -o mode=755 tmpfs "$work"
  make_images "$work" "$binary"
  # The death of the first process of a process namespace is the death of all.
  unshare --mount --net --pid --fork --kill-child --mount-proc "$0" --inside "$work"
}

if [ "${1:-}" = --inside ]; then
  work=$2
  inside "$2"
else
  main "$@"
fi
