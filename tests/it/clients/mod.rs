//! Real clients, each put through the same story: login, push, pull, mount, refusals, anonymous pulls.

mod buildah;
mod containerd;
mod containers;
mod curl;
mod docker;
mod kubelet;
mod podman;
mod skopeo;

use crate::support::{ADMIN, ALICE, Acted, Done, Image, Login, Portcullis, Registry};

/// A client with a home and a storage of its own, and nobody logged in. It trusts the gate's CA by its own means.
trait Client: Sized {
    /// What it says when a password is wrong.
    const WRONG_PASSWORD: &'static [&'static str];
    /// What it says when who is logged in may pull there and not push.
    const PUSH_DENIED: &'static [&'static str];
    /// The same where pulling is denied too: most clients then only see a status without a body.
    const ALL_DENIED: &'static [&'static str];
    /// What it says when nobody is logged in and somebody has to be, to pull `team-a/app`.
    const LOGIN_TO_PULL: &'static [&'static str];
    /// The same for pushing.
    const LOGIN_TO_PUSH: &'static [&'static str];

    fn gate(registry: &Registry) -> Portcullis {
        Portcullis::start(registry)
    }

    fn new(gate: &Portcullis) -> Self;

    /// Takes an image in, to push it under any name later.
    fn take(&mut self, image: &Image);

    /// For all that follows, where it succeeds.
    fn login(&mut self, login: Login) -> Done;

    /// Pushes what it took or pulled last, with the tag `v1`.
    fn push(&mut self, repository: &str) -> Done;

    /// Forgets all images, then pulls the tag `v1`.
    fn pull(&mut self, repository: &str) -> Done;

    /// Panics unless what it pulled last is this image.
    fn assert_holds(&self, image: &Image, repository: &str);
}

/// `library` is for anyone to pull, `team-a` is alice's, `team-b` is not hers.
fn story<C: Client>(seed: u64) {
    let registry = Registry::start();
    let gate = C::gate(&registry);
    let image = Image::new(seed, &[200_000, 5000]);
    let mut client = C::new(&gate);
    client.take(&image);

    client.login(Login::new(ALICE.name, "a guess")).failed_with(C::WRONG_PASSWORD);
    client.login(ADMIN).succeeded();
    client.push("library/base").succeeded();
    client.login(ALICE).succeeded();
    client.push("team-a/app").succeeded();
    client.pull("team-a/app").succeeded();
    client.assert_holds(&image, "team-a/app");
    client.push("team-a/copy").succeeded();
    assert_mounted(&registry, "team-a/copy");
    client.pull("team-a/copy").succeeded();
    client.assert_holds(&image, "team-a/copy");

    let before = registry.acted();
    client.push("team-b/app").failed_with(C::ALL_DENIED);
    client.push("library/other").failed_with(C::PUSH_DENIED);
    assert_untouched(&registry, &before, &["team-b"]);

    let mut nobody = C::new(&gate);
    nobody.pull("library/base").succeeded();
    nobody.assert_holds(&image, "library/base");
    let before = registry.acted();
    nobody.pull("team-a/app").failed_with(C::LOGIN_TO_PULL);
    nobody.take(&image);
    nobody.push("library/other").failed_with(C::LOGIN_TO_PUSH);
    nobody.push("team-a/app").failed_with(C::LOGIN_TO_PUSH);
    assert_untouched(&registry, &before, &["team-a", "team-b"]);
    nothing_was_misunderstood(&gate);
}

/// A layer got there without its bytes being sent.
#[track_caller]
fn assert_mounted(registry: &Registry, repository: &str) {
    let acted = registry.acted_on(repository);
    let mounts = acted.iter().filter(|acted| acted.target.contains("mount=sha256") && acted.status == 201);
    assert!(mounts.count() > 0, "nothing was mounted: {acted:?}");
}

/// Since `before` nothing was written, and nothing of these namespaces was even asked for.
#[track_caller]
fn assert_untouched(registry: &Registry, before: &[Acted], namespaces: &[&str]) {
    let acted = registry.acted();
    let since = &acted[before.len()..];
    let written = since.iter().filter(|acted| !matches!(acted.method.as_str(), "HEAD" | "GET"));
    assert_eq!(written.count(), 0, "the registry was written to: {since:?}");
    let asked = |acted: &&Acted| namespaces.iter().any(|name| acted.target.starts_with(&format!("/v2/{name}/")));
    assert_eq!(since.iter().filter(asked).count(), 0, "the registry was asked: {since:?}");
}

/// All that the client sent was something the gate knows, and got an answer that a client can act on.
#[track_caller]
fn nothing_was_misunderstood(gate: &Portcullis) {
    let log = gate.log();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let requests: Vec<serde_json::Value> = lines.filter(|line: &serde_json::Value| line["log"] == "access").collect();
    assert!(requests.len() > 10, "{log}");
    for request in requests {
        if request["aborted"] == "client_gone" {
            // It learnt from another answer that there is nothing to be had.
            continue;
        }
        let status = request["status"].as_u64().unwrap();
        assert!(matches!(status, 200..=206 | 401 | 403 | 404), "{request}");
    }
}
