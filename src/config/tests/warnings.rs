//! What is accepted with a word.

use super::{read, tells, told, with_line, with_more};

fn grants(grants: &[(&str, &str, &str, &str)]) -> String {
    let lines: String = grants
        .iter()
        .map(|(repositories, actions, to, rest)| {
            format!("  - {{ repositories: [{repositories}], actions: [{actions}], to: [{to}]{rest} }}\n")
        })
        .collect();
    with_line(7, "identity: { providers: [htpasswd: { file: h }], groups: { team: [a] } }\n")
        + "\naccess:\n  grants:\n"
        + &lines
}

#[track_caller]
fn grant(repositories: &str, actions: &str, to: &str, expected: &[&str]) {
    let told = told(&grants(&[(repositories, actions, to, "")]));
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with("11:5: warning: access.grants[0]: ") && told.contains(expected), "{told}");
    }
}

#[test]
fn grants_that_give_much() {
    grant("a", "pull", "anyone", &[]);
    grant("a", "\"pull\", push", "anyone", &["lets anyone write"]);
    grant("a", "delete", "anyone", &["lets anyone write"]);
    grant("\"**\"", "pull, push", "authenticated", &["every repository"]);
    grant("\"**\"", "pull, push", "anyone", &["lets anyone write", "every repository"]);
    grant("\"**\"", "pull, push, delete", "\"group:team\"", &[]);
    grant("a", "push", "\"user:bot\"", &["gives push, and no grant gives pull"]);
    grant("\"home/$user/**\"", "pull", "anyone", &["uses $user for anyone"]);
}

/// Pull may come from another grant.
#[test]
fn push_without_pull() {
    let warns = |other: (&str, &str, &str, &str)| {
        let told = told(&grants(&[("\"a/**\"", "push", "\"group:team\"", ""), other]));
        told.iter()
            .any(|told| told.starts_with("11:5: warning: access.grants[0]: \"grant 1\" gives push, and no grant"))
    };
    assert!(!warns(("\"**\"", "pull", "authenticated", "")));
    assert!(!warns(("\"a/**\"", "pull, delete", "\"group:team\"", "")));
    assert!(warns(("\"a/*\"", "pull", "authenticated", "")));
    assert!(warns(("\"**\"", "pull", "authenticated", ", except: [\"a/b\"]")));
    assert!(warns(("\"**\"", "pull", "\"user:a\"", "")));
    assert!(warns(("\"**\"", "pull", "authenticated", ", from: [\"10.0.0.0/8\"]")));
}

#[test]
fn everybody_deletes() {
    grant("\"a/**\"", "pull, delete", "authenticated", &["lets everybody who is signed in delete"]);
    grant("\"a/**\", \"home/$user/**\"", "delete", "\"user:x\", authenticated", &["lets everybody who is signed in"]);
    grant("\"home/$user/**\"", "pull, push, delete", "authenticated", &[]);
    grant("\"a/**\"", "pull, push, delete", "\"group:team\"", &[]);
    grant("\"a/**\"", "pull, push", "authenticated", &[]);
}

#[test]
fn everywhere_however_it_is_written() {
    for all in ["**", "**/**", "*/**", "**/*/**"] {
        grant(&format!("\"{all}\""), "pull, push", "authenticated", &["every repository"]);
    }
    grant("\"*/*/**\"", "pull, push", "authenticated", &[]);
}

#[test]
fn grants_that_allow_nothing() {
    let told = |repositories, to, rest| told(&grants(&[(repositories, "pull", to, rest)]));
    let nothing = |repositories, to, rest| {
        let told = told(repositories, to, rest);
        told.iter().any(|told| told.starts_with("11:5: warning: access.grants[0]: \"grant 1\" allows nothing: "))
    };
    assert!(nothing("\"a/b/**\"", "\"user:x\"", ", except: [\"a/**\"]"));
    assert!(nothing("a, \"b/*\"", "\"user:x\"", ", except: [a, \"b/**\"]"));
    assert!(!nothing("a, \"b/**\"", "\"user:x\"", ", except: [a, \"b/*\"]"));
    assert!(!nothing("\"b/**\"", "\"user:x\"", ", except: [\"b/**/x\"]"));
    assert!(nothing("\"home/$user/**\"", "\"user:Alice\"", ""));
    assert!(!nothing("\"home/$user/**\"", "\"user:Alice\", \"user:bob\"", ""));
    assert!(!nothing("\"home/$user/**\", b", "\"user:Alice\"", ""));
    let long = format!("\"{}/**\"", ["a"; 128].join("/"));
    assert!(!nothing(&long, "\"user:x\"", ""), "255 bytes");
    assert!(nothing(&long.replace("/**", "/*"), "\"user:x\"", ""), "257 bytes");
}

