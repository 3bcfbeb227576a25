//! Blobs and manifests request by request, as curl sends them.

use std::fs;

use crate::support::{ALICE, Curl, Image, Portcullis, Registry, Response, Skopeo};

const MIB: usize = 1 << 20;

fn push(gate: &Portcullis, image: &Image) {
    Skopeo::logged_in(gate.pki(), &gate.host(), ALICE).copy(&image.reference(), &gate.image("team-a/app")).succeeded();
}

/// The path of a Location, which must be relative or of the origin that the client dialled.
#[track_caller]
fn public_path(gate: &Portcullis, answer: &Response) -> String {
    let location = answer.header("location").expect("a Location");
    let path = location.strip_prefix(&gate.url("")).unwrap_or(location);
    assert!(path.starts_with("/v2/"), "not of the public origin: {location}");
    path.to_owned()
}

fn with_digest(path: &str, digest: &str) -> String {
    format!("{path}{}digest={digest}", if path.contains('?') { '&' } else { '?' })
}

/// Opens an upload session and sends a body in chunks, then finishes it.
fn upload_in_chunks(gate: &Portcullis, image: &Image, adjust: fn(Curl) -> Curl) {
    let file = image.blob(&image.layer);
    let opened = adjust(gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST")).send();
    assert_eq!(opened.status, 202, "{}", opened.text());
    let sent = adjust(gate.curl(&public_path(gate, &opened)).user(ALICE).method("PATCH").chunked_file(&file)).send();
    assert_eq!(sent.status, 202, "{}", sent.text());
    let finish = with_digest(&public_path(gate, &sent), &image.layer);
    let finished = adjust(gate.curl(&finish).user(ALICE).method("PUT")).send();
    assert_eq!(finished.status, 201, "{}", finished.text());
    assert_eq!(finished.header("docker-content-digest"), Some(image.layer.as_str()));
    public_path(gate, &finished);
}

/// P1
#[test]
fn a_chunked_upload_keeps_to_the_public_origin() {
    for registry in [Registry::start(), Registry::setup().with_absolute_urls().start()] {
        let gate = Portcullis::start(&registry);
        let image = Image::new(8, &[2 * MIB]);
        upload_in_chunks(&gate, &image, |curl| curl.argument("--http1.1"));
        let back = gate.curl(&format!("/v2/team-a/app/blobs/{}", image.layer)).user(ALICE).send();
        assert_eq!(back.status, 200);
        assert!(back.body == fs::read(image.blob(&image.layer)).unwrap());
    }
}

#[test]
fn http_2_carries_the_same() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(9, &[2 * MIB]);
    let file = image.blob(&image.layer);

    let opened = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").argument("--http2").send();
    assert_eq!((opened.status, opened.version.as_str()), (202, "HTTP/2"));
    let sent =
        gate.curl(&public_path(&gate, &opened)).user(ALICE).method("PATCH").argument("--http2").body_file(&file).send();
    assert_eq!((sent.status, sent.version.as_str()), (202, "HTTP/2"), "{}", sent.text());
    let finish = with_digest(&public_path(&gate, &sent), &image.layer);
    assert_eq!(gate.curl(&finish).user(ALICE).method("PUT").argument("--http2").send().status, 201);

    let back = gate.curl(&format!("/v2/team-a/app/blobs/{}", image.layer)).user(ALICE).argument("--http2").send();
    assert_eq!((back.status, back.version.as_str()), (200, "HTTP/2"));
    assert!(back.body == fs::read(&file).unwrap());
}

/// P5
#[test]
fn a_blob_goes_up_in_one_put() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(10, &[MIB]);
    let opened = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
    let finish = with_digest(&public_path(&gate, &opened), &image.layer);
    let finished = gate.curl(&finish).user(ALICE).method("PUT").body_file(&image.blob(&image.layer)).send();
    assert_eq!(finished.status, 201, "{}", finished.text());
}

#[test]
fn a_wrong_digest_is_the_registrys_to_refuse() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(11, &[MIB]);
    let opened = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
    let finish = with_digest(&public_path(&gate, &opened), &image.digest);
    let refused = gate.curl(&finish).user(ALICE).method("PUT").body_file(&image.blob(&image.layer)).send();
    assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"));
}

/// P13
#[test]
fn a_blob_is_read_whole_in_part_and_by_its_head() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(12, &[300_000]);
    push(&gate, &image);
    let bytes = fs::read(image.blob(&image.layer)).unwrap();
    let path = format!("/v2/team-a/app/blobs/{}", image.layer);

    for protocol in ["--http1.1", "--http2"] {
        let ask = || gate.curl(&path).user(ALICE).argument(protocol);
        let head = ask().method("HEAD").send();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
        assert_eq!(head.header("docker-content-digest"), Some(image.layer.as_str()));

        let part = ask().header("Range: bytes=1000-1999").send();
        assert_eq!(part.status, 206);
        assert_eq!(part.header("content-range"), Some(format!("bytes 1000-1999/{}", bytes.len()).as_str()));
        assert!(part.body == bytes[1000..2000]);

        // The registry itself announces the whole blob's length here and sends less.
        let beyond = ask().header(&format!("Range: bytes={}-", bytes.len())).send();
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.header("content-range"), Some(format!("bytes */{}", bytes.len()).as_str()));
    }
}

/// P12
#[test]
fn a_manifest_keeps_type_digest_and_bytes() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::multi_arch(13, &[1000]);
    push(&gate, &image);
    for reference in ["v1", image.digest.as_str()] {
        let answer = gate
            .curl(&format!("/v2/team-a/app/manifests/{reference}"))
            .user(ALICE)
            .header("Accept: application/vnd.oci.image.manifest.v1+json")
            .header("Accept: application/vnd.oci.image.index.v1+json")
            .send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/vnd.oci.image.index.v1+json"));
        assert_eq!(answer.header("docker-content-digest"), Some(image.digest.as_str()));
        assert!(answer.body == fs::read(image.manifest()).unwrap());
    }
}
