# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # sourced: its variables are set in lib.sh and its callers
# Sourced by today.sh: what people put before a registry, each with all that it takes to know who asks. A gate starts everything
# that it consists of, the registry too, on the server's CPU, and leaves the process ids in SERVERS.
readonly GATES="portcullis nginx-basic registry-alone nginx-token nginx-request"

about() { # GATE
  case $1 in
    portcullis)     printf 'portcullis: tokens, with a password at each login; an open registry behind' ;;
    nginx-basic)    printf 'nginx auth_basic with bcrypt; an open registry behind' ;;
    registry-alone) printf 'docker-registry with its own htpasswd and its own TLS' ;;
    nginx-token)    printf 'nginx for TLS and passwords, a token that costs nothing to make; docker-registry verifies it' ;;
    nginx-request)  printf 'nginx auth_request to HAProxy jwt_verify, the same free token; an open registry behind' ;;
  esac
}

# Fifty users, each with a line and a salt of its own; the password is one, which no gate knows.
make_users() { # COST
  local number
  PASSWORD=$(openssl rand -hex 12)
  for number in $(seq 0 49); do htpasswd -niB -C "$1" "user$number" <<< "$PASSWORD" | grep . ; done > "$DIR/htpasswd-$1" || die "htpasswd failed"
  [ "$(wc -l < "$DIR/htpasswd-$1")" = 50 ] || die "not fifty users"
}

make_token() {
  ( cd "$DIR" && exec 2>token.log &&
    openssl req -x509 -newkey rsa:2048 -nodes -keyout token.key -out token.crt -days 2 -subj "/CN=bench tokens" && openssl pkey -in token.key -pubout -out token.pub
  ) || die "no key for tokens"
  local token
  token=$(python3 "$HELPERS/client/mint.py" --key "$DIR/token.key" --issuer bench --service bench bench/image bench/small) || die "no token"
  mkdir -p "$DIR/token"
  jq -n --arg t "$token" '{token: $t, expires_in: 14400}' > "$DIR/token/token.json"
}

serve_registry() { # NET-ADDRESS MORE-YAML: on the server's CPU, since logging in may be its work
  GOMAXPROCS=1 start_registry registry "$SERVER_CPU" tcp "127.0.0.1:$1" "$2"
  SERVERS+=("$STARTED")
}

serve_nginx() { # LOCATIONS
  mkdir -p "$DIR/nginx"
  render today-nginx.conf.in "$DIR/nginx/conf" "SCRATCH=$DIR/nginx" "LOCATIONS=$1"
  start nginx-gate "$SERVER_CPU" nginx -c "$DIR/nginx/conf" -e "$DIR/nginx/error.log"
  SERVERS+=("$STARTED")
}

# A token endpoint that checks a password and gives everybody the same token, made beforehand.
token_location() { # HTPASSWD
  printf 'location = /token { auth_basic "registry"; auth_basic_user_file %s; root %s; try_files /token.json =404; default_type application/json; }' "$1" "$DIR/token"
}

gate_portcullis() { # COST
  serve_registry "$REGISTRY_PORT" ''
  mkdir -p "$DIR/portcullis"
  render today-portcullis.yml.in "$DIR/portcullis/conf" "HTPASSWD=$DIR/htpasswd-$1"
  start portcullis "$SERVER_CPU" "$PORTCULLIS" serve -c "$DIR/portcullis/conf"
  SERVERS+=("$STARTED")
}

gate_nginx-basic() { # COST
  serve_registry "$REGISTRY_PORT" ''
  serve_nginx "location / { auth_basic registry; auth_basic_user_file $DIR/htpasswd-$1; proxy_set_header Authorization \"\"; proxy_pass http://registry; }"
}

gate_registry-alone() { # COST
  serve_registry "$PORT" "  tls: { certificate: $DIR/tls/fullchain.crt, key: $DIR/tls/server.key, minimumtls: tls1.2 }
auth: { htpasswd: { realm: registry, path: $DIR/htpasswd-$1 } }"
}

gate_nginx-token() { # COST
  serve_registry "$REGISTRY_PORT" "auth: { token: { realm: \"$BASE/token\", service: bench, issuer: bench, rootcertbundle: $DIR/token.crt } }"
  serve_nginx "$(token_location "$DIR/htpasswd-$1") location / { proxy_pass http://registry; }"
}

gate_nginx-request() { # COST
  serve_registry "$REGISTRY_PORT" ''
  render verifier.cfg.in "$DIR/verifier.cfg"
  start verifier "$SERVER_CPU" haproxy -db -f "$DIR/verifier.cfg"
  SERVERS+=("$STARTED")
  serve_nginx "$(token_location "$DIR/htpasswd-$1")
    location = /verify { internal; proxy_pass http://verifier; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }
    location @challenge { add_header WWW-Authenticate 'Bearer realm=\"$BASE/token\",service=\"bench\"' always; return 401; }
    location / { auth_request /verify; error_page 401 = @challenge; proxy_set_header Authorization \"\"; proxy_pass http://registry; }"
}

# start_gate GATE COST: fresh processes, ready to answer.
start_gate() {
  SERVERS=()
  "gate_$1" "$2"
  answers "$STARTED" "$DIR/registry.log" "$BASE/v2/"
}

stop_gate() { local pid; for pid in "${SERVERS[@]}"; do stop "$pid"; done; }