#[test]
fn a_group_that_does_not_exist() {
    tells(
        &grants(&[("a", "pull", "\"group:teem\"", "")]),
        "11:48: warning: access.grants[0].to[0]: identity.groups has no group \"teem\"",
        "Did you mean \"group:team\"?",
    );
}

#[track_caller]
fn contained(wide: (&str, &str, &str, &str), narrow: (&str, &str, &str, &str), expected: bool) {
    for (order, line, other) in [([wide, narrow], 12, 11), ([narrow, wide], 11, 12)] {
        let told = told(&grants(&order));
        let start = format!("{line}:5: warning: access.grants[{}]: ", line - 11);
        let end = format!("in line {other}, which contains it: take it out");
        let found = told.iter().any(|told| told.starts_with(&start) && told.ends_with(&end));
        assert_eq!(found, expected, "{order:?}: {told:#?}");
        assert_eq!(told.iter().any(|told| told.contains("which contains it")), expected, "{order:?}: {told:#?}");
    }
}

#[test]
fn grants_contained_in_others() {
    let wide = ("\"a/**\"", "pull, push", "authenticated", "");
    contained(wide, ("a/b", "pull", "\"user:x\"", ""), true);
    contained(wide, ("a/b, \"a/$user/*\"", "pull", "\"group:team\", authenticated", ""), true);
    contained(wide, ("a/b", "pull", "\"user:x\"", ", from: [10.0.0.0/8]"), true);
    contained(wide, ("a/b", "pull", "\"user:x\"", ", registries: [r.example.com]"), true);
    contained(wide, ("a/b, c", "pull", "\"user:x\"", ""), false);
    contained(wide, ("a/b", "pull, delete", "\"user:x\"", ""), false);
    contained(wide, ("a/b", "pull", "anyone", ""), false);
    let limited = ("\"a/**\"", "pull, push", "authenticated", ", except: [\"a/x/**\"], from: [10.0.0.0/8]");
    contained(limited, ("a/b", "pull", "\"user:x\"", ", from: [10.1.0.0/16]"), true);
    contained(limited, ("\"a/*/b\"", "pull", "\"user:x\"", ", from: [10.1.0.0/16]"), false);
    contained(limited, ("a/b", "pull", "\"user:x\"", ", except: [\"a/**\"], from: [10.1.0.0/16]"), true);
    contained(limited, ("a/b", "pull", "\"user:x\"", ", except: [\"a/x/**\"], from: [11.0.0.0/8]"), false);
    contained(limited, ("a/b", "pull", "\"user:x\"", ", except: [\"a/x/**\"]"), false);
    let apart = ("\"**\"", "pull", "authenticated", ", except: [\"secret/**\"]");
    contained(apart, ("\"a/**\"", "pull", "\"user:x\"", ""), true);
    contained(apart, ("\"*/b\"", "pull", "\"user:x\"", ""), false);
    let team = ("\"a/**\"", "pull", "\"group:team\"", "");
    contained(team, ("\"a/**\"", "pull", "\"user:a\"", ""), true);
    contained(team, ("\"a/**\"", "pull", "\"user:b\"", ""), false);
    let on_one = ("\"a/**\"", "pull", "authenticated", ", registries: [r.example.com]");
    contained(on_one, ("a/b", "pull", "authenticated", ""), false);
}

