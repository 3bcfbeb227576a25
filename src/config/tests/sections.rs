//! Errors of what the sections mean, each with its place.

use super::{LEAST, grant, identity, listen, more, tells, told, upstream, with_line};

#[test]
fn addresses() {
    listen("https: []", "2:11: error: listen.https: must not be empty: nobody could connect", "");
    listen(
        "https: [\":443\"]",
        "2:19: error: listen.https[0]: \":443\" is not an address with a port: write \"[::]:443\"",
        "",
    );
    listen("https: [443]", "2:19: error: listen.https[0]: expected text, found the number 443: put it in quotes", "");
    listen(
        "admin: \"localhost:9090\"",
        "2:18: error: listen.admin: \"localhost:9090\" is not an address with a port",
        "",
    );
    listen("public_port: 0", "2:24: error: listen.public_port: 0 is out of range: 1 to 65535", "");
    listen(
        "proxy_protocol_from: [balancer.internal]",
        "2:33: error: listen.proxy_protocol_from[0]: \"balancer.internal\" is not a network",
        "one address",
    );
    listen(
        "trusted_proxies: [10.0.0.0/33]",
        "2:29: error: listen.trusted_proxies[0]: \"10.0.0.0/33\" is not a network",
        "\"10.0.0.0/8\"",
    );
}

#[test]
fn port_collisions() {
    listen(
        "https: [\"[::]:8443\", \"127.0.0.1:8443\"]",
        "2:32: error: listen.https[1]: 127.0.0.1:8443 collides with [::]:8443 in line 2",
        "",
    );
    listen(
        "https: [\"10.0.0.1:443\"], http: [\"10.0.0.1:443\"]",
        "2:",
        "listen.http[0]: 10.0.0.1:443 collides with 10.0.0.1:443 in line 2",
    );
    listen(
        "https: [\"0.0.0.0:80\"]",
        "2:19: error: listen.https[0]: 0.0.0.0:80 collides with the default of listen.http",
        "",
    );
    listen(
        "admin: \"[::1]:443\"",
        "2:18: error: listen.admin: [::1]:443 collides with the default of listen.https",
        "",
    );
    for apart in [
        "https: [\"127.0.0.1:0\"], http: [\"127.0.0.1:0\"], admin: \"127.0.0.1:0\"",
        "https: [\"10.0.0.1:443\", \"10.0.0.2:443\", \"[::1]:443\"]",
    ] {
        assert_eq!(told(&with_line(2, &format!("listen: {{ {apart} }}"))), Vec::<String>::new(), "{apart}");
    }
}

#[test]
fn certificates() {
    tells(
        &with_line(3, "tls: {}"),
        "3:1: error: tls: the key \"certificates\" is missing: write at least one certificate_file",
        "",
    );
    tells(
        &with_line(3, "tls: { certificates: [] }"),
        "3:8: error: tls.certificates: must not be empty: write at least one",
        "",
    );
    tells(
        &with_line(3, "tls: { certificates: [{ certificate_file: a }] }"),
        "3:23: error: tls.certificates[0]: the key \"key_file\" is missing",
        "",
    );
    let two = "tls:\n  certificates:\n  - { certificate_file: a, key_file: b, default: true }\n  - { certificate_file: c, key_file: d, default: true }";
    tells(
        &with_line(3, two),
        "6:50: error: tls.certificates[1].default: the certificate in line 5 is the default already",
        "",
    );
}

