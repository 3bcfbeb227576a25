//! `registries[0].upstream` and `registries[0].routes`.

use std::time::Duration;

use super::{read, tells, told, upstream, with_line};
use crate::config::{Balance, Health, Role, ServerUrl};

fn servers(list: &str) -> String {
    with_line(6, &format!("    upstream: {{ servers: [{list}] }}"))
}

#[test]
fn servers_have_roles_and_weights() {
    let text = servers("{ url: \"http://a:5000\" }, { url: \"unix:/b.sock\", role: replica, weight: 5 }");
    let upstream = read(&text).unwrap().registries.remove(0).upstream;
    assert_eq!(
        upstream.servers.iter().map(|server| (server.url.to_string(), server.role, server.weight)).collect::<Vec<_>>(),
        [("http://a:5000".to_owned(), Role::Primary, 1), ("unix:/b.sock".to_owned(), Role::Replica, 5)]
    );
    assert_eq!(upstream.balance, Balance::LeastRequests);
    assert!(!upstream.verify);
}

#[test]
fn a_servers_name_is_its_address() {
    for (url, name) in [
        ("http://R:5000/", "http://r:5000"),
        ("https://r", "https://r:443"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("unix:///run/r.sock", "unix:/run/r.sock"),
    ] {
        let config = read(&servers(&format!("{{ url: \"{url}\" }}"))).unwrap();
        assert_eq!(config.registries[0].upstream.servers[0].url.to_string(), name);
    }
    assert_eq!(ServerUrl::Http { host: "::1".to_owned(), port: 80 }.authority().unwrap(), "[::1]:80");
}

#[test]
fn servers_that_make_no_upstream() {
    let replica = "{ url: \"http://r\", role: replica }";
    tells(&servers(replica), "6:17", "there are only replicas: at least one server must be a primary");
    let twice = "{ url: \"http://r\" }, { url: \"http://R:80/\" }";
    tells(&servers(twice), "6:", "registries[0].upstream.servers[1]: this url is given twice");
    tells(&servers("{ url: \"http://r\", role: standby }"), "6:", "\"standby\" is not one of primary, replica.");
    tells(&servers("{ url: \"http://r\", weight: 0 }"), "6:", "weight: 0 is out of range: 1 to 65535");
}

#[test]
fn health_has_defaults_and_limits() {
    let health = |value: &str| {
        let text = with_line(6, &format!("    upstream: {{ servers: [{{ url: \"http://r\" }}], health: {value} }}"));
        read(&text).unwrap().registries.remove(0).upstream.health
    };
    let default = Health {
        path: "/v2/".to_owned(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        unhealthy_after: 2,
        healthy_after: 2,
    };
    assert_eq!(health("null"), default);
    let quick = "{ path: \"/debug/health?x=1\", interval: 1s, timeout: 500ms, unhealthy_after: 1, healthy_after: 3 }";
    assert_eq!(
        health(quick),
        Health {
            path: "/debug/health?x=1".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            unhealthy_after: 1,
            healthy_after: 3,
        }
    );
    upstream("health: { path: \"v2\" }", "6:", "health.path: \"v2\" is not a path: write \"/v2/\"");
    upstream("health: { path: \"/v2/ x\" }", "6:", "health.path: \"/v2/ x\" is not a path");
    upstream("health: { interval: 10ms }", "6:", "health.interval: \"10ms\" is too short: at least 100ms");
    upstream("health: { unhealthy_after: 0 }", "6:", "health.unhealthy_after: 0 is out of range: 1 to 1000");
}

fn routes(list: &str) -> String {
    with_line(6, &format!("    upstream: {{ servers: [{{ url: \"http://r\" }}] }}\n    routes: [{list}]"))
}

#[test]
fn routes_send_patterns_elsewhere() {
    let mirror = "{ repositories: [\"mirror/**\", \"m/*\"], upstream: { servers: [{ url: \"http://m\" }], balance: by_digest } }";
    let registry = read(&routes(mirror)).unwrap().registries.remove(0);
    let routed = &registry.routes[0];
    assert_eq!(routed.repositories.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>(), ["mirror/**", "m/*"]);
    assert_eq!(routed.upstream.balance, Balance::ByDigest);
    assert_eq!(told(&routes("")), Vec::<String>::new());
}

#[test]
fn routes_that_lead_nowhere() {
    let upstream = "upstream: { servers: [{ url: \"http://m\" }] }";
    tells(&routes(&format!("{{ {upstream} }}")), "7:", "routes[0]: the key \"repositories\" is missing");
    tells(&routes(&format!("{{ repositories: [], {upstream} }}")), "7:", "routes[0].repositories: must not be empty");
    tells(&routes("{ repositories: [a] }"), "7:", "routes[0]: the key \"upstream\" is missing");
    tells(&routes(&format!("{{ repositories: [\"a/$user\"], {upstream} }}")), "7:", "$user has no meaning here");
    let one = format!("{{ repositories: [a], {upstream} }}");
    tells(&routes(&format!("{one}, {one}")), "7:", "routes[1].repositories[0]: \"a\" is given twice");
}
