# shellcheck shell=bash disable=SC2034,SC2153 # sourced: its variables are used there
# Sourced by compare.sh, today.sh and memory.sh: programs, ports, processes, and what /proc says of them.
ROOT=$(cd "$HELPERS/../.." && pwd)
# Where Debian has servers, and users do not look.
PATH=$PATH:/usr/sbin:/sbin
DIR='' RUNNING=()
export PYTHONDONTWRITEBYTECODE=1

say() { printf '%s\n' "$*" >&2; }
# Ends the run: a figure that is missing or doubtful is no figure. Not for use in $( ): it would end the subshell alone.
die() { say "$(basename "$0"): $*"; exit 2; }

readonly PACKAGES=(
  curl=curl wrk=wrk h2load=nghttp2-client jq=jq openssl=openssl htpasswd=apache2-utils python3=python3 taskset=util-linux
  pgrep=procps nginx=nginx-light haproxy=haproxy caddy=caddy docker-registry=docker-registry
)

need_programs() { # PROGRAM...
  local program pair missing=()
  for program in "$@"; do
    command -v "$program" >/dev/null && continue
    for pair in "${PACKAGES[@]}"; do [ "${pair%%=*}" = "$program" ] && missing+=("${pair#*=}"); done
  done
  [ ${#missing[@]} = 0 ] || die "missing: apt-get install $(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')"
}

# Ports from PORT on; all of them have to be free.
choose_ports() {
  FILES_PORT=$((PORT + 1)) REGISTRY_PORT=$((PORT + 2)) ADMIN_PORT=$((PORT + 3)) VERIFIER_PORT=$((PORT + 4))
  BASE=https://localhost:$PORT UPLOAD_BASE=https://127.0.0.1:$PORT
  local port
  for port in $(seq "$PORT" "$VERIFIER_PORT"); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && die "port $port is taken (--port chooses others)"
  done
}

# The binary that is measured: PORTCULLIS, or the release build of this tree.
find_portcullis() {
  if [ -z "${PORTCULLIS:-}" ]; then
    (cd "$ROOT" && cargo build --release --locked --bin portcullis) || die "the build failed"
    PORTCULLIS=$(cd "$ROOT" && cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/release/portcullis
  fi
  [[ -f $PORTCULLIS && -x $PORTCULLIS ]] || die "$PORTCULLIS is no program"
  PORTCULLIS=$(realpath "$PORTCULLIS")
}

# The report's file, OUT or one named PREFIX and the time: found to be writable before anything is measured.
choose_report() { # PREFIX
  [ -n "$OUT" ] || OUT=$1-$(date +%Y%m%d-%H%M%S).json
  if [ ! -e "$OUT" ]; then [ -w "$(dirname "$OUT")" ]; else [[ -f $OUT && -w $OUT ]]; fi || die "$OUT cannot be written (--out)"
}

# Bytes of a size like 64MiB, into BYTES.
parse_size() {
  BYTES=$(numfmt --from=iec-i --suffix=B "$1" 2>/dev/null) || die "a size is like 256MiB or 1GiB, not $1"
  BYTES=${BYTES%B}
}

# A folder of this run alone, in memory where that is large enough; gone, with all that was started, when the script ends.
make_scratch() { # KIB-NEEDED
  if [ -z "$SCRATCH" ]; then
    SCRATCH=/tmp
    [ -d "$SCRATCH" ] || die "$SCRATCH is no folder (--dir)"
  [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt "$1" ] 2>/dev/null && SCRATCH=/dev/shm
  fi
  [ -d "$SCRATCH" ] || die "$SCRATCH is no folder (--dir)"
  [ "$(df --output=avail -k "$SCRATCH" | tail -n 1)" -gt "$1" ] || die "$SCRATCH has less than $1 KiB free (--dir chooses another)"
  DIR=$(mktemp -d "$SCRATCH/compare.XXXXXX") || die "no folder in $SCRATCH"
  trap 'stop_all; rm -rf "$DIR"' EXIT
  trap 'exit 130' INT TERM
}

note_load() {
  LOAD=$(cut -d' ' -f1 /proc/loadavg)
  awk -v l="$LOAD" 'BEGIN { exit !(l > 0.3) }' && say "warning: load average is $LOAD; other work on this machine makes the figures worthless"
  return 0
}

# start NAME CPU COMMAND...: sets STARTED to the process id; what it prints is in DIR/NAME.log. taskset becomes the command.
start() {
  local name=$1 cpu=$2; shift 2
  taskset -c "$cpu" "$@" >"$DIR/$name.log" 2>&1 </dev/null &
  STARTED=$!
  RUNNING+=("$STARTED")
}

# Ends a process and its children: three seconds to do it by itself, which is not enough for one that waits for stalled clients.
stop() { # PID
  local kept=() family p
  mapfile -t family < <(tree "$1")
  kill -TERM "$1" 2>/dev/null
  for _ in $(seq 60); do kill -0 "$1" 2>/dev/null || break; sleep 0.05; done
  kill -0 "$1" 2>/dev/null && kill -KILL "${family[@]}" 2>/dev/null
  { wait "$1"; } 2>/dev/null
  for p in "${RUNNING[@]}"; do [ "$p" = "$1" ] || kept+=("$p"); done
  RUNNING=(${kept[@]+"${kept[@]}"})
}

stop_all() { local p; for p in ${RUNNING[@]+"${RUNNING[@]}"}; do kill -TERM "$p" 2>/dev/null; done; wait 2>/dev/null; RUNNING=(); }

# Waits until a URL is answered by anything; dies where the process does first.
answers() { # PID LOG CURL-ARGUMENTS...
  local pid=$1 log=$2; shift 2
  for _ in $(seq 200); do
    curl -s -o /dev/null --cacert "$DIR/tls/ca.crt" "$@" && return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  tail -n 20 "$log" >&2; die "no answer from ${*: -1}"
}

# The processes and their live children.
tree() { # PID...
  local pid
  for pid in "$@"; do printf '%s\n' "$pid"; pgrep -P "$pid"; done
}

# Sum of user and system time of the processes and their live children, in clock ticks.
cpu_ticks() { # PID...
  local pid
  # the name (field 2) may hold blanks: count from behind it
  for pid in $(tree "$@"); do sed 's/^.*) //' "/proc/$pid/stat" 2>/dev/null; done | awk '{ ticks += $12 + $13 } END { print ticks + 0 }'
}

# The largest peak resident set among the processes and their children, and the sum of what is resident now: KiB.
peak_kib() { local pid; for pid in $(tree "$@"); do awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null; done | sort -n | tail -n 1; }
rss_kib() { local pid; for pid in $(tree "$@"); do awk '/^VmRSS/ { print $2 }' "/proc/$pid/status" 2>/dev/null; done | awk '{ kib += $1 } END { print kib + 0 }'; }

version() { # PROXY
  case ${1%%[-0-9]*} in
    portcullis) "$PORTCULLIS" --version ;;
    nginx) nginx -v 2>&1 ;;
    haproxy) haproxy -v | head -n 1 ;;
    caddy) caddy version ;;
    registry) docker-registry --version ;;
  esac
}

# JSON: what was measured with, and on what. Versions of the programs named.
machine() { # PROGRAM...
  local p
  jq -n --arg date "$(date -u +%Y-%m-%d)" --arg commit "$(git -C "$ROOT" describe --always --dirty 2>/dev/null)" --arg load "$LOAD" \
    --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" --arg cpus "$(nproc --all)" --arg kernel "$(uname -r)" \
    --arg congestion "$(cat /proc/sys/net/ipv4/tcp_congestion_control)" \
    --arg openssl "$(openssl version)" --arg curl "$(curl --version | head -n 1)" --arg h2load "$(h2load --version)" --arg registry "$(docker-registry --version)" \
    --argjson programs "$(for p in "$@"; do jq -n --arg k "$p" --arg v "$(version "$p")" '{($k): $v}'; done | jq -s add)" \
    '{date: $date, commit: $commit, cpu: $cpu, cpus: ($cpus | tonumber), kernel: $kernel, congestion: $congestion, load_before: ($load | tonumber), openssl: $openssl,
      curl: $curl, h2load: $h2load, registry: $registry, programs: $programs}'
}
