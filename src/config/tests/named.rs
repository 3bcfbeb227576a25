//! What a configuration names, and what differs from another one.

use std::path::Path;

use super::{LEAST, read, reading, with_line, with_more};

#[test]
fn every_file_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let upstream = format!(
        "    upstream: {{ servers: [{{ url: \"https://r\" }}], credentials: {{ username: u, password_file: {} }}, \
         tls: {{ ca_file: ca, client_certificate_file: c, client_key_file: k }} }}\n    \
         routes: [{{ repositories: [a], upstream: {{ servers: [{{ url: \"https://o\" }}], tls: {{ ca_file: /o }} }} }}]",
        secret.display()
    );
    let config = read(&with_line(6, &upstream)).unwrap();
    let files: Vec<_> =
        config.files().iter().map(|file| (file.key.as_str(), file.path.as_path(), file.seen.is_some())).collect();
    assert_eq!(
        files,
        [
            ("registries[0].upstream.tls.ca_file", Path::new("conf/ca"), false),
            ("registries[0].upstream.tls.client_certificate_file", Path::new("conf/c"), false),
            ("registries[0].upstream.tls.client_key_file", Path::new("conf/k"), false),
            ("registries[0].upstream.credentials.password_file", &secret, true),
            ("registries[0].routes[0].upstream.tls.ca_file", Path::new("/o"), false),
            ("identity.providers[0].htpasswd.file", Path::new("conf/htpasswd"), false),
            ("tls.certificates[0].certificate_file", Path::new("conf/r.crt"), false),
            ("tls.certificates[0].key_file", Path::new("conf/r.key"), false),
            ("tokens.keys", Path::new("/var/lib/portcullis/token.key"), false),
        ]
    );
}

#[test]
fn an_error_is_told_where_the_file_is_named() {
    let config = read(&with_more("tokens: { keys: [r.key] }\n")).unwrap();
    let told = |section: &str, path: &str| config.error_with(section, Path::new(path), "is no good").to_string();
    assert_eq!(
        told("tls.certificates[0]", "conf/r.key"),
        "conf/p.yml:3:62: error: tls.certificates[0].key_file: is no good"
    );
    assert_eq!(told("tokens", "conf/r.key"), "conf/p.yml:8:18: error: tokens.keys[0]: is no good");
    assert_eq!(
        told("registries[0]", "conf/r.crt"),
        "conf/p.yml:3:43: error: tls.certificates[0].certificate_file: is no good"
    );
    assert_eq!(told("registries[0]", "conf/other"), "conf/p.yml: error: registries[0]: is no good");

    let config = read(&with_line(2, "listen: { https: [\"[::]:1\", \"[::]:2\"] }")).unwrap();
    assert_eq!(
        config.error_at("listen.https", "is in use").to_string(),
        "conf/p.yml:2:18: error: listen.https: is in use"
    );
    let key = "/var/lib/portcullis/token.key";
    let told = config.error_with("tokens", Path::new(key), "is no good").to_string();
    assert_eq!(told, "conf/p.yml: error: tokens.keys: is no good");
}

/// A configuration that is refused names files all the same: one of them may be what is missing.
#[test]
fn what_is_refused_names_its_files_too() {
    let text = with_line(
        6,
        "    upstream: { servers: [{ url: \"http://r\" }], credentials: { username: u, password_file: none } }",
    );
    let reading = reading(&text);
    assert!(reading.outcome.is_err());
    assert!(
        reading.files.iter().any(|file| file.seen.is_some() && file.path == Path::new("conf/none")),
        "{:?}",
        reading.files
    );
}

#[test]
fn sections_that_differ() {
    let least = read(LEAST).unwrap();
    let differences = |text: &str| least.differences(&read(text).unwrap());
    assert!(differences(&format!("# a comment\n{LEAST}\n")).is_empty());
    let reversed: Vec<&str> = LEAST.lines().collect();
    let reversed = [&reversed[6..], &reversed[3..6], &reversed[..3]].concat().join("\n");
    assert!(differences(&reversed).is_empty(), "{reversed}");
    assert_eq!(differences(&with_line(2, "listen: { https: [\"[::]:444\"] }")), ["listen"]);
    assert_eq!(differences(&with_more("log: { access: false }\nlimits: {}\n")), ["limits", "log"]);
    assert_eq!(
        differences(&with_line(3, "tls: { certificates: [{ certificate_file: r.crt, key_file: q.key }] }")),
        ["tls"]
    );
}
