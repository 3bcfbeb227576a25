#!/usr/bin/env bash
# Installs what the tests need where it is missing (Debian, Ubuntu), then runs every test.
#
#   tests/run.sh
#
# PORTCULLIS_TEST_REGISTRY  another registry binary than docker-registry from PATH
# PORTCULLIS_TEST_PEBBLE    another ACME authority than pebble from PATH
# PORTCULLIS_TEST_CHROMIUM  another browser than chromium from PATH
#
# Every step has to pass; the first that fails ends the run with its exit code.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly deny_version=0.20.2
target=${CARGO_TARGET_DIR:-target}

say() { printf '\n== %s\n' "$*"; }

fail() {
  printf 'tests/run.sh: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Prints the package of each command that is missing.
missing_packages() {
  local pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || printf '%s\n' "${pair#*=}"
  done
}

# Installs packages without starting any service that comes with them.
install_packages() {
  command -v apt-get >/dev/null || fail "missing: $*; install them, this script can do it on Debian and Ubuntu alone"
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    # shellcheck disable=SC2064 # the path as it is now
    trap "as_root rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
  as_root "${apt[@]}" update
  as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null
  if [ -n "$(trap -p EXIT)" ]; then
    as_root rm -f "$policy"
    trap - EXIT
  fi
}

install_components() {
  local commands=(
    cc=build-essential cmake=cmake curl=curl htpasswd=apache2-utils openssl=openssl shellcheck=shellcheck
    nginx=nginx-light haproxy=haproxy notary=notary notary-server=notary slapd=slapd ldapmodify=ldap-utils
    pebble-challtestsrv=pebble prometheus=prometheus promtool=prometheus testssl=testssl.sh
    skopeo=skopeo podman=podman buildah=buildah containerd=containerd dockerd=docker.io
    iptables=iptables unshare=util-linux
    debootstrap=debootstrap kubectl=kubernetes-client systemd-analyze=systemd
    yamllint=yamllint ansible-playbook=ansible-core ansible-lint=ansible-lint
  )
  if [ -z "${PORTCULLIS_TEST_REGISTRY:-}" ]; then
    commands+=(docker-registry=docker-registry)
  fi
  if [ -z "${PORTCULLIS_TEST_CHROMIUM:-}" ]; then
    commands+=(chromium=chromium)
  fi
  local packages
  mapfile -t packages < <(missing_packages "${commands[@]}")
  if [ "${#packages[@]}" -gt 0 ]; then
    say "installing ${packages[*]}"
    install_packages "${packages[@]}"
  fi
  python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
  # Newer releases have the command line in a package of its own.
  command -v docker >/dev/null || install_packages docker-cli
  command -v cargo >/dev/null || fail "Rust is not installed"
  cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
  cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
}

install_deny() {
  if ! command -v cargo-deny >/dev/null; then
    say "cargo install cargo-deny"
    # Without optimisation: two minutes instead of ten, for a tool that runs a second.
    cargo install --quiet --debug --locked --version "$deny_version" --root "$target/tools" cargo-deny
    PATH="$(cd "$target/tools/bin" && pwd):$PATH"
  fi
}

# Prints what runs, runs it, and prints how long it took.
step() {
  say "$*"
  local begin=$SECONDS
  "$@"
  printf '== passed in %d s\n' "$((SECONDS - begin))"
}

check_dependencies() {
  cargo deny --locked check bans licenses sources
  # The list of advisories is no part of the repository; where it cannot be had, that is said and is no failure of the code.
  if GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote --quiet https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
    cargo deny --locked check advisories
  else
    printf 'advisories: NOT CHECKED, the advisory database cannot be reached from here\n'
  fi
}

# The script a newcomer runs, with the binary the tests just used: a first start, and a second that reuses the folder.
try_quickstart() {
  local dir
  dir=$(mktemp -d)
  local settings=(DIR="$dir/portcullis" PORTCULLIS="$target/debug/portcullis" HTTPS_PORT=18443 ADMIN_PORT=19090 REGISTRY_PORT=15000)
  env "${settings[@]}" deploy/quickstart.sh --once
  env "${settings[@]}" deploy/quickstart.sh --once
  rm -rf "$dir"
}

# Every file under deploy/, by its own validator, and the images as containers.
check_deploy() {
  tests/deploy/run.sh "$target/debug/portcullis" "$target/tools"
}

install_components
install_deny
step shellcheck .ci/run tests/run.sh tests/lossy/run.sh tests/deploy/run.sh tests/deploy/live.sh deploy/quickstart.sh
step shellcheck -x benches/catalog.sh benches/compare.sh benches/today.sh benches/memory.sh benches/compare/*.sh
step cargo fmt --check
step cargo clippy --locked --all-targets -- -D warnings
step env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
step check_dependencies
step cargo test --locked --no-fail-fast
step try_quickstart
step check_deploy
say "all passed in $SECONDS s"
