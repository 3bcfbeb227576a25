//! The catalog, filtered.

use serde_json::json;

use crate::support::{ADMIN, ALICE, BOB, CI, Image, Login, Portcullis, Registry, Skopeo};

/// P21
#[test]
fn the_catalog_shows_what_one_may_pull() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let admin = Skopeo::logged_in(gate.pki(), &gate.host(), ADMIN);
    let image = Image::new(61, &[100]);
    for repository in ["library/a", "team-a/b", "home/bob/c", "other/d"] {
        admin.copy(&image.reference(), &gate.image(repository)).succeeded();
    }
    let shown = |login: Login| gate.curl("/v2/_catalog").user(login).send().json()["repositories"].clone();
    assert_eq!(shown(ADMIN), json!(["home/bob/c", "library/a", "other/d", "team-a/b"]));
    assert_eq!(shown(ALICE), json!(["library/a", "team-a/b"]));
    assert_eq!(shown(BOB), json!(["home/bob/c", "library/a"]));
    assert_eq!(shown(CI), json!(["library/a"]));

    let mut path = "/v2/_catalog?n=1".to_owned();
    let mut walked = Vec::new();
    for _ in 0..5 {
        let page = gate.curl(&path).user(ALICE).send();
        assert_eq!(page.status, 200, "{}", page.text());
        walked.extend(page.json()["repositories"].as_array().unwrap().iter().cloned());
        let Some(link) = page.header("link") else {
            break;
        };
        let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).unwrap().0;
        path = target.strip_prefix(&gate.url("")).unwrap_or(target).to_owned();
        assert!(path.starts_with("/v2/_catalog?"), "{link}");
        assert!(!path.contains("home") && !path.contains("other"), "a hidden name is in the link: {link}");
    }
    assert_eq!(walked, ["library/a", "team-a/b"]);
}
