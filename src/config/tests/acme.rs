//! `tls.acme`.

use super::{
    super::{Acme, AcmeChallenge},
    read, told, with_line,
};

const AGREED: &str = "agree_to_terms: true";
const NAMES: &str = r#"certificates: [{ names: ["hub.example.com"] }]"#;

fn text(keys: &[&str]) -> String {
    with_line(3, &format!("tls: {{ acme: {{ {} }} }}", keys.join(", ")))
}

#[track_caller]
fn acme(keys: &[&str]) -> Acme {
    let config = read(&text(keys)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.warnings.len(), 0, "{:?}", config.warnings);
    config.tls.acme.unwrap()
}

#[track_caller]
fn refused(keys: &[&str], words: &str) {
    let told = told(&text(keys));
    assert!(matches!(told.as_slice(), [one] if one.contains("error: ") && one.contains(words)), "{told:#?}");
}

#[test]
fn defaults_and_forms() {
    let least = acme(&[AGREED, NAMES]);
    assert_eq!(least.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(least.storage.to_str(), Some("/var/lib/portcullis/acme"));
    assert_eq!(least.challenge, AcmeChallenge::Auto);
    assert!(least.profile.is_none() && least.external_account.is_none() && least.contact.is_empty());

    let more = acme(&[
        AGREED,
        r#"directory: "https://ca.internal:9000/acme/directory", directory_ca_file: "ca.crt", storage: "acme""#,
        r#"contact: ["mailto:ops@example.com"], challenge: http-01, profile: tlsserver"#,
        r#"external_account: { key_id: "kid-1", hmac_key_file: "eab" }"#,
        r#"certificates: [{ names: ["A.Example.com.", "b.example.com"] }, { names: ["2001:DB8::1", "192.0.2.7"] }]"#,
    ]);
    assert_eq!(more.storage.to_str(), Some("conf/acme"));
    assert_eq!(more.external_account.as_ref().unwrap().hmac_key_file.to_str(), Some("conf/eab"));
    let names: Vec<String> = more.names().map(ToString::to_string).collect();
    assert_eq!(names, ["a.example.com", "b.example.com", "2001:db8::1", "192.0.2.7"]);
    assert!(acme(&[AGREED, NAMES, "directory: letsencrypt-staging"]).directory.contains("staging"));
}

#[test]
fn files_may_be_left_out_with_it_and_not_without() {
    let both = "tls: { certificates: [], acme: { agree_to_terms: true, certificates: [{ names: [a.test] }] } }";
    assert!(read(&with_line(3, both)).unwrap().tls.certificates.is_empty());
    for neither in ["tls: { acme: null }", "tls: { certificates: [] }"] {
        let told = told(&with_line(3, neither));
        assert!(matches!(told.as_slice(), [one] if one.contains("or acme with the names")), "{told:#?}");
    }
}

#[test]
fn the_terms_are_agreed_to_in_writing() {
    refused(&[NAMES], "\"agree_to_terms\" is missing: write agree_to_terms: true");
    refused(&[NAMES, "agree_to_terms: false"], "without that no certificate is issued");
    refused(&[NAMES, "agree_to_terms: \"yes\""], "expected true or false");
}

#[test]
fn what_no_authority_takes_is_told_at_once() {
    let names = |names: &str| format!("certificates: [{{ names: [{names}] }}]");
    refused(&[AGREED, &names("\"*.example.com\"")], "wildcards are proven by DNS records");
    refused(&[AGREED, &names("\"a.test:443\"")], "neither a DNS name nor an IP address");
    refused(&[AGREED, &names("a.test, b.test, A.test")], "a.test is given in line 3 already");
    refused(&[AGREED, &names("")], "names: must not be empty");
    refused(&[AGREED, "certificates: []"], "certificates: must not be empty");
    refused(&[AGREED], "\"certificates\" is missing");
    refused(&[AGREED, &names("\"192.0.2.7\"")], "write profile: \"shortlived\"");
    acme(&[AGREED, &names("\"192.0.2.7\""), "profile: shortlived"]);
    acme(&[AGREED, &names("\"192.0.2.7\""), "directory: \"https://ca.test/dir\""]);
    let twice = "certificates: [{ names: [a.test] }, { names: [b.test, a.test] }]";
    refused(&[AGREED, twice], "a.test is given in line 3 already");
}

#[test]
fn a_directory_is_https_and_an_account_is_whole() {
    for url in
        ["http://ca.test/dir", "ca.test", "https://", "https://user@ca.test/dir", "https://ca.test/a b", "lets-encrypt"]
    {
        refused(&[AGREED, NAMES, &format!("directory: \"{url}\"")], "is no ACME directory");
    }
    refused(&[AGREED, NAMES, "external_account: { key_id: kid-1 }"], "\"hmac_key_file\" is missing");
    refused(&[AGREED, NAMES, "contact: [ops]"], "is no URL");
    refused(&[AGREED, NAMES, "challenge: dns-01"], "is not one of auto, tls-alpn-01, http-01");
    refused(&[AGREED, NAMES, "direktory: letsencrypt"], "did you mean \"directory\"?");
}

#[test]
fn http_01_wants_somebody_to_listen() {
    let text = text(&[AGREED, NAMES, "challenge: http-01"]).replace("listen: {}", "listen: { http: [] }");
    let told = told(&text);
    assert!(
        matches!(told.as_slice(), [one] if one.contains("warning: tls.acme.challenge: nothing here listens")),
        "{told:#?}"
    );
}
