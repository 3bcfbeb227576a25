#!/usr/bin/env bash
# Runs tests with the registries and the clients each behind a wire that delays and loses packets.
#
#   tests/lossy/run.sh [COMMAND...]      by default the pulls and pushes while servers die (tests/README.md)
#
# DELAY  of each direction of each wire, in milliseconds (50)
# LOSS   of each direction of each wire, in percent (3)
#
# Needs root, ip (iproute2), python3 and /dev/net/tun. The gate and the test run in a network namespace of their own,
# registries and clients in two others; nothing outside is touched, and all of it is gone at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly gate=portcullis-gate-$$ servers=portcullis-servers-$$ clients=portcullis-clients-$$
wires=()

finish() {
  local wire namespace
  for wire in "${wires[@]}"; do kill "$wire" 2>/dev/null || true; done
  wait
  for namespace in "$gate" "$servers" "$clients"; do ip netns del "$namespace" 2>/dev/null || true; done
}

# Lays a wire from the gate's namespace to another one and waits until it carries.
lay() {
  local device=$1 near=$2 namespace=$3 far=$4 output ready
  exec {output}< <(exec python3 tests/lossy/wire.py "$gate" "$near" "$namespace" "$far" --device "$device" \
    --delay "${DELAY:-50}" --loss "${LOSS:-3}")
  wires+=("$!")
  read -r -u "$output" ready || fail "no wire to $namespace"
  [ "$ready" = ready ] || fail "no wire to $namespace: $ready"
  # What it says at its end.
  sed "s/^/$device: /" <&"$output" &
}

fail() {
  printf 'tests/lossy/run.sh: %s\n' "$*" >&2
  exit 1
}

[ "$(id -u)" -eq 0 ] || fail "root is needed, for namespaces"
[ -c /dev/net/tun ] || fail "/dev/net/tun is missing"
trap finish EXIT
for namespace in "$gate" "$servers" "$clients"; do
  ip netns add "$namespace"
  ip -n "$namespace" link set lo up
done
lay servers 10.98.1.1 "$servers" 10.98.1.2
lay clients 10.98.2.1 "$clients" 10.98.2.2

if [ "$#" -eq 0 ]; then
  set -- cargo test --release --locked --test it survive::pu -- --nocapture --test-threads 1
fi
ip netns exec "$gate" env PORTCULLIS_TEST_SERVERS_AT="$servers,10.98.1.2" \
  PORTCULLIS_TEST_CLIENTS_AT="$clients,10.98.2.1" "$@"
