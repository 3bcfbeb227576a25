//! Answers that depend on sizes, hosts and what stands behind, and the catalog.

use super::*;

#[test]
fn what_is_too_large() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry)
        .with(|config| config["limits"] = json!({ "manifest": "1KiB", "upload": "64KiB" }))
        .start();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, length: usize| {
        let path = dir.path().join(name);
        fs::write(&path, vec![b'x'; length]).unwrap();
        path
    };
    let (manifest, blob, good) = (file("manifest", 1025), file("blob", 65 * 1024), file("good", 1024));
    let session = || {
        let opened = gate.curl("/v2/team-a/app/blobs/uploads/").method("POST").user(ALICE).send();
        opened.header("location").unwrap().strip_prefix(&gate.url("")).unwrap().to_owned()
    };
    let large = |what, line: String, file: &std::path::Path, chunked| {
        row(what, &line, 413, "SIZE_INVALID").login(ALICE).sending(file, chunked)
    };
    let put = |path: String| format!("PUT {path}&digest={DIGEST}");
    let rows = [
        large("a manifest that says its size", "PUT /v2/team-a/app/manifests/v1".to_owned(), &manifest, false),
        large("a manifest that does not", "PUT /v2/team-a/app/manifests/v1".to_owned(), &manifest, true),
        large("a chunk that says its size", format!("PATCH {}", session()), &blob, false),
        large("a blob that says its size", put(session()), &blob, false),
    ];
    check(&gate, &rows);
    // A body in chunks breaks its session off, so each gets its own.
    for (host, protocol) in [("localhost", "--http1.1"), ("registry.test", "--http2")] {
        large("a chunk that does not", format!("PATCH {}", session()), &blob, true).check(&gate, host, protocol);
        large("a blob that does not", put(session()), &blob, true).check(&gate, host, protocol);
    }
    let exact = gate.curl("/v2/team-a/app/manifests/v1").user(ALICE).method("PUT").body_file(&good).send();
    assert_eq!((exact.status, exact.code().as_str()), (400, "MANIFEST_INVALID"), "as large as it may be");
    let nobody = gate.curl("/v2/team-a/app/manifests/v1").method("PUT").body_file(&manifest).send();
    assert_eq!(nobody.status, 401, "who may not push is told that first");
    // What had begun to arrive was broken off: nothing of it counts. (A GET asks how far a session has come.)
    let writes = |method: &str| method != "POST" && method != "GET";
    let taken = registry.acted().into_iter().filter(|acted| writes(&acted.method) && acted.status < 400);
    assert_eq!(taken.collect::<Vec<_>>(), []);
}

#[test]
fn the_catalog_is_for_every_accepted_caller() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let admin = Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
    for repository in ["library/x", "team-a/app", "secret/app"] {
        admin.copy(&Image::new(90, &[10]).reference(), &gate.image(repository)).succeeded();
    }
    let catalog = |what| row(what, "GET /v2/_catalog", 200, "");
    let answers = check(
        &gate,
        &[
            catalog("by name").login(ALICE),
            catalog("by a token without the catalog's scope").token(&gate.token(Some(ALICE), "")),
            catalog("by an anonymous token").token(&gate.token(None, "")),
        ],
    );
    let shown: Vec<_> = answers.iter().map(|answer| answer.json()["repositories"].clone()).collect();
    assert_eq!(shown, [json!(["library/x", "team-a/app"]), json!(["library/x", "team-a/app"]), json!(["library/x"])]);
    check(
        &gate,
        &[
            row("C8 nothing sent", "GET /v2/_catalog", 401, "UNAUTHORIZED")
                .challenged(Bearer(r#",scope="registry:catalog:*""#)),
            row("a wrong password", "GET /v2/_catalog", 401, "UNAUTHORIZED")
                .login(Login::new("alice", "wrong"))
                .challenged(Bearer(r#",scope="registry:catalog:*""#)),
        ],
    );
}

#[test]
fn a_host_that_was_not_meant() {
    let (one, two) = (Registry::start(), Registry::start());
    let gate = Portcullis::before(&one).with_second("two.test", &two).start();
    for (name, host) in [
        ("localhost", "evil.test"),
        ("localhost", "two.test"),
        ("registry.test", "two.test"),
        ("two.test", "localhost"),
        ("two.test", "registry.test"),
    ] {
        let mut connection = Tls::connect(gate.pki(), gate.port(), name);
        let target = "GET /v2/library/x/tags/list HTTP/1.1";
        connection.send(format!("{target}\r\nHost: {host}:{}\r\n\r\n", gate.port()));
        let answer = connection.answer(false).unwrap();
        let what = format!("{name} {host}: {answer:?}");
        assert_eq!((answer.status, answer.code().as_str()), (421, "NAME_UNKNOWN"), "{what}");
        assert_eq!(answer.header("www-authenticate"), None, "{what}");
        common(&answer, false, &what);
    }
    assert_eq!((one.acted(), two.acted()), (Vec::new(), Vec::new()));
}

/// A queue of logins that is full is no verdict about any of them.
#[test]
fn an_identity_source_that_cannot_say() {
    let registry = Registry::start();
    let unlimited = |config: &mut serde_json::Value| config["limits"]["failed_logins"] = serde_json::Value::Null;
    let gate = Portcullis::before(&registry).with(unlimited).start();
    // One takes so long, and one is verified at a time, that the queue of 4096 stays full.
    fs::write(gate.htpasswd(), format!("alice:{}\n", bcrypt::hash(ALICE.password, 10).unwrap())).unwrap();
    eventually("the file is seen", || gate.curl("/v2/").user(BOB).send().status == 401);
    let token = gate.token(Some(ALICE), "repository:library/x:pull");
    let connections: Vec<_> = (0..44).map(|_| Http2::connect(&gate)).collect();
    let mut waiting = Vec::new();
    for (connection, number) in connections.iter().zip(0..) {
        for stream in 0..100 {
            let path = ["/v2/", "/token"][stream % 2].to_owned();
            let guess = STANDARD.encode(format!("alice:guess {number} {stream}"));
            let headers = vec![("authorization", format!("Basic {guess}"))];
            waiting.push(connection.begin(&Asked { method: "GET", path, headers, body: None }));
        }
    }
    let mut refused = Vec::new();
    eventually("a good hundred finds no place", || {
        let (answered, rest): (Vec<_>, Vec<_>) = waiting.drain(..).partition(Waiting::is_over);
        waiting = rest;
        refused.extend(
            answered.into_iter().map(|answered| answered.answer().unwrap()).filter(|answer| answer.status == 503),
        );
        refused.len() > 100
    });
    for answer in &refused {
        assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("UNAVAILABLE", Some("5")));
        assert_eq!(answer.header("www-authenticate"), None, "a client would forget its password");
        common(answer, false, "503");
    }
    // Who holds a token does not wait.
    assert_eq!(gate.curl("/v2/library/x/tags/list").bearer(&token).send().status, 404, "H20");
    assert!(!waiting.is_empty());
}
