//! How a person signs in with a browser: it prompts where it is asked for a Basic login, and shows that login from then on.

use super::{Scene, nothing_for_anyone};
use crate::support::{ALICE, Curl};

fn of_a_browser(curl: &Curl, mode: &str) -> Curl {
    curl.clone().header("Sec-Fetch-Site: same-origin").header(&format!("Sec-Fetch-Mode: {mode}"))
}

const CATALOG: &str = "/token?service=localhost&scope=registry:catalog:*";

#[test]
fn a_browser_is_prompted_where_anyone_may_too_little() {
    for (scene, anyone) in [(Scene::new(), true), (Scene::with(nothing_for_anyone), false)] {
        for (path, enough) in [
            (CATALOG, anyone),
            ("/token?service=localhost&scope=repository:library/x:pull", anyone),
            ("/token?service=localhost&scope=repository:library/x:pull,delete", false),
            ("/token?service=localhost&scope=repository:team-a/app:pull", false),
        ] {
            let answer = of_a_browser(&scene.curl(path), "cors").send();
            if enough {
                assert_eq!(answer.status, 200, "{path}");
            } else {
                assert_eq!(answer.challenge(), "Basic realm=\"Registry\"", "{path}");
            }
            // Clients that are no browsers ask without a login first, and a partial grant is no error for them.
            assert_eq!(scene.curl(path).send().status, 200, "{path}");
            assert_eq!(of_a_browser(&scene.curl(path).user(ALICE), "cors").send().status, 200, "{path}");
        }
        // A page that fetches gets the challenge that it can read; a person who opens the address, the prompt.
        let fetch = of_a_browser(&scene.curl("/v2/team-a/app/tags/list"), "cors").send();
        assert!(fetch.challenge().starts_with("Bearer realm="), "{:?}", fetch.headers);
        let opened = of_a_browser(&scene.curl("/v2/team-a/app/tags/list"), "navigate").send();
        assert_eq!(opened.challenge(), "Basic realm=\"Registry\"");
    }
}

#[test]
fn opening_the_registry_signs_in_and_leads_to_the_ui() {
    let scene = Scene::new();
    let open = |curl: Curl| of_a_browser(&curl, "navigate").send();
    assert_eq!(open(scene.curl("/v2/")).challenge(), "Basic realm=\"Registry\"");
    let signed_in = open(scene.curl("/v2/").user(ALICE));
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some("/")));
    let fetch = of_a_browser(&scene.curl("/v2/").user(ALICE), "cors").send();
    assert_eq!((fetch.status, fetch.text().as_str()), (200, "{}"));
    let token = scene.gate.token(None, "repository:library/x:pull");
    assert_eq!(open(scene.curl("/v2/").bearer(&token)).status, 200, "nobody signed in");
}
