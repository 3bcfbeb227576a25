//! Corners of the protocol that some clients reach.

use super::*;

/// P8: `ns` of a mirror's client names no repository, and grants nothing.
#[test]
fn a_mirrors_namespace_is_not_judged() {
    let scene = Scene::new(107, 100);
    for (path, status) in [
        ("/v2/library/x/tags/list?ns=docker.io", 404),
        ("/v2/secret/x/tags/list?ns=library", 403),
        ("/v2/secret/x/tags/list?ns=library/x", 403),
        ("/v2/secret/x/manifests/v1?ns=localhost", 403),
    ] {
        assert_eq!(scene.gate.curl(path).user(ALICE).send().status, status, "P8 {path}");
    }
    assert!(scene.registry.acted().iter().all(|acted| !acted.target.contains("ns=")), "P8");
}

/// P11: a registry without referrers says 404, which makes oras take the tag `sha256-<hex>` instead.
#[test]
fn oras_attaches_by_the_fallback_tag() {
    let scene = Scene::new(108, 100);
    scene.push(ALICE, "team-a/app");
    let referrers = format!("/v2/team-a/app/referrers/{}", scene.image.digest);
    for path in [referrers.clone(), format!("{referrers}?artifactType=application/vnd.example")] {
        let answer = scene.curl("GET", &path).send();
        assert_eq!((answer.status, answer.header("www-authenticate")), (404, None), "P11");
    }
    assert_eq!(scene.registry.acted_on("team-a/app").last().unwrap().status, 404, "P11 it is the registry's");
    let tag = scene.image.digest.replace(':', "-");
    assert_eq!(scene.curl("GET", &format!("/v2/team-a/app/manifests/{tag}")).send().status, 404, "P11");
    assert_eq!(scene.put_manifest(&tag).status, 201, "P11");
    let fallback = scene
        .curl("GET", &format!("/v2/team-a/app/manifests/{tag}"))
        .header("Accept: application/vnd.oci.image.manifest.v1+json")
        .send();
    assert!(fallback.body == fs::read(scene.image.manifest()).unwrap(), "P11 {}", fallback.text());
}

/// P13: the gate answers to ranges what the registry itself does.
#[test]
fn ranges_are_the_registrys() {
    let scene = Scene::new(109, 5000);
    scene.push(ALICE, "team-a/app");
    let direct = format!("{}{}", scene.registry.url, scene.blob_path());
    for range in ["0-9", "-5", "10-", "0-0", "0-1,5-6", "5-1", "x", "999999-"] {
        let range = format!("Range: bytes={range}");
        let expected = Curl::new(&direct).header(&range).attempt();
        let answer = scene.curl("GET", &scene.blob_path()).header(&range).send();
        match expected {
            Ok(expected) if expected.status != 416 => {
                assert_eq!(answer.status, expected.status, "P13 {range}");
                assert_eq!(answer.header("content-range"), expected.header("content-range"), "P13 {range}");
                if answer.status == 206 && !range.contains(',') {
                    assert!(answer.body == expected.body, "P13 {range}");
                }
            }
            // Its 416 announces a body that does not come.
            _ => assert_eq!(answer.status, 416, "P13 {range}"),
        }
    }
}

/// P14: a client that reads slowly, and all the time, gets the whole, and costs no memory.
#[test]
fn a_slow_reader_gets_the_whole() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry).with(|config| config["limits"] = json!({ "body_idle": "1s" })).start();
    let image = Image::new(110, &[48 * MIB]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
    skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let before = gate.peak_memory();
    let path = format!("/v2/team-a/app/blobs/{}", image.layer);
    for protocol in ["--http1.1", "--http2"] {
        let answer = gate.curl(&path).user(ALICE).argument(protocol).argument("--limit-rate").argument("16M").send();
        assert!(answer.body == fs::read(image.blob(&image.layer)).unwrap(), "P14 {protocol}");
    }
    let grown = gate.peak_memory().saturating_sub(before);
    assert!(grown < 32 * 1024, "P14 grew by {grown} KiB");
}

