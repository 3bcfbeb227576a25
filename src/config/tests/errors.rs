//! Errors of keys and kinds of values, each with its place.

use super::{grant, listen, more, tells, told, upstream, with_line, with_more};

#[test]
fn mandatory_keys() {
    let missing = told("log: {}\n");
    let expected = ["version", "registries", "identity", "listen", "tls"];
    for key in expected {
        let start = format!("1:1: error: the key {key:?} is missing: ");
        assert!(missing.iter().any(|told| told.starts_with(&start)), "{key} in {missing:#?}");
    }
    assert_eq!(missing.len(), expected.len(), "{missing:#?}");
}

#[test]
fn version() {
    tells(&with_line(1, "version: 2"), "1:10: error: version: found the number 2, and this version", "version: 1");
    tells(&with_line(1, "version: \"1\""), "1:10: error: version: found text", "version: 1");
    tells(&with_line(1, "version:"), "1:", "version: found nothing");
    tells(&with_line(1, "log: {}"), "1:1: error: the key \"version\" is missing: write version: 1", "");
}

#[test]
fn unknown_keys() {
    more("acess: {}\n", "8:1: error: unknown key \"acess\": did you mean \"access\"?", "");
    more(
        "limits: { hand-shake: 5s }\n",
        "8:11: error: limits: unknown key \"hand-shake\": did you mean \"handshake\"?",
        "",
    );
    more("LOG: {}\n", "8:1: error: unknown key \"LOG\": did you mean \"log\"?", "");
    more(
        "reload: { \"wild\\nkey\": 1 }\n",
        "8:11: error: reload: unknown key \"wild\\nkey\"; known here: watch, interval",
        "",
    );
    listen(
        "proxy_protocol: []",
        "2:11: error: listen: unknown key \"proxy_protocol\": did you mean \"proxy_protocol_from\"?",
        "",
    );
    grant("    action: [push]", "14:5: error: access.grants[0]: unknown key \"action\": did you mean \"actions\"?", "");
}

#[test]
fn unknown_keys_never_show_a_value() {
    let text = with_line(
        6,
        "    upstream: { servers: [{ url: \"http://r\" }], credentials: { username: a, password: hunter2 } }",
    );
    let told = told(&text);
    assert_eq!(
        told,
        [
            "6:49: error: registries[0].upstream.credentials: the key \"password_file\" is missing: write the path of a file that holds the password",
            "6:77: error: registries[0].upstream.credentials: unknown key \"password\": did you mean \"password_file\"?",
        ]
    );
}

#[test]
fn kinds_of_values() {
    tells(&with_line(3, "tls: [a]"), "3:6: error: tls: expected a mapping (keys and values), found a list", "");
    more("log: [json]\n", "8:6: error: log: expected a mapping (keys and values), found a list", "");
    more("log: { format: 3 }\n", "8:16: error: log.format: expected text, found the number 3: put it in quotes", "");
    more("log: { format: [json] }\n", "8:16: error: log.format: expected text, found a list", "");
    more("log: { level: }\n", "8:8: error: log.level: expected text, found nothing", "");
    more(
        "limits: { connections: -3 }\n",
        "8:24: error: limits.connections: expected a whole number from 1 to 1000000, found the number -3",
        "",
    );
    more(
        "limits: { connections: 1.5 }\n",
        "8:24: error: limits.connections: expected a whole number",
        "found the number 1.5",
    );
    more(
        "limits: { failed_logins: 10 }\n",
        "8:26: error: limits.failed_logins: write { count: 10, per: \"5m\" } or null, not the number 10",
        "",
    );
    more(
        "limits: { failed_logins: { count: 0 } }\n",
        "8:35: error: limits.failed_logins.count: 0 is out of range: 1 to 1000000",
        "",
    );
    more(
        "limits: { failed_logins: { per: 0s } }\n",
        "8:33: error: limits.failed_logins.per: \"0s\" is too short: at least 1s",
        "",
    );
    more("limits: { connections: 0 }\n", "8:24: error: limits.connections: 0 is out of range: 1 to 1000000", "");
    more("limits: { connections: 1e999 }\n", "8:24: error: limits.connections: expected a whole number", "");
    more("tokens: { issuer: \"\" }\n", "8:19: error: tokens.issuer: must not be empty", "");
    more("tokens: { issuer: \"a\\nb\" }\n", "8:19: error: tokens.issuer: must not hold line breaks", "");
    listen("http: \"[::]:80\"", "2:17: error: listen.http: expected a list, like [one, two]", "found text");
}

