//! Images in and out, for those who may and for nobody else.

use crate::support::{ADMIN, ALICE, BOB, CI, Done, Image, Login, Portcullis, Registry, Skopeo};

const MIB: usize = 1 << 20;

/// What skopeo prints when a registry says 401 or 403.
const REFUSED: &[&str] = &["denied", "unauthorized", "authentication required", "forbidden"];

fn push(gate: &Portcullis, login: Login, image: &Image, repository: &str) {
    Skopeo::logged_in(gate.pki(), &gate.host(), login).copy(&image.reference(), &gate.image(repository)).succeeded();
}

/// Pulls into a fresh layout and compares it with the original.
fn pull_and_compare(gate: &Portcullis, skopeo: &Skopeo, image: &Image, repository: &str) {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("pulled");
    skopeo.copy(&gate.image(repository), &format!("oci:{}:v1", layout.display())).succeeded();
    image.assert_same(&layout);
}

fn try_pull(gate: &Portcullis, skopeo: &Skopeo, repository: &str) -> Done {
    let dir = tempfile::tempdir().unwrap();
    skopeo.copy(&gate.image(repository), &format!("oci:{}:v1", dir.path().join("pulled").display()))
}

/// P2, P12
#[test]
fn a_multi_layer_image_comes_back_bit_for_bit() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(1, &[3 * MIB, 100, 700_001]);
    push(&gate, ALICE, &image, "team-a/app");
    pull_and_compare(&gate, &Skopeo::logged_in(gate.pki(), &gate.host(), ALICE), &image, "team-a/app");
}

/// P2, P12
#[test]
fn an_index_of_two_platforms_comes_back_bit_for_bit() {
    let registry = Registry::setup().with_absolute_urls().start();
    let gate = Portcullis::start(&registry);
    let image = Image::multi_arch(2, &[MIB, 5000]);
    push(&gate, ALICE, &image, "team-a/multi");
    pull_and_compare(&gate, &Skopeo::logged_in(gate.pki(), &gate.host(), ALICE), &image, "team-a/multi");
}

#[test]
fn who_may_not_push_leaves_no_trace_in_the_registry() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(3, &[1000]);
    for login in [BOB, CI] {
        let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), login);
        skopeo.copy(&image.reference(), &gate.image("team-a/app")).failed_with(REFUSED);
    }
    Skopeo::new(gate.pki()).copy(&image.reference(), &gate.image("team-a/app")).failed_with(REFUSED);
    assert_eq!(registry.acted(), [], "the registry was asked");
    Skopeo::new(gate.pki()).copy(&image.reference(), &gate.image("library/app")).failed_with(REFUSED);
    // What is public may be looked at.
    assert!(registry.acted().iter().all(|acted| acted.method == "HEAD"), "{:?}", registry.acted());
}

#[test]
fn a_private_repository_is_for_its_group() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(4, &[1000]);
    push(&gate, ALICE, &image, "team-a/app");
    let before = registry.acted_on("team-a/app").len();

    try_pull(&gate, &Skopeo::logged_in(gate.pki(), &gate.host(), BOB), "team-a/app").failed_with(REFUSED);
    try_pull(&gate, &Skopeo::new(gate.pki()), "team-a/app").failed_with(REFUSED);
    assert_eq!(registry.acted_on("team-a/app").len(), before, "the registry was asked");
    pull_and_compare(&gate, &Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN), &image, "team-a/app");
}

#[test]
fn anybody_pulls_what_is_public_and_nothing_else() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(5, &[1000]);
    for repository in ["library/app", "home/bob/app", "other/app"] {
        push(&gate, ADMIN, &image, repository);
    }
    let nobody = Skopeo::new(gate.pki());
    pull_and_compare(&gate, &nobody, &image, "library/app");
    for repository in ["home/bob/app", "other/app"] {
        try_pull(&gate, &nobody, repository).failed_with(REFUSED);
    }
    pull_and_compare(&gate, &Skopeo::logged_in(gate.pki(), &gate.host(), BOB), &image, "home/bob/app");
    try_pull(&gate, &Skopeo::logged_in(gate.pki(), &gate.host(), CI), "home/bob/app").failed_with(REFUSED);
}

#[test]
fn a_wrong_password_does_not_log_in() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let skopeo = Skopeo::new(gate.pki());
    skopeo
        .login(&gate.host(), Login::new("alice", "guess"))
        .failed_with(&["invalid username/password", "unauthorized"]);
    skopeo
        .login(&gate.host(), Login::new("mallory", "guess"))
        .failed_with(&["invalid username/password", "unauthorized"]);
    for login in [ALICE, BOB, CI] {
        Skopeo::new(gate.pki()).login(&gate.host(), login).succeeded();
    }
}

#[test]
fn a_tag_is_listed_inspected_and_deleted() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(6, &[1000]);
    push(&gate, BOB, &image, "home/bob/app");
    let name = format!("docker://{}/home/bob/app", gate.host());

    let bob = Skopeo::logged_in(gate.pki(), &gate.host(), BOB);
    assert!(bob.ask("list-tags", &[&name]).succeeded().stdout.contains("\"v1\""));
    assert!(bob.ask("inspect", &[&gate.image("home/bob/app")]).succeeded().stdout.contains(&image.digest));
    let ci = Skopeo::logged_in(gate.pki(), &gate.host(), CI);
    ci.ask("delete", &[&gate.image("home/bob/app")]).failed_with(REFUSED);
    bob.ask("delete", &[&gate.image("home/bob/app")]).succeeded();
    try_pull(&gate, &bob, "home/bob/app").failed_with(&["manifest unknown", "not found"]);
}

#[test]
fn pushing_does_not_include_deleting() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(7, &[1000]);
    push(&gate, ALICE, &image, "team-a/app");
    let answer = gate.curl(&format!("/v2/team-a/app/manifests/{}", image.digest)).user(ALICE).method("DELETE").send();
    assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"));
    assert!(registry.acted().iter().all(|acted| acted.method != "DELETE"));
}

#[test]
fn many_at_once_do_not_mix() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    std::thread::scope(|scope| {
        for (seed, login, repository) in
            [(20, ALICE, "team-a/x"), (21, ALICE, "team-a/y"), (22, BOB, "home/bob/x"), (23, CI, "home/ci/x")]
        {
            let gate = &gate;
            scope.spawn(move || {
                let image = Image::new(seed, &[MIB, 2 * MIB]);
                push(gate, login, &image, repository);
                pull_and_compare(gate, &Skopeo::logged_in(gate.pki(), &gate.host(), login), &image, repository);
            });
        }
    });
}

/// P14
#[test]
fn memory_does_not_grow_with_the_layer() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let small = Image::new(14, &[MIB]);
    push(&gate, ALICE, &small, "team-a/small");
    let before = gate.peak_memory();
    let big = Image::new(15, &[192 * MIB]);
    push(&gate, ALICE, &big, "team-a/big");
    pull_and_compare(&gate, &Skopeo::logged_in(gate.pki(), &gate.host(), ALICE), &big, "team-a/big");
    let grown = gate.peak_memory().saturating_sub(before);
    assert!(grown < 64 * 1024, "grew by {grown} KiB for a layer of 192 MiB");
}
