//! Blobs of one repository into another without a right to them.

use super::{MANIFEST, Scene, manifest};
use crate::support::ADMIN;

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn a_mount_needs_pull_on_its_source_however_it_is_asked_for() {
    let scene = Scene::new();
    let (from, digest) = ("secret/app", scene.secret.layer.as_str());
    let escaped = digest.replace(':', "%3A");
    let uploads = "/v2/team-a/app/blobs/uploads/";
    for (id, query) in [
        ("A26", format!("mount={digest}&from={from}")),
        ("A26", format!("from={from}&mount={digest}")),
        ("A26", format!("mount={digest}&from={from}&origin=localhost")),
        ("A26", format!("digest={digest}&mount={digest}&from={from}")),
        ("A32", format!("mount={escaped}&from=secret%2Fapp")),
        ("A32 §8.2", format!("%6dount={digest}&%66rom=%73ecret/app")),
        ("A33", format!("mount={digest};from={from}")),
        ("A33", format!("mount={digest}&From={from}")),
        ("A33", format!("mount={digest}&from=+{from}")),
        ("A33", format!("mount={digest}&from={from}%00")),
        ("§8.2", format!("mount={digest}&from=team-a/app&from={from}")),
        ("§8.2", format!("mount={digest}&from={from}&from=team-a/app")),
        ("§8.2", format!("mount={digest}&from=team-a/app&%66rom={from}")),
        ("§8.3", format!("mount={digest}")),
        ("§8.11", format!("ns={from}&mount={digest}&from={from}")),
    ] {
        for uploads in [uploads, uploads.trim_end_matches('/')] {
            // A34 §8.7: the second is without its slash.
            let answer = scene.ask("POST", &format!("{uploads}?{query}"), "Content-Length: 0\r\n");
            assert!(matches!(answer.status, 202 | 400), "{id} {uploads} {query}: {}", answer.status);
        }
    }
    for kind in [FORM, "application/x-www-form-urlencoded; charset=utf-8", "Application/X-WWW-Form-Urlencoded"] {
        let body = format!("mount={digest}&from={from}");
        for (id, target) in [
            ("A27 §8.1", uploads.to_owned()),
            ("A28 §8.1", format!("{uploads}?from=team-a/app")),
            ("A28 §8.1", format!("{uploads}?mount={digest}&from=team-a/app")),
        ] {
            let answer = scene.submit("POST", &target, kind, &body);
            assert!(matches!(answer.status, 202 | 400 | 415), "{id} {kind} {target}: {}", answer.status);
        }
        // Where a body is passed on, it is an upload's bytes: they have another digest.
        let answer = scene.submit("POST", &format!("{uploads}?digest={digest}"), kind, &body);
        assert!(matches!(answer.status, 202 | 400), "A27 §8.1 {kind}: {}", answer.status);
        let session = scene.open_upload("team-a/app");
        for (method, more) in [("PATCH", String::new()), ("PUT", format!("&digest={escaped}"))] {
            let answer = scene.submit(method, &format!("{session}{more}"), kind, &body);
            assert!(matches!(answer.status, 202 | 400 | 404 | 416), "A27 §8.1 {method} {kind}: {}", answer.status);
        }
    }
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let parts = format!("{}{}--b--\r\n", part("mount", digest), part("from", from));
    for target in [uploads.to_owned(), format!("{uploads}?mount={digest}&from=team-a/app")] {
        let answer = scene.submit("POST", &target, "multipart/form-data; boundary=b", &parts);
        assert!(matches!(answer.status, 202 | 400 | 415), "A29 §8.1 {target}: {}", answer.status);
    }

    // None of them brought the blob over.
    let path = format!("/v2/team-a/app/blobs/{digest}");
    assert_eq!(scene.gate.curl(&path).user(ADMIN).method("HEAD").send().status, 404);
}

#[test]
fn a34_a_mount_from_a_source_one_may_pull_is_a_mount() {
    let scene = Scene::new();
    let layer = &scene.public.layer;
    for (repository, uploads) in [("one", "uploads/"), ("two", "uploads")] {
        let target = format!("/v2/home/alice/{repository}/blobs/{uploads}?mount={layer}&from=team-a%2Fapp");
        assert_eq!(scene.ask("POST", &target, "Content-Length: 0\r\n").status, 201, "A34 {uploads}");
    }
}

#[test]
fn a35_a_mount_tells_nothing_of_what_one_may_not_see() {
    let scene = Scene::new();
    let (there, nowhere) = (&scene.secret.layer, format!("sha256:{}", "0".repeat(64)));
    let ask = |query: String| {
        let answer = scene.ask("POST", &format!("/v2/team-a/app/blobs/uploads/?{query}"), "Content-Length: 0\r\n");
        let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        (answer.status, names)
    };
    let plain = ask(String::new());
    assert_eq!(plain.0, 202);
    for query in [
        format!("mount={there}&from=team-a/app"),
        format!("mount={there}&from=secret/app"),
        format!("mount={nowhere}&from=secret/app"),
        format!("mount={nowhere}&from=secret/nothing"),
        format!("mount={there}"),
    ] {
        assert_eq!(ask(query.clone()), plain, "A35 {query}");
    }
}

#[test]
fn a37_a_manifest_brings_no_blob_of_another_repository() {
    let scene = Scene::new();
    let target = "/v2/team-a/app/manifests/stolen";
    let answer = scene.submit("PUT", target, MANIFEST, &manifest(&scene.secret.layer, 4000));
    assert!((400..500).contains(&answer.status), "A37: {} {}", answer.status, answer.text());
    assert!(answer.text().contains("MANIFEST_BLOB_UNKNOWN"), "A37: {}", answer.text());
    // A27 §8.1: a form type is not what reaches the registry with a manifest either.
    let answer =
        scene.submit("PUT", &format!("{target}?x=y"), FORM, &format!("from=secret/app&mount={}", scene.secret.layer));
    assert!((400..500).contains(&answer.status), "A27: {}", answer.status);
    assert_eq!(scene.ask("GET", target, "").status, 404);
}