#[test]
fn words() {
    more(
        "log: { level: warning }\n",
        "8:15: error: log.level: \"warning\" is not one of error, warn, info, debug, trace. Did you mean \"warn\"?",
        "",
    );
    more("log: { format: xml }\n", "8:16: error: log.format: \"xml\" is not one of json, text.", "");
    upstream(
        "balance: random",
        "6:",
        "upstream.balance: \"random\" is not one of least_requests, round_robin, by_digest.",
    );
    upstream(
        "redirects: folow",
        "6:",
        "upstream.redirects: \"folow\" is not one of follow, pass. Did you mean \"follow\"?",
    );
    tells(
        &with_line(3, "tls: { min_version: 1.2, certificates: [{ certificate_file: a, key_file: b }] }"),
        "3:21: error: tls.min_version: expected text, found the number 1.2",
        "quotes",
    );
    tells(
        &with_line(3, "tls: { min_version: \"1.1\", certificates: [{ certificate_file: a, key_file: b }] }"),
        "3:21: error: tls.min_version: \"1.1\" is not one of 1.2, 1.3",
        "",
    );
}

#[test]
fn durations() {
    more(
        "limits: { idle: 75 }\n",
        "8:17: error: limits.idle: expected a duration, found the number 75: write a whole number and a unit",
        "\"15m\"",
    );
    more(
        "limits: { idle: \"75\" }\n",
        "8:17: error: limits.idle: \"75\" is not a duration: write a whole number and a unit",
        "",
    );
    more("limits: { idle: 1h30m }\n", "8:17: error: limits.idle: \"1h30m\" is not a duration", "");
    more("limits: { idle: 0s }\n", "8:17: error: limits.idle: \"0s\" is too short: at least 1ms", "");
    more("limits: { idle: 40000d }\n", "8:17: error: limits.idle: \"40000d\" is not a duration", "at most 36500d");
    more("tokens: { lifetime: 59s }\n", "8:21: error: tokens.lifetime: \"59s\" is too short: at least 1m", "");
    more("reload: { interval: 50ms }\n", "8:21: error: reload.interval: \"50ms\" is too short: at least 100ms", "");
    tells(
        &with_line(3, "tls: { hsts: 1500ms, certificates: [{ certificate_file: a, key_file: b }] }"),
        "3:14: error: tls.hsts: must be whole seconds",
        "",
    );
}

#[test]
fn sizes() {
    more(
        "limits: { manifest: 4MB }\n",
        "8:21: error: limits.manifest: \"4MB\" is not a size: write bytes or a unit",
        "\"4MiB\"",
    );
    more("limits: { manifest: 0 }\n", "8:21: error: limits.manifest: must be more than 0", "");
    more(
        "limits: { buffers: 4095KiB }\n",
        "8:20: error: limits.buffers: too little to serve a few transfers at a time: at least 4MiB",
        "",
    );
    more(
        "limits: { manifest: 65MiB }\n",
        "8:21: error: limits.manifest: manifests are held in memory: at most 64MiB",
        "",
    );
    more("limits: { upload: [] }\n", "8:19: error: limits.upload: expected a size, found a list", "");
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = with_more(
        "tokens: { path: /v2, lifetime: 1s }\naccess:\n  grants:\n  - to: [all]\n    repositories: []\nlogs: {}\n",
    );
    let places: Vec<String> =
        told(&text).iter().map(|told| told.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(places, ["8:17", "8:32", "11:5", "11:10", "12:5", "13:1"]);
}
