//! Every key of the contract is known, whether this version can do what it asks for or not.

use std::path::Path;

use super::{
    super::{
        problem::Report,
        yaml::{self, Node, Value},
    },
    told,
};

/// Every key once; values that this version refuses stand where the contract shows them.
const CONTRACT: &str = r#"
version: 1
listen:
  https: ["[::]:443"]
  http: ["[::]:80"]
  public_port: 443
  admin: "127.0.0.1:9090"
  proxy_protocol_from: []
  trusted_proxies: []
tls:
  min_version: "1.2"
  certificates:
    - certificate_file: "tls/registry.example.com.crt"
      key_file: "tls/registry.example.com.key"
      default: true
  acme:
    directory: "letsencrypt"
    directory_ca_file: null
    contact: ["mailto:ops@example.com"]
    agree_to_terms: true
    storage: "/var/lib/portcullis/acme"
    challenge: "auto"
    profile: null
    external_account: null
    certificates:
      - names: ["hub.example.com", "www.hub.example.com"]
  hsts: "365d"
registries:
  - hosts: ["registry.example.com", "172.22.22.1"]
    read_only: false
    read_only_uploads: finish
    upstream:
      servers:
        - url: "http://registry-1:5000"
        - url: "http://registry-2:5000"
          role: "replica"
          weight: 1
      balance: "least_requests"
      health: { path: "/v2/", interval: "5s", timeout: "2s", unhealthy_after: 2, healthy_after: 2 }
      timeouts: { connect: "3s", first_byte: "60s", idle: "20s", commit: "15m" }
      tls: { ca_file: null, server_name: null, client_certificate_file: null, client_key_file: null }
      credentials: null
      pass_token: false
      redirects: "follow"
      redirect_hosts: []
      verify: false
    routes:
      - repositories: ["mirror/**"]
        upstream: { servers: [{ url: "http://mirror:5000" }] }
    notary: null
    ui: null
    cors: { origins: [] }
identity:
  realm: "Registry"
  disabled_users: []
  groups:
    team-a: ["alice", "bob"]
  providers:
    - htpasswd: { file: "htpasswd" }
    - ldap:
        urls: ["ldaps://ldap-1.example.com", "ldaps://ldap-2.example.com"]
        starttls: false
        ca_file: null
        bind_dn: "cn=portcullis,ou=services,dc=example,dc=com"
        bind_password_file: "secrets/ldap"
        users: { base: "ou=people,dc=example,dc=com", filter: "(uid=$user)" }
        groups: { base: "ou=groups,dc=example,dc=com", filter: "(member=$dn)", name: "cn", nested: false }
        timeout: "5s"
        pool: 8
  cache: "5m"
tokens:
  service: null
  issuer: "portcullis"
  path: "/token"
  lifetime: "15m"
  keys: ["/var/lib/portcullis/token.key"]
  upload_grace: "1h"
  refresh: { enabled: false, lifetime: "30d" }
  revoked: []
access:
  grants:
    - name: "public images"
      repositories: ["library/**"]
      actions: [pull]
      to: [anyone]
    - name: "team-a works in its namespace"
      repositories: ["team-a/**"]
      except: ["team-a/release/**"]
      actions: [pull, push]
      to: ["group:team-a"]
      from: ["10.0.0.0/8"]
      registries: ["registry.example.com"]
limits:
  connections: 4096
  connections_per_client: 256
  handshake: "10s"
  request_head: "10s"
  idle: "75s"
  body_idle: "60s"
  buffers: "512MiB"
  manifest: "4MiB"
  upload: null
  failed_logins: { count: 10, per: "5m" }
events:
  storage: "/var/lib/portcullis/events"
  endpoints:
    - name: "scanner"
      url: "https://scanner.example.com/hook"
      actions: [push, delete]
      media_type: "application/vnd.docker.distribution.events.v1+json"
      hmac_key_file: null
      authorization_file: null
      ca_file: null
      repositories: ["team-a/**"]
      registries: ["registry.example.com"]
      references: false
      queue: 10000
      batch: 64
      timeout: "2s"
log: { format: "json", level: "info", access: true, audit: true }
reload: { watch: true, interval: "2s" }
shutdown: { drain: "30s" }
"#;

#[test]
fn every_key_is_known() {
    let told: Vec<String> = told(CONTRACT).into_iter().filter(|told| !told.contains("certificates[0]")).collect();
    assert!(told.is_empty(), "{told:#?}");
}

/// The other way round: a key that is not in the contract is not known, wherever it stands.
#[test]
fn every_other_key_is_unknown() {
    let report = Report::new(Path::new("p.yml"));
    let tree = yaml::parse(CONTRACT, &report).unwrap();
    let mut keys = Vec::new();
    collect(&tree, "", &mut keys);
    assert!(keys.len() > 90, "{}", keys.len());
    for (path, key, line, column) in keys {
        let mut lines: Vec<String> = CONTRACT.lines().map(str::to_owned).collect();
        lines[line - 1].insert_str(column - 1, "zz-");
        let told = told(&lines.join("\n"));
        let unknown = told.iter().any(|told| {
            told.starts_with(&format!("{line}:{column}: error: "))
                && told.contains(&format!("unknown key \"zz-{key}\""))
        });
        // The names of groups are free.
        let expected = !path.starts_with("identity.groups.");
        assert_eq!(unknown, expected, "{path}: {told:#?}");
    }
}

fn collect(node: &Node, path: &str, keys: &mut Vec<(String, String, usize, usize)>) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| collect(node, &format!("{path}[]"), keys)),
        Value::Map(entries) => {
            for entry in entries {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                keys.push((path.clone(), entry.key.clone(), entry.place.line, entry.place.column));
                collect(&entry.node, &path, keys);
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => {}
    }
}