#[test]
fn registries() {
    let registries = |lines: &str| {
        LEAST
            .replace("registries:\n", lines)
            .lines()
            .filter(|line| !line.starts_with("  "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    tells(&registries("registries: []\n"), "4:1: error: registries: must not be empty: write at least one", "");
    tells(
        &with_line(5, "  - hosts: []"),
        "5:5: error: registries[0].hosts: must not be empty: write the names that clients dial",
        "",
    );
    tells(&with_line(5, "  - read_only: false"), "5:5: error: registries[0]: the key \"hosts\" is missing", "");
    tells(
        &with_line(5, "  - hosts: [\"https://r.example.com\"]"),
        "5:13: error: registries[0].hosts[0]: \"https://r.example.com\" is not a host",
        "",
    );
    tells(
        &with_line(5, "  - hosts: [r.example.com, R.Example.com.]"),
        "5:28: error: registries[0].hosts[1]: r.example.com is given twice, first in line 5",
        "",
    );
    tells(
        &with_line(6, "    read_only_uploads: finish"),
        "5:5: error: registries[0]: the key \"upstream\" is missing: write servers",
        "",
    );
    let read_only = |value: &str| with_line(5, &format!("  - hosts: [r.example.com]\n    read_only: {value}"));
    tells(
        &read_only("maybe"),
        "6:16: error: registries[0].read_only: expected true, false or a list of repository patterns",
        "",
    );
    tells(&read_only("[\"home/$user/**\"]"), "6:17: error: registries[0].read_only[0]: $user has no meaning here", "");
    tells(&read_only("[\"a//b\"]"), "6:17: error: registries[0].read_only[0]", "");
    tells(
        &with_line(6, "    upstream: {}"),
        "6:5: error: registries[0].upstream: the key \"servers\" is missing: write - url",
        "",
    );
    tells(
        &with_line(6, "    upstream: { servers: [] }"),
        "6:17: error: registries[0].upstream.servers: must not be empty",
        "",
    );
    let second = "    upstream: { servers: [{ url: \"http://r:5000\" }] }\n  - hosts: [s.example.com, r.example.com]\n    upstream: { servers: [{ url: \"http://s\" }] }";
    tells(
        &with_line(6, second),
        "7:28: error: registries[1].hosts[1]: r.example.com is given twice, first in line 5",
        "",
    );
}

#[test]
fn servers() {
    let server = |value: &str, place: &str, words: &str| {
        tells(&with_line(6, &format!("    upstream: {{ servers: [{{ {value} }}] }}")), place, words);
    };
    server("weight: 1", "6:27: error: registries[0].upstream.servers[0]: the key \"url\" is missing", "");
    server("url: \"http://r\", weight: 0", "6:", "servers[0].weight: 0 is out of range: 1 to 65535");
    for (url, words) in [
        ("r:5000", "not a server: write \"http://registry:5000\""),
        ("ftp://r", "not a server"),
        ("HTTP://r", "not a server"),
        ("http://", "the host or the port cannot be read"),
        ("http://r:0", "the host or the port cannot be read"),
        ("http://r:65536", "the host or the port cannot be read"),
        ("http://a b", "the host or the port cannot be read"),
        ("http://[::1", "the host or the port cannot be read"),
        ("http://r/v2", "a server has no path"),
        ("http://r?x=1", "a server has no query"),
        ("http://r#x", "a server has no query"),
        ("unix:run/r.sock", "not the absolute path of a socket"),
        ("unix://run/r.sock", "not the absolute path of a socket"),
        ("unix:", "not the absolute path of a socket"),
        (&format!("unix:/{}", "a".repeat(107)), "at most 107 bytes"),
    ] {
        server(&format!("url: \"{url}\""), "6:34: error: registries[0].upstream.servers[0].url: ", words);
    }
    let secret = told(&with_line(6, "    upstream: { servers: [{ url: \"http://u:hunter2@r\" }] }"));
    assert_eq!(
        secret,
        [
            "6:34: error: registries[0].upstream.servers[0].url: a URL must not hold a name or password: use upstream.credentials"
        ]
    );
}

#[test]
fn upstream_details() {
    tells(
        &with_line(6, "    upstream: { servers: [{ url: \"https://r\" }], tls: { server_name: \"a b\" } }"),
        "6:70: error: ",
        "\"a b\" is not a DNS name or IP address",
    );
    upstream("timeouts: { conect: 3s }", "6:", "unknown key \"conect\": did you mean \"connect\"?");
    let credentials = |value: &str| {
        told(&with_line(
            6,
            &format!("    upstream: {{ servers: [{{ url: \"https://r\" }}], credentials: {{ {value} }} }}"),
        ))
    };
    assert_eq!(
        credentials("username: \"a:b\", password_file: /dev/null"),
        [
            "6:75: error: registries[0].upstream.credentials.username: must not hold a colon, which ends the name in Basic credentials",
            "6:97: error: registries[0].upstream.credentials.password_file: cannot use /dev/null: it is not a regular file",
        ]
    );
}

#[test]
fn a_request_carries_a_token_or_credentials() {
    const EITHER: &str = "a request carries either a token or upstream.credentials: leave one of them out";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "secret").unwrap();
    let credentials = format!("credentials: {{ username: a, password_file: \"{}\" }}", file.display());
    for both in [format!("pass_token: true, {credentials}"), format!("{credentials}, pass_token: true")] {
        upstream(&both, "6:", &format!("error: registries[0].upstream.pass_token: {EITHER}"));
    }
    for text in
        ["pass_token: true", "pass_token: true, credentials: null", &format!("pass_token: false, {credentials}")]
    {
        let written = with_line(6, &format!("    upstream: {{ servers: [{{ url: \"https://r\" }}], {text} }}"));
        assert_eq!(told(&written), Vec::<String>::new(), "{text}");
    }
    upstream("pass_token: maybe", "6:", "registries[0].upstream.pass_token: expected true or false");
}

#[test]
fn identities() {
    tells(&with_line(7, "identity: {}"), "7:1: error: identity: the key \"providers\" is missing", "");
    tells(
        &with_line(7, "identity: { providers: [] }"),
        "7:13: error: identity.providers: must not be empty: nobody could log in",
        "",
    );
    tells(
        &with_line(7, "identity: { providers: [{}] }"),
        "7:25: error: identity.providers[0]: no provider is named",
        "",
    );
    tells(
        &with_line(7, "identity: { providers: [htpaswd: {}] }"),
        "7:25: error: identity.providers[0]: unknown key \"htpaswd\": did you mean \"htpasswd\"?",
        "",
    );
    tells(
        &with_line(7, "identity: { providers: [htpasswd: {}] }"),
        "7:25: error: identity.providers[0].htpasswd: the key \"file\" is missing",
        "",
    );
    identity("realm: 'a \"b\"'", "7:", "identity.realm: only printable ASCII");
    identity("realm: \"Régistre\"", "7:", "identity.realm: only printable ASCII");
    identity("disabled_users: [\"a:b\"]", "7:", "disabled_users[0]: \"a:b\" cannot be the name of a user");
    identity("groups: { team: alice }", "7:", "identity.groups[\"team\"]: expected a list");
    identity("groups: { team: [007, 7] }", "7:", "identity.groups[\"team\"][1]: expected text, found the number 7");
    identity("groups: { \"\": [] }", "7:", "\"\" cannot be the name of a group");
}

#[test]
fn tokens() {
    for path in
        ["/", "token", "/v2", "/v2/token", "/V2/token", "/a//b", "/a/", "/a/../b", "/a?b", "/a%20b", "/a b", "//token"]
    {
        more(&format!("tokens: {{ path: \"{path}\" }}\n"), "8:17: error: tokens.path: ", "path");
    }
    let second = "registries:\n  - { hosts: [a.test], upstream: { servers: [{ url: \"http://a\" }] } }";
    let two = with_line(4, second) + "\ntokens: { service: s }\n";
    tells(&two, "9:20: error: tokens.service: ", "several registries need a service each");
    more("tokens: { keys: [] }\n", "8:11: error: tokens.keys: must not be empty: no token could be signed", "");
    more("tokens: { keys: [a, a] }\n", "8:21: error: tokens.keys[1]: this key is given twice", "");
    more("tokens: { service: 'a\"b' }\n", "8:20: error: tokens.service: only printable ASCII", "");
    more("tokens: { refresh: { lifetime: 5 } }\n", "8:32: error: tokens.refresh.lifetime: expected a duration", "");
}

#[test]
fn grants() {
    grant("    except: [A]", "14:14: error: access.grants[0].except[0]: \"A\"", "is not a pattern segment");
    grant(
        "    from: []",
        "14:5: error: access.grants[0].from: must not be empty: leave the key out",
        "any client network",
    );
    grant("    from: [ten]", "14:12: error: access.grants[0].from[0]: \"ten\" is not a network", "");
    grant("    registries: []", "14:5: error: access.grants[0].registries: must not be empty", "");
    grant(
        "    registries: [s.example.com]",
        "14:18: error: access.grants[0].registries[0]: \"s.example.com\" is not a host of any configured registry",
        "did you mean \"r.example.com\"?",
    );
    grant("    registries: [\"r.example.com:8443\"]", "14:18: error: access.grants[0].registries[0]", "");
    let parts = ["repositories: [a]", "actions: [pull]", "to: [anyone]"];
    for (index, part) in parts.iter().enumerate() {
        let key = part.split(':').next().unwrap();
        let others: Vec<&str> = parts.iter().copied().filter(|other| other != part).collect();
        let lines = |first: &str| format!("access:\n  grants:\n  - {first}\n    {}\n    {}\n", others[0], others[1]);
        more(&lines("name: x"), "10:5: error: access.grants[0]: the key ", &format!("{key:?} is missing"));
        more(&lines(&format!("{key}: []")), "10:5: error: ", &format!("access.grants[0].{key}: must not be empty"));
        more(&lines(&format!("{key}:")), "10:5: error: ", &format!("access.grants[0].{key}: must not be empty"));
        let wrong = [
            ("\"A/**\"", "is not a pattern segment"),
            ("pul", "Did you mean \"pull\"?"),
            ("every", "is not a subject"),
        ][index];
        more(&lines(&format!("{key}: [{}]", wrong.0)), &format!("10:{}: error: ", 8 + key.len()), wrong.1);
    }
}

#[test]
fn subjects() {
    let subject = |text: &str, words: &str| {
        more(
            &format!("access:\n  grants:\n  - repositories: [a]\n    actions: [pull]\n    to: [{text}]\n"),
            "12:10: error: access.grants[0].to[0]: ",
            words,
        );
    };
    subject("alice", "\"alice\" is not a subject: did you mean \"user:alice\" or \"group:alice\"?");
    subject("Anyone", "did you mean \"anyone\"?");
    subject("everyone:all", "write anyone, authenticated");
    subject("\"user:\"", "is not a subject");
    subject("\"user: alice\"", "is not a subject");
    subject("\"group:\"", "is not a subject");
    subject("user: alice", "write subjects without a blank and in quotes");
}

#[test]
fn a_pattern_has_a_bound() {
    let long = format!("{}b", "a/".repeat(300));
    grant(
        &format!("    except: [{long}]"),
        "14:14: error: access.grants[0].except[0]: a pattern has at most 512 characters",
        "",
    );
}