#[test]
fn of_two_equal_grants_the_later_is_told() {
    let grant = ("a", "pull", "anyone", "");
    tells(
        &grants(&[grant, grant]),
        "12:5: warning: access.grants[1]: \"grant 2\" adds nothing to \"grant 1\" in line 11",
        "",
    );
}

#[test]
fn names_given_twice() {
    let text = grants(&[("a", "pull", "anyone", ", name: x"), ("b", "pull", "anyone", ", name: x")]);
    tells(&text, "12:5: warning: access.grants[1]: the name \"x\" is taken by the grant in line 11", "");
}

/// C17
#[test]
fn scheme_words_in_challenges() {
    tells(
        &with_more("tokens: { service: My-Bearer-Tokens }\n"),
        "8:20: warning: tokens.service: \"My-Bearer-Tokens\" holds the word \"bearer\"",
        "",
    );
    tells(&with_more("tokens: { path: /basic/token }\n"), "8:17: warning: tokens.path: ", "\"basic\"");
    tells(&with_line(5, "  - hosts: [basic.example.com]"), "5:13: warning: registries[0].hosts[0]: ", "\"basic\"");
    tells(
        &with_line(7, "identity: { realm: Basically, providers: [htpasswd: { file: h }] }"),
        "7:20: warning: identity.realm: ",
        "\"basic\"",
    );
}

#[test]
fn listeners() {
    tells(
        &with_line(2, "listen: { admin: \"[::]:9090\" }"),
        "2:18: warning: listen.admin: [::]:9090 is not a loopback address",
        "",
    );
    tells(
        &with_line(2, "listen: { trusted_proxies: [\"::/0\"] }"),
        "2:29: warning: listen.trusted_proxies[0]: ::/0 believes every client",
        "",
    );
    tells(
        &with_line(2, "listen: { trusted_proxies: [10.1.2.3/8] }"),
        "2:29: warning: listen.trusted_proxies[0]: \"10.1.2.3/8\" means all of 10.0.0.0/8",
        "",
    );
    tells(
        &with_line(2, "listen: { proxy_protocol_from: [10.0.0.1, 0.0.0.0/0] }"),
        "2:43: warning: listen.proxy_protocol_from[1]: 0.0.0.0/0 lets everybody claim any address",
        "",
    );
    for (balancers, proxies) in [("10.0.0.0/8", "10.1.0.0/16"), ("10.1.2.3", "::ffff:10.0.0.0/104"), ("::1", "::/64")] {
        tells(
            &with_line(
                2,
                &format!("listen: {{ proxy_protocol_from: [{balancers}], trusted_proxies: [\"{proxies}\"] }}"),
            ),
            "2:",
            " is in listen.proxy_protocol_from: ",
        );
    }
    let apart =
        with_line(2, "listen: { proxy_protocol_from: [10.0.0.0/9], trusted_proxies: [10.128.0.0/9, \"::a00:1\"] }");
    assert_eq!(told(&apart), [""; 0]);
}

#[test]
fn upstreams() {
    let text = with_line(6, "    upstream: { servers: [{ url: \"http://r:5000\" }], tls: { ca_file: x } }");
    tells(&text, "6:61: warning: registries[0].upstream.tls.ca_file: has no effect", "https://");
    let text = with_line(6, "    upstream: { servers: [{ url: \"http://r:5000\" }], timeouts: { idle: 60s } }");
    tells(&text, "warning: r.example.com: upstream.timeouts.idle should be shorter", "limits.body_idle");
}

#[test]
fn an_address_as_host_needs_a_default_certificate() {
    let text = with_line(5, "  - hosts: [r.example.com, 192.0.2.1]");
    tells(&text, "warning: clients that dial 192.0.2.1 send no server name", "default: true");
    assert!(told(&text.replace("key_file: \"r.key\"", "key_file: \"r.key\", default: true")).is_empty());
}

#[test]
fn warnings_come_with_the_configuration() {
    let text = with_line(6, "    upstream: { servers: [{ url: \"http://r:5000\" }], tls: { ca_file: x } }");
    let config = read(&text).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].to_string().starts_with("conf/p.yml:6:61: warning: registries[0].upstream.tls.ca_file"));
}
