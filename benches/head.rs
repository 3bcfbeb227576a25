//! What a request's line and an answer's head cost: parse, write for the registry, write for the client.
//!
//! `cargo bench --bench head` prints the time of one operation on one core; README.md beside this file holds figures.

#![allow(clippy::unwrap_used)] // a bench that cannot go on has nothing to measure

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{Method, Response, StatusCode, response::Parts};
use portcullis::{
    proxy::{Public, response_head},
    registry::{Route, UploadSeal},
    runtime::PublicOrigin,
};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(method: &Method, target: &str) -> Route {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Route::parse(method, path, query, "/token").unwrap()
}

/// What docker-registry answers.
fn answer(status: StatusCode, headers: &[(&str, &str)]) -> Parts {
    let usual = [
        ("docker-distribution-api-version", "registry/2.0"),
        ("x-content-type-options", "nosniff"),
        ("date", "Mon, 23 Nov 2026 00:00:00 GMT"),
        ("content-length", "1024"),
    ];
    let answer = Response::builder().status(status);
    let answer = usual.iter().chain(headers).fold(answer, |answer, (name, value)| answer.header(*name, *value));
    answer.body(()).unwrap().into_parts().0
}

fn heads(criterion: &mut Criterion) {
    let manifest = "/v2/team-a/services/billing/manifests/v1.2.3";
    let blob = format!("/v2/team-a/services/billing/blobs/{DIGEST}");
    let upload =
        "/v2/team-a/services/billing/blobs/uploads/5f4dcc3b-5aa7-45d6-9d83-27deb882cf99?_state=aGVsbG8_-x%3D%3D";
    for (name, method, target) in
        [("manifest", Method::GET, manifest), ("blob", Method::GET, &*blob), ("upload", Method::PATCH, upload)]
    {
        criterion.bench_function(&format!("{name}: parse the route"), |bencher| {
            bencher.iter(|| parse(&method, black_box(target)));
        });
        let route = parse(&method, target);
        criterion.bench_function(&format!("{name}: write it for the registry"), |bencher| {
            bencher.iter(|| black_box(&route).to_upstream());
        });
    }
    let seal = |_: &_, _: &_| UploadSeal::parse("MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI");
    let public = Public {
        origin: PublicOrigin::new("registry.example.com", 443),
        token_path: "/token",
        pass_redirects: false,
        seal: &seal,
    };
    let etag = format!("\"{DIGEST}\"");
    let pulled = answer(
        StatusCode::OK,
        &[
            ("content-type", "application/vnd.oci.image.manifest.v1+json"),
            ("docker-content-digest", DIGEST),
            ("etag", &etag),
        ],
    );
    let opened = answer(
        StatusCode::ACCEPTED,
        &[
            ("location", &format!("http://10.0.0.5:5000{upload}")),
            ("docker-upload-uuid", "5f4dcc3b-5aa7-45d6-9d83-27deb882cf99"),
            ("range", "0-0"),
        ],
    );
    for (name, head, route) in
        [("manifest", &pulled, parse(&Method::GET, manifest)), ("upload", &opened, parse(&Method::PATCH, upload))]
    {
        response_head(head, &route, public).unwrap();
        criterion.bench_function(&format!("{name}: write the answer's head"), |bencher| {
            bencher.iter(|| response_head(black_box(head), &route, public).unwrap());
        });
    }
}

criterion_group!(benches, heads);
criterion_main!(benches);