/// P15: six uploads on one HTTP/2 connection. One of them stops in the middle and does not hold up the others.
#[test]
fn uploads_on_one_connection_do_not_wait_for_each_other() {
    let scene = Scene::new(111, 6 * MIB);
    let layer = scene.layer();
    let connection = Http2::connect(&scene.gate);
    let authorization = vec![("authorization", format!("Bearer {}", scene.token))];
    let paths: Vec<_> = (0..6).map(|_| scene.open()).collect();
    let mut streams: Vec<_> = paths.iter().map(|path| connection.open("PATCH", path, &authorization)).collect();

    let mut slow = streams.remove(0);
    slow.send(&layer[..100]);
    for piece in layer.chunks(MIB) {
        for stream in &mut streams {
            stream.send(piece);
        }
    }
    let answers: Vec<_> = streams.into_iter().map(|stream| stream.finish().unwrap()).collect();
    for answer in &answers {
        let path = scene.next(answer, 202);
        assert_eq!(answer.header("range"), Some(format!("0-{}", layer.len() - 1).as_str()), "P15");
        let done = connection.ask(&Asked {
            method: "PUT",
            path: finish(&path, &scene.image.layer),
            headers: authorization.clone(),
            body: None,
        });
        assert_eq!(done.unwrap().status, 201, "P15");
    }
    slow.send(&layer[100..]);
    let path = scene.next(&slow.finish().unwrap(), 202);
    let last = scene.curl("PUT", &finish(&path, &scene.image.layer)).send();
    assert_eq!(last.status, 201, "P15 the slow one too: {}", last.text());
    scene.is_there();
}

/// P18: a session belongs to its repository. Who may push there may go on with it, nobody else, and nowhere else.
#[test]
fn a_session_is_for_who_opened_it() {
    let scene = Scene::new(112, 1000);
    let layer = scene.image.blob(&scene.image.layer);
    let path = scene.open();
    let send = |login: Login, method: &str, path: &str| {
        scene.gate.curl(path).user(login).method(method).body_file(&layer).send()
    };
    for method in ["PATCH", "GET", "DELETE", "HEAD"] {
        let other = if method == "PATCH" {
            send(BOB, method, &path)
        } else {
            scene.gate.curl(&path).method(method).user(BOB).send()
        };
        assert_eq!(other.status, 403, "P18 {method}");
    }
    for elsewhere in ["team-a/other", "home/bob/x"] {
        let moved = path.replacen("team-a/app", elsewhere, 1);
        let login = if elsewhere.starts_with("home") { BOB } else { ALICE };
        assert!(matches!(send(login, "PATCH", &moved).status, 400 | 404), "P18 {elsewhere}");
        assert!(matches!(send(login, "PUT", &finish(&moved, &scene.image.layer)).status, 400 | 404), "P18 {elsewhere}");
    }
    for (id, login) in [("§8.12", ADMIN), ("P18", BOB)] {
        for method in ["PATCH", "PUT", "GET", "HEAD", "DELETE"] {
            let path = if method == "PUT" { finish(&path, &scene.image.layer) } else { path.clone() };
            let other = scene.gate.curl(&path).user(login).method(method).send();
            let expected = if login == ADMIN { 404 } else { 403 };
            assert_eq!(other.status, expected, "{id} {method}: another may push there, and it is not theirs");
        }
    }
    for stripped in [path.split_once("&_seal=").unwrap().0.to_owned(), path.replacen("_seal=A", "_seal=B", 1)] {
        assert_eq!(send(ALICE, "PATCH", &stripped).code(), "BLOB_UPLOAD_UNKNOWN", "§8.12 {stripped}");
    }
    let sent = scene.next(&send(ALICE, "PATCH", &path), 202);
    let put = scene.gate.curl(&finish(&sent, &scene.image.layer)).user(ALICE).method("PUT").send();
    assert_eq!(put.status, 201, "P18 {}", put.text());
}

