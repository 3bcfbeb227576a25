//! `events`.

use std::{fs, path::Path, time::Duration};

use super::{more, read, told, with_more};
use crate::config::{EventAction, Events};

fn events(text: &str) -> Events {
    read(&with_more(text)).unwrap().events
}

#[test]
fn nothing_and_the_least() {
    assert!(events("").endpoints.is_empty());
    let events = events("events: { endpoints: [{ name: scanner, url: \"https://scanner.example.com/hook?a=b\" }] }\n");
    assert_eq!(events.storage.as_deref(), Some(Path::new("/var/lib/portcullis/events")));
    let [one] = events.endpoints.as_slice() else { panic!("{events:?}") };
    assert!(EventAction::ALL.into_iter().all(|action| one.actions.contains(action)));
    assert_eq!(one.media_type, "application/vnd.docker.distribution.events.v1+json");
    assert_eq!((one.timeout, one.queue, one.batch, one.references), (Duration::from_secs(2), 10_000, 64, false));
    assert_eq!(one.url.origin.to_string(), "https://scanner.example.com");
    assert_eq!(one.url.reveal_target(), "/hook?a=b");
    assert!(!format!("{one:?}").contains("hook"), "a path may be a secret");
}

#[test]
fn everything() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (key, login) = (file("key", "k\n"), file("login", "Bearer t\n"));
    let text = format!(
        "events:\n  storage: null\n  endpoints:\n    - {{ name: a, url: \"http://127.0.0.1:1\", actions: [push, mount], \
         hmac_key_file: \"{key}\", authorization_file: \"{login}\", repositories: [\"a/**\"], registries: [r.example.com], \
         media_type: \"a/b\", timeout: 1s, references: true, queue: 7, batch: 1 }}\n"
    );
    assert_eq!(told(&with_more(&text)), Vec::<String>::new());
    let events = events(&text);
    let one = &events.endpoints[0];
    assert_eq!(events.storage, None);
    let wanted = EventAction::ALL.map(|action| one.actions.contains(action));
    assert_eq!(wanted, [false, true, true, false], "pull, push, mount, delete");
    assert_eq!(one.hmac_key.as_ref().unwrap().reveal(), "k");
    assert_eq!(one.authorization.as_ref().unwrap().reveal(), "Bearer t");
    assert_eq!((one.url.reveal_target(), one.references, one.queue, one.batch), ("/", true, 7, 1));
    assert_eq!((one.repositories.len(), one.registries.len()), (1, 1));
    fs::write(folder.path().join("login"), "t").unwrap();
    assert!(told(&with_more(&text))[0].contains("the whole value of the header"));
}

#[test]
fn what_is_wrong_is_told() {
    const URL: &str = "https://s.example.com/secret";
    let endpoint = |keys: &str, words: &str| {
        more(&format!("events: {{ endpoints: [{{ {keys} }}] }}\n"), "8:", words);
        let told = told(&with_more(&format!("events: {{ endpoints: [{{ {keys} }}] }}\n")));
        assert!(!told.join("").contains("secret"), "{told:?}");
    };
    endpoint(&format!("url: \"{URL}\""), "the key \"name\" is missing");
    endpoint("name: a", "the key \"url\" is missing");
    endpoint("name: a, url: \"ftp://s.example.com/secret\"", "does not begin with https://");
    endpoint("name: a, url: \"https://me:secret@s.example.com\"", "authorization_file");
    endpoint("name: a, url: \"https://s.example.com/secret#x\"", "path cannot be read");
    endpoint("name: a, url: \"http://s.example.com/secret\"", "warning: events.endpoints[0].url: events are readable");
    endpoint(&format!("name: \"a b\", url: \"{URL}\""), "a name has letters");
    endpoint(&format!("name: a, url: \"{URL}\", actions: []"), "must not be empty");
    endpoint(&format!("name: a, url: \"{URL}\", actions: [pul]"), "is not one of pull, push, mount, delete");
    endpoint(&format!("name: a, url: \"{URL}\", repositories: [\"$user/a\"]"), "$user has no meaning here");
    endpoint(&format!("name: a, url: \"{URL}\", registries: [x.example.com]"), "not a host of any configured registry");
    endpoint(&format!("name: a, url: \"{URL}\", media_type: json"), "write a media type");
    endpoint(&format!("name: a, url: \"{URL}\", timeout: 2m"), "at most 60s");
    endpoint(&format!("name: a, url: \"{URL}\", queue: 0"), "out of range");
    endpoint(&format!("name: a, url: \"{URL}\", batch: 0"), "out of range");
    endpoint(&format!("name: a, url: \"{URL}\", hmac_key_file: /nowhere/key"), "cannot use /nowhere/key");
    endpoint("name: a, url: \"http://127.0.0.1/secret\", ca_file: ca.crt", "has no effect");
    endpoint(&format!("name: a, url: \"{URL}\" }}, {{ name: a, url: \"{URL}\""), "is taken by the endpoint in line 8");
}

#[test]
fn a_secret_goes_over_tls_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("login");
    fs::write(&file, "Bearer t").unwrap();
    let text = |url: &str| {
        with_more(&format!(
            "events: {{ endpoints: [{{ name: a, url: \"{url}\", authorization_file: \"{}\" }}] }}\n",
            file.display()
        ))
    };
    let refuses = |url: &str| {
        told(&text(url)).iter().any(|told| told.contains("error: ") && told.contains("readable on its way"))
    };
    assert!(refuses("http://s.example.com"));
    assert!(!refuses("https://s.example.com") && !refuses("http://127.0.0.1:5") && !refuses("http://localhost"));
    assert!(told(&text("https://s.example.com"))[0].contains("can be read by others than its owner"));
}
