//! What is read is what was written.

use std::time::Duration;

use super::{
    super::{FailedLogins, LogFormat, MinVersion, Redirects, ServerUrl, Subject},
    LEAST, read, with_line, with_more,
};
use crate::registry::{Action, Actions};

#[test]
fn defaults() {
    let config = read(LEAST).unwrap();
    let printed = |addresses: &[std::net::SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(printed(&config.listen.https), ["[::]:443"]);
    assert_eq!(printed(&config.listen.http), ["[::]:80"]);
    assert_eq!(config.listen.admin.map(|admin| admin.to_string()).as_deref(), Some("127.0.0.1:9090"));
    assert_eq!((config.listen.public_port, config.listen.trusted_proxies.len()), (None, 0));
    assert_eq!((config.tls.min_version, config.tls.hsts), (MinVersion::Tls12, Some(Duration::from_secs(365 * 86_400))));
    let upstream = &config.registries[0].upstream;
    let timeouts = &upstream.timeouts;
    assert_eq!(
        [timeouts.connect, timeouts.first_byte, timeouts.idle, timeouts.commit].map(|time| time.as_secs()),
        [3, 60, 20, 900]
    );
    assert_eq!(upstream.redirects, Redirects::Follow);
    assert_eq!((config.identity.realm.as_str(), config.identity.cache.as_secs()), ("Registry", 300));
    assert_eq!(
        (config.tokens.issuer.as_str(), config.tokens.path.as_str(), config.tokens.lifetime.as_secs()),
        ("portcullis", "/token", 900)
    );
    assert_eq!(config.tokens.service, None);
    assert!(config.access.grants.is_empty());
    let limits = &config.limits;
    assert_eq!(
        (limits.connections, limits.connections_per_client, limits.buffers, limits.manifest, limits.upload),
        (4096, 256, 512 << 20, 4 << 20, None)
    );
    assert_eq!(limits.failed_logins, Some(FailedLogins { count: 10, per: Duration::from_secs(300) }));
    assert_eq!(
        [limits.handshake, limits.request_head, limits.idle, limits.body_idle].map(|time| time.as_secs()),
        [10, 10, 75, 60]
    );
    assert_eq!((config.log.format, config.log.level.as_str(), config.log.access), (LogFormat::Json, "info", true));
    assert_eq!((config.reload.watch, config.reload.interval.as_secs(), config.shutdown.drain.as_secs()), (true, 2, 30));
}

#[test]
fn sections_whose_lines_are_all_commented_out_are_defaults() {
    let text =
        with_more("tokens:\naccess:\nlimits:\nlog:\nreload:\nshutdown:\nevents:\n").replace("listen: {}", "listen:");
    assert_eq!(read(&text).unwrap().warnings, []);
    let text = with_more("access:\n  grants:\n");
    assert!(read(&text).unwrap().access.grants.is_empty());
}

#[test]
fn switched_off() {
    for admin in ["null", "~", "off", "\"off\"", ""] {
        let text = with_line(2, &format!("listen: {{ http: [], admin: {admin} }}"));
        let listen = read(&text).unwrap().listen;
        assert_eq!((listen.http.len(), listen.admin), (0, None), "{admin}");
    }
    let text =
        with_line(3, "tls: { hsts: 0s, min_version: \"1.3\", certificates: [{ certificate_file: a, key_file: b }] }");
    let tls = read(&text).unwrap().tls;
    assert_eq!((tls.hsts, tls.min_version), (None, MinVersion::Tls13));
    let text = with_more("shutdown: { drain: 0s }\nreload: { watch: false }\n");
    let config = read(&text).unwrap();
    assert_eq!((config.shutdown.drain, config.reload.watch), (Duration::ZERO, false));
}

#[test]
fn failed_logins() {
    let of = |value: &str| {
        let limits = read(&with_more(&format!("limits: {{ failed_logins: {value} }}\n"))).unwrap().limits;
        limits.failed_logins.map(|FailedLogins { count, per }| (count, per.as_secs()))
    };
    assert_eq!(of("null"), None);
    assert_eq!(of("{}"), Some((10, 300)));
    assert_eq!(of("{ count: 3 }"), Some((3, 300)));
    assert_eq!(of("{ count: 1000000, per: 1s }"), Some((1_000_000, 1)));
}

#[test]
fn servers() {
    let http = |host: &str, port| ServerUrl::Http { host: host.to_owned(), port };
    let https = |host: &str, port| ServerUrl::Https { host: host.to_owned(), port };
    for (url, server) in [
        ("http://registry", http("registry", 80)),
        ("http://registry:5000/", http("registry", 5000)),
        ("http://Team_Registry_1:5000", http("team_registry_1", 5000)),
        ("https://registry.example.com", https("registry.example.com", 443)),
        ("https://10.0.0.1:5000", https("10.0.0.1", 5000)),
        ("http://[::1]:5000", http("::1", 5000)),
        ("unix:/run/r.sock", ServerUrl::Unix("/run/r.sock".into())),
        ("unix:///run/r.sock", ServerUrl::Unix("/run/r.sock".into())),
    ] {
        let text = with_line(6, &format!("    upstream: {{ servers: [{{ url: \"{url}\" }}] }}"));
        assert_eq!(read(&text).unwrap().registries[0].upstream.servers[0].url, server, "{url}");
    }
}

#[test]
fn grants() {
    let text = with_more(
        r#"access:
  grants:
    - name: "one"
      repositories: ["a/**", "$user"]
      except: [a/b]
      actions: [push, pull]
      to: [authenticated, "user:alice", "group:team"]
      from: [10.0.0.0/8, 2001:db8::1]
      registries: [R.example.com]
    - { repositories: ["b"], actions: [delete], to: ["user:x"] }
"#,
    )
    .replace("identity: { ", "identity: { groups: { team: [alice] }, ");
    let config = read(&text).unwrap();
    let [one, two] = config.access.grants.as_slice() else { panic!("two grants") };
    assert_eq!((one.name.as_str(), one.line, two.name.as_str(), two.line), ("one", 10, "grant 2", 17));
    assert_eq!(one.repositories.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>(), ["a/**", "$user"]);
    assert_eq!(one.except.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>(), ["a/b"]);
    assert_eq!(one.actions, [Action::Pull, Action::Push].into_iter().collect::<Actions>());
    assert_eq!(one.to, [Subject::Authenticated, Subject::User("alice".to_owned()), Subject::Group("team".to_owned())]);
    assert_eq!(one.from.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "2001:db8::1/128"]);
    assert_eq!(one.registries, config.registries[0].hosts);
    assert_eq!((two.actions, two.from.len(), two.registries.len()), (Actions::from(Action::Delete), 0, 0));
    assert_eq!(config.identity.groups["team"], ["alice"]);
}

#[test]
fn two_registries_may_share_a_name_with_ports() {
    let second = "    upstream: { servers: [{ url: \"http://r:5000\" }] }\n  - hosts: [\"r.example.com:8443\"]\n    upstream: { servers: [{ url: \"http://s\" }] }";
    let config = read(&with_line(6, second)).unwrap();
    assert_eq!(config.registries[1].hosts[0].port, Some(8443));
}
