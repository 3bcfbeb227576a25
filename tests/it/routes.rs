//! Parts of a namespace that live elsewhere: who is asked, what is mounted, what the catalog shows.

use serde_json::{Value, json};

use crate::support::{ADMIN, ALICE, BOB, Image, Login, Portcullis, Registry, Skopeo};

/// A gate whose default registry comes first, and one registry for each of these patterns.
fn before(default: &Registry, routes: &[(&str, &Registry)]) -> Portcullis {
    let routes: Vec<Value> = routes
        .iter()
        .map(|(pattern, registry)| {
            json!({ "repositories": [pattern], "upstream": { "servers": [{ "url": registry.url }] } })
        })
        .collect();
    Portcullis::before(default).with(move |config| config["registries"][0]["routes"] = json!(routes)).start()
}

fn push(gate: &Portcullis, login: Login, image: &Image, repository: &str) {
    Skopeo::logged_in(gate.pki(), &gate.host(), login).copy(&image.reference(), &gate.image(repository)).succeeded();
}

/// Every name of the catalog, page by page.
fn catalog(gate: &Portcullis, login: Login, n: usize) -> Vec<String> {
    let (mut path, mut names) = (format!("/v2/_catalog?n={n}"), Vec::new());
    loop {
        let page = gate.curl(&path).user(login).send();
        assert_eq!(page.status, 200, "{}", page.text());
        let listed: Vec<String> = serde_json::from_value(page.json()["repositories"].clone()).unwrap();
        assert!(listed.len() <= n, "{listed:?}");
        names.extend(listed);
        let Some(link) = page.header("link") else { return names };
        link.split_once('<').unwrap().1.split_once('>').unwrap().0.clone_into(&mut path);
    }
}

#[test]
fn each_repository_lives_where_the_longest_pattern_says() {
    let [default, team, app] = [(); 3].map(|()| Registry::start());
    let gate = before(&default, &[("team-a/**", &team), ("team-a/app", &app)]);
    let image = Image::new(410, &[5000]);
    for (repository, home) in [("library/app", &default), ("team-a/other/x", &team), ("team-a/app", &app)] {
        push(&gate, ADMIN, &image, repository);
        assert!(!home.acted_on(repository).is_empty(), "{repository}");
        for other in [&default, &team, &app].into_iter().filter(|other| other.url != home.url) {
            assert_eq!(other.acted_on(repository), [], "{repository}");
        }
        let there = gate.curl(&format!("/v2/{repository}/tags/list")).user(ADMIN).send();
        assert_eq!(there.status, 200, "{repository}");
    }
}

#[test]
fn a_blob_of_another_upstream_is_uploaded_and_not_mounted() {
    let [default, mirror] = [(); 2].map(|()| Registry::start());
    let gate = before(&default, &[("team-a/mirror/**", &mirror)]);
    let image = Image::new(411, &[5000]);
    push(&gate, ALICE, &image, "team-a/app");
    let mount = |target: &str| {
        let path = format!("/v2/{target}/blobs/uploads/?mount={}&from=team-a/app", image.layer);
        gate.curl(&path).user(ALICE).method("POST").send().status
    };
    assert_eq!(mount("team-a/mirror/app"), 202, "it is not in that storage");
    assert_eq!(mount("team-a/near"), 201, "it is in this one");
    let lines: Vec<String> =
        mirror.log().lines().filter(|line| line.contains("POST /v2/")).map(str::to_owned).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains("from=")), "{lines:?}");
    push(&gate, ALICE, &image, "team-a/mirror/app");
}

#[test]
fn one_catalog_shows_what_can_be_reached() {
    let [default, mirror] = [(); 2].map(|()| Registry::start());
    // Where the route hides a name, its other copy is not there for anybody.
    default.hold(&["library/a", "library/z", "mirror/hidden", "nobody/b", "zoo/c"].map(str::to_owned));
    mirror.hold(&["mirror/a", "mirror/m/n", "mirror/z", "library/hidden"].map(str::to_owned));
    let gate = before(&default, &[("mirror/**", &mirror)]);
    let all = ["library/a", "library/z", "mirror/a", "mirror/m/n", "mirror/z", "nobody/b", "zoo/c"];
    for n in [1, 2, 3, 100] {
        assert_eq!(catalog(&gate, ADMIN, n), all, "n={n}");
    }
    assert_eq!(catalog(&gate, ALICE, 2), ["library/a", "library/z"]);
}

#[test]
fn what_is_down_takes_nothing_else_with_it() {
    let (default, mut mirror) = (Registry::start(), Registry::start());
    let gate = before(&default, &[("team-a/mirror/**", &mirror)]);
    let image = Image::new(412, &[5000]);
    push(&gate, ALICE, &image, "team-a/app");
    push(&gate, ALICE, &image, "team-a/mirror/app");
    mirror.stop();
    let status = |repository: &str| gate.curl(&format!("/v2/{repository}/tags/list")).user(ALICE).send().status;
    assert_eq!(status("team-a/app"), 200);
    assert_eq!(status("team-a/mirror/app"), 502);
    let listed = gate.curl("/v2/_catalog").user(ALICE).send();
    assert_eq!(listed.status, 502, "a list that lacks a part would be wrong: {}", listed.text());
    let listed = gate.curl("/v2/_catalog").user(BOB).send();
    assert_eq!(listed.status, 200, "nothing there is for bob: {}", listed.text());
    mirror.start_again();
    assert_eq!(status("team-a/mirror/app"), 200);
}
