//! The page in a browser.

use std::{env, fs, path::PathBuf};

use serde_json::json;

use crate::support::{ALICE, Chromium, Portcullis, Registry};

/// Where pictures are kept; nowhere unless `PORTCULLIS_TEST_PICTURES` names a folder.
fn pictures() -> Option<PathBuf> {
    env::var_os("PORTCULLIS_TEST_PICTURES").map(PathBuf::from)
}

/// A picture for a desktop in the light and for a phone in the dark.
fn picture(browser: &mut Chromium, name: &str) {
    let Some(folder) = pictures() else { return };
    fs::create_dir_all(&folder).unwrap();
    for (width, height, scheme) in [(1280, 800, "light"), (1280, 800, "dark"), (360, 740, "light"), (360, 740, "dark")]
    {
        browser.look(width, height, scheme);
        browser.picture(&folder.join(format!("{name}-{width}-{scheme}.png")));
    }
}

/// How the page stands: what its first sentence says.
fn says(browser: &mut Chromium, verdict: &str) {
    browser.eventually(&format!("document.querySelector('#verdict b')?.textContent === {}", json!(verdict)));
}

#[test]
fn the_page_follows_what_happens() {
    const BROKEN: &str = "Something is broken";
    const FINE: &str = "Everything is fine";
    let (first, mut second) = (Registry::start(), Registry::start());
    let upstream = json!({
        "servers": [{ "url": first.url }, { "url": second.url }],
        "health": { "interval": "200ms", "timeout": "200ms" },
    });
    let mut gate = Portcullis::before_upstream(upstream).start();
    let mut browser = Chromium::open(&format!("http://127.0.0.1:{}/", gate.admin_port()));
    says(&mut browser, FINE);
    assert_eq!(browser.value("location.pathname"), "/status");
    assert_eq!(browser.value("document.querySelectorAll('#registries tbody tr').length"), 2);
    assert_eq!(browser.value("document.querySelectorAll('#traffic svg[role=img]').length"), 4);

    for _ in 0..30 {
        assert_eq!(gate.curl("/v2/_catalog").user(ALICE).send().status, 200);
    }
    browser.eventually("!document.querySelector('#traffic svg').getAttribute('aria-label').includes('at most 0 ')");
    browser.reads("htpasswd");
    picture(&mut browser, "fine");
    for width in [360, 1280] {
        browser.look(width, 740, "light");
        let wide = browser.value("document.documentElement.scrollWidth - innerWidth").as_i64().unwrap();
        assert!(wide <= 0, "{width}: the page is wider than the window by {wide}");
    }

    second.kill();
    says(&mut browser, "It works, but something needs a look");
    browser.reads("1 of 2 servers");
    browser.eventually("document.querySelectorAll('#registries .state.error').length === 1");
    gate.change_configuration(|config| config["<img src=x>"] = json!(1));
    browser.reads("<img src=x>");
    picture(&mut browser, "degraded");
    gate.change_configuration(|config| drop(config.as_object_mut().unwrap().remove("<img src=x>")));
    second.start_again();
    says(&mut browser, FINE);
    assert_eq!(browser.value("document.images.length"), 0);

    gate.process().kill();
    browser.reads("The gate does not answer here");
    browser.reads("What is shown is from");
    picture(&mut browser, "gone");
    // So far it complained of nothing.
    let complaints = browser.complaints().to_vec();
    assert!(complaints.iter().all(|text| text.contains("Failed to load resource")), "{complaints:?}");
    gate.start_again();
    browser.eventually("document.getElementById('stale').hidden");
    says(&mut browser, FINE);

    drop(first);
    drop(second);
    says(&mut browser, BROKEN);
    picture(&mut browser, "failing");
}

#[test]
fn the_page_says_the_same_without_its_script() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let mut browser = Chromium::open("about:blank");
    browser.without_scripts();
    browser.go(&format!("http://127.0.0.1:{}/status", gate.admin_port()));
    for text in ["ok", registry.url.as_str(), "localhost, 127.0.0.1, registry.test", "Days left", "Fingerprint"] {
        browser.reads(text);
    }
    picture(&mut browser, "without-script");
    assert!(browser.complaints().is_empty());
}
