//! Challenges, and credentials that are none.

use crate::support::{Login, Portcullis, Registry};

#[test]
fn challenges_are_what_every_client_reads() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let start = format!(r#"Bearer realm="{}",service="localhost""#, gate.url("/token"));
    let with_scope = |scope: &str| format!(r#"{start},scope="{scope}""#);
    let digest = format!("sha256:{}", "0".repeat(64));

    let base = gate.curl("/v2/").send();
    assert_eq!(base.challenge(), start, "C1");
    assert_eq!(base.code(), "UNAUTHORIZED");
    assert_eq!(base.header("docker-distribution-api-version"), Some("registry/2.0"));
    for (id, method, path, scope) in [
        ("C4", "GET", "/v2/a/b/tags/list".to_owned(), "repository:a/b:pull".to_owned()),
        ("C3", "HEAD", "/v2/a/b/manifests/v1".to_owned(), "repository:a/b:pull".to_owned()),
        ("C5", "POST", "/v2/a/b/blobs/uploads/".to_owned(), "repository:a/b:pull,push".to_owned()),
        (
            "C6",
            "POST",
            format!("/v2/a/b/blobs/uploads/?mount={digest}&from=c/d"),
            "repository:a/b:pull,push repository:c/d:pull".to_owned(),
        ),
        ("C7", "DELETE", format!("/v2/a/b/manifests/{digest}"), "repository:a/b:delete".to_owned()),
        ("C8", "GET", "/v2/_catalog".to_owned(), "registry:catalog:*".to_owned()),
    ] {
        let answer = gate.curl(&path).method(method).send();
        assert_eq!(answer.challenge(), with_scope(&scope), "{id} {method} {path}");
        assert!(method != "HEAD" || answer.body.is_empty());
    }
    assert_eq!(registry.acted(), []);
}

#[test]
fn wrong_credentials_are_never_anonymous() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let path = "/v2/library/x/tags/list";
    for header in [
        "Authorization: Basic",
        "Authorization: Basic !!!",
        "Authorization: Basic Og==", // T18: an empty user and an empty password
        "Authorization: Basic YWxpY2U=",
        "Authorization: Bearer",
        "Authorization: Bearer x",
        "Authorization: Negotiate abc",
        "Authorization: alice",
        "Authorization;",
    ] {
        let answer = gate.curl(path).header(header).send();
        assert!(matches!(answer.status, 400 | 401), "{header}: {}", answer.status);
    }
    assert_eq!(gate.curl(path).user(Login::new("alice", "wrong")).send().status, 401);
    assert_eq!(registry.acted(), []);
}
