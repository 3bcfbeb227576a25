//! Redirects to object storage, and what a server is shown over TLS.

use super::{read, tells, told, with_line};

fn file(value: &str) -> String {
    with_line(6, &format!("    upstream: {{ servers: [{{ url: \"http://r:5000\" }}], {value} }}"))
}

fn hosts(value: &str) -> Vec<(String, Vec<String>)> {
    let config = read(&file(value)).unwrap();
    let hosts = &config.registries[0].upstream.redirect_hosts;
    hosts
        .iter()
        .map(|host| (host.origin.to_string(), host.addresses.iter().map(ToString::to_string).collect()))
        .collect()
}

#[test]
fn both_forms() {
    assert_eq!(
        hosts(
            "redirect_hosts: [\"https://bucket.s3.example.com/\", \"https://10.0.0.5:9000\", { origin: \"https://minio.internal:9000\", addresses: [\"10.0.0.0/8\", \"fd00::1\"] }]"
        ),
        [
            ("https://bucket.s3.example.com".to_owned(), vec![]),
            ("https://10.0.0.5:9000".to_owned(), vec![]),
            ("https://minio.internal:9000".to_owned(), vec!["10.0.0.0/8".to_owned(), "fd00::1/128".to_owned()]),
        ]
    );
    assert_eq!(hosts("redirect_hosts: [{ origin: \"https://bucket.example.com\" }]").len(), 1);
    for nothing in ["redirect_hosts: []", "redirect_hosts: null", "redirects: follow"] {
        assert_eq!(hosts(nothing), [], "{nothing}");
    }
}

#[test]
fn what_is_no_origin() {
    let error = |value: &str, words: &str| {
        tells(
            &file(&format!("redirect_hosts: [{value}]")),
            "6:71: error: registries[0].upstream.redirect_hosts[0]",
            words,
        );
    };
    error("bucket.example.com", "does not begin with https://");
    error("\"https://*.example.com\"", "the host or the port cannot be read");
    error("\"https://user:hunter2@b.example.com\"", "a name or password stands before its host");
    error("\"https://b.example.com/path\"", "an origin has no path");
    error("\"https://b.example.com?x\"", "an origin has no path");
    error("\"https://b.example.com#x\"", "an origin has no path");
    error("443", "expected an origin");
    error("{ addresses: [\"10.0.0.0/8\"] }", "the key \"origin\" is missing");
    let told = told(&file("redirect_hosts: [\"https://user:hunter2@b.example.com\"]"));
    assert!(!told.concat().contains("hunter2"), "{told:?}");
    let entry = |value: &str| file(&format!("redirect_hosts: [{{ origin: \"https://b.example.com\", {value} }}]"));
    tells(&entry("adresses: [\"10.0.0.0/8\"]"), "", "did you mean \"addresses\"?");
    tells(&entry("addresses: []"), "", "must not be empty");
    tells(&entry("addresses: [\"10.0.0.0/33\"]"), "", "is not a network");
    tells(
        &file("redirect_hosts: [{ origin: \"https://10.0.0.5\", addresses: [\"10.0.0.5\"] }]"),
        "",
        "the host is an address already",
    );
    tells(
        &file("redirect_hosts: [\"https://b.example.com\", \"HTTPS://B.example.com:443\"]"),
        "",
        "https://b.example.com is given twice",
    );
}

#[test]
fn what_is_odd_is_said() {
    tells(
        &file("redirect_hosts: [\"http://minio:9000\"]"),
        "6:71: warning: ",
        "http://minio:9000 is asked without TLS",
    );
    tells(
        &file("redirects: pass, redirect_hosts: [\"https://b.example.com\"]"),
        "6:71: warning: registries[0].upstream.redirect_hosts: ",
        "has no effect with redirects: pass",
    );
}

#[test]
fn a_client_certificate_has_both_files() {
    let file = |url: &str, tls: &str| {
        with_line(6, &format!("    upstream: {{ servers: [{{ url: \"{url}\" }}], tls: {{ {tls} }} }}"))
    };
    let config = read(&file("https://r", "client_certificate_file: gate.crt, client_key_file: /k/gate.key")).unwrap();
    assert_eq!(config.warnings, []);
    let files = config.registries[0].upstream.tls.client_certificate.as_ref().unwrap();
    assert_eq!(
        (files.certificate_file.to_str(), files.key_file.to_str()),
        (Some("conf/gate.crt"), Some("/k/gate.key"))
    );
    assert!(
        read(&file("https://r", "client_key_file: null")).unwrap().registries[0]
            .upstream
            .tls
            .client_certificate
            .is_none()
    );
    tells(
        &file("https://r", "client_certificate_file: a"),
        "6:57: error: registries[0].upstream.tls.client_certificate_file: needs client_key_file",
        "",
    );
    tells(
        &file("https://r", "client_key_file: a, client_certificate_file: null"),
        "6:57: error: registries[0].upstream.tls.client_key_file: needs client_certificate_file",
        "",
    );
    let told = told(&file("http://r", "client_certificate_file: a, client_key_file: b"));
    assert!(
        told.len() == 2 && told.iter().all(|told| told.contains("warning") && told.contains("has no effect")),
        "{told:?}"
    );
}

#[test]
fn roots_have_an_effect_where_storage_is_asked_over_tls() {
    let file = |origin: &str| file(&format!("tls: {{ ca_file: x }}, redirect_hosts: [\"{origin}\"]"));
    assert_eq!(told(&file("https://b.example.com")), Vec::<String>::new());
    assert!(told(&file("http://b.example.com")).iter().any(|told| told.contains("ca_file: has no effect")));
}