/// P19: a manifest of over 4 MiB is the client's fault, said as such.
#[test]
fn a_manifest_too_large_is_no_fault_of_the_gate() {
    let scene = Scene::new(113, 100);
    let file = scene.gate.dir().join("manifest");
    let put = |length: usize, send: fn(Curl, &Path) -> Curl| {
        fs::write(&file, vec![b' '; length]).unwrap();
        let answer = send(scene.curl("PUT", "/v2/team-a/app/manifests/v1"), &file).method("PUT").send();
        (answer.status, answer.code())
    };
    for length in [4 * MIB + 1, 8 * MIB] {
        assert_eq!(put(length, |curl, file| curl.body_file(file)), (413, "SIZE_INVALID".to_owned()), "P19 {length}");
        assert_eq!(put(length, |curl, file| curl.chunked_file(file)), (413, "SIZE_INVALID".to_owned()), "P19 {length}");
    }
    let (status, _) = put(4 * MIB, |curl, file| curl.body_file(file));
    assert!((400..500).contains(&status), "P19 the registry's own: {status}");
}

/// P20: what the registry says of a subject is passed on.
#[test]
fn the_subject_of_a_manifest_is_told() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let ear = Ear::answering(format!(
        "HTTP/1.1 201 Created\r\nLocation: http://inside.test/v2/team-a/app/manifests/{digest}\r\nOCI-Subject: {digest}\r\nDocker-Content-Digest: {digest}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ));
    let gate = before(&ear);
    let file = gate.dir().join("manifest");
    fs::write(&file, json!({ "subject": { "digest": digest } }).to_string()).unwrap();
    let answer = gate.curl("/v2/team-a/app/manifests/v1").user(ALICE).method("PUT").body_file(&file).send();
    assert_eq!((answer.status, answer.header("oci-subject")), (201, Some(digest.as_str())), "P20");
    let location = gate.url(&format!("/v2/team-a/app/manifests/{digest}"));
    assert_eq!(answer.header("location"), Some(location.as_str()), "P1 P20");
}

/// P21: pages of tags follow each other on the public side.
#[test]
fn links_lead_to_this_gate() {
    let scene = Scene::with(Registry::setup().with_absolute_urls().start(), 114, 100);
    scene.push(ALICE, "team-a/app");
    for tag in ["a", "b", "c"] {
        assert_eq!(scene.put_manifest(tag).status, 201);
    }
    // The real registry of this version ignores `n` for tags, so its Link is written here.
    let ear = Ear::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLink: <http://inside.test:5000/v2/team-a/app/tags/list?last=b&n=2>; rel=\"next\"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    );
    let gate = before(&ear);
    let answer = gate.curl("/v2/team-a/app/tags/list?n=2&last=a").user(ALICE).send();
    assert_eq!(answer.header("link"), Some("</v2/team-a/app/tags/list?n=2&last=b>; rel=\"next\""), "P21");
    assert_eq!(ear.only_request().0, "GET /v2/team-a/app/tags/list?n=2&last=a HTTP/1.1", "P21");
    let whole = scene.curl("GET", "/v2/team-a/app/tags/list").send().json();
    assert_eq!(whole["tags"].as_array().unwrap().len(), 4, "P21 {whole}");
}

/// P22: a redirect to storage is an error, or handed to the client where configured; never followed, and only for blobs.
#[test]
fn a_redirect_to_storage_is_refused_or_handed_on() {
    let elsewhere = "https://storage.test/bucket/blob?signature=x%2Fy&expires=1";
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let blob = format!("/v2/team-a/app/blobs/sha256:{}", "a".repeat(64));
    let ear = Ear::answering(answer.clone());
    let refused = before(&ear).curl(&blob).user(ALICE).send();
    assert_eq!((refused.status, refused.header("location")), (502, None), "P22");
    assert!(!refused.text().contains("storage.test"), "P22 {}", refused.text());

    let ear = Ear::answering(answer);
    let url = ear.url();
    let gate = Portcullis::before(&Registry::start())
        .with_upstream(|upstream| {
            upstream["servers"] = json!([{ "url": url }]);
            upstream["redirects"] = "pass".into();
        })
        .start();
    let passed = gate.curl(&blob).user(ALICE).send();
    assert_eq!((passed.status, passed.header("location")), (307, Some(elsewhere)), "P22");
    assert_eq!(passed.header("authorization"), None, "P22");
    assert_eq!(ear.only_request().1.header("authorization"), None, "P22");
    for path in ["/v2/team-a/app/manifests/v1", "/v2/team-a/app/tags/list"] {
        let answer = gate.curl(path).user(ALICE).send();
        assert_eq!((answer.status, answer.header("location")), (502, None), "P22 {path}");
    }
}
