//! The file itself, the files that the repository ships, and how problems print.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    super::{Config, Expectations, Problem, Problems, Severity, UpstreamCredentials},
    LEAST, with_line,
};

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

#[test]
fn the_reference_is_accepted_without_a_word() {
    let config = Config::load(&conf().join("portcullis.yml")).unwrap();
    assert_eq!(config.warnings, []);
}

/// What the reference says is the default, is the default.
#[test]
fn the_reference_shows_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    fs::write(&path, LEAST).unwrap();
    let (least, reference) = (Config::load(&path).unwrap(), Config::load(&conf().join("portcullis.yml")).unwrap());
    let defaults = |config: &Config| {
        let Config { listen, tls, registries, identity, tokens, limits, log, reload, shutdown, .. } = config.clone();
        let upstream = registries[0].upstream.clone();
        format!(
            "{listen:#?} {:?} {:?} {:#?} {:?} {:?} {:?} {:?} {} {:?} {:?} {tokens:#?} {limits:#?} {log:#?} {reload:#?} {shutdown:#?}",
            tls.min_version,
            tls.hsts,
            upstream.timeouts,
            upstream.tls,
            upstream.credentials,
            upstream.redirects,
            upstream.redirect_hosts,
            identity.realm,
            identity.disabled_users,
            identity.cache
        )
    };
    assert_eq!(defaults(&least), defaults(&reference));
}

#[test]
fn the_examples_are_accepted() {
    let mut seen = 0;
    for entry in fs::read_dir(conf().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("expectations.yml") {
            let config = Config::load(&conf().join("examples/public-and-teams.yml")).unwrap();
            assert!(!Expectations::load(&path, &config).unwrap_or_else(|problems| panic!("{problems}")).all.is_empty());
            continue;
        }
        let config = Config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
        let expected: &[&str] = match path.file_name().and_then(|name| name.to_str()) {
            Some("behind-load-balancer.yml") => &["listen.admin: [::]:9090 is not a loopback address"],
            _ => &[],
        };
        assert_eq!(config.warnings.len(), expected.len(), "{}: {:?}", path.display(), config.warnings);
        assert!(config.warnings.iter().zip(expected).all(|(warning, start)| warning.message.starts_with(start)));
        seen += 1;
    }
    assert_eq!(seen, 8);
}

#[test]
fn relative_paths_start_from_the_files_folder() {
    let config = Config::load(&conf().join("portcullis.yml")).unwrap();
    assert_eq!(config.path, conf().join("portcullis.yml"));
    assert_eq!(config.tls.certificates[0].key_file, conf().join("tls/registry.example.com.key"));
    assert_eq!(config.tokens.keys, [PathBuf::from("/var/lib/portcullis/token.key")]);
}

fn load(content: &[u8]) -> Result<Config, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    fs::write(&path, content).unwrap();
    Config::load(&path)
}

#[track_caller]
fn tells(content: &[u8], words: &str) {
    let Problems(problems) = load(content).unwrap_err();
    assert!(matches!(problems.as_slice(), [one] if one.line == 0 && one.message.contains(words)), "{problems:?}");
}

#[test]
fn files_that_cannot_be_read() {
    tells(b"version: \xff", "not UTF-8 text");
    tells(&vec![b'#'; (16 << 20) + 1], "larger than 16MiB");
    let folder = tempfile::tempdir().unwrap();
    let missing = Config::load(&folder.path().join("none.yml")).unwrap_err();
    assert!(missing.to_string().contains("none.yml: error: cannot read the file: "), "{missing}");
    assert!(Config::load(folder.path()).is_err());
}

#[test]
fn a_large_file_below_the_bound_is_read() {
    let mut text = LEAST.as_bytes().to_vec();
    text.resize(16 << 20, b'\n');
    assert!(load(&text).is_ok());
}

#[test]
fn secrets_are_read_from_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    let upstream = "    upstream: { servers: [{ url: \"https://r\" }], credentials: { username: gate, password_file: \"upstream\" } }";
    fs::write(&path, with_line(6, upstream)).unwrap();

    let Problems(problems) = Config::load(&path).unwrap_err();
    assert_eq!((problems[0].line, problems[0].column, problems.len()), (6, 96, 1));
    assert!(
        problems[0].message.starts_with("registries[0].upstream.credentials.password_file: cannot use "),
        "{}",
        problems[0]
    );

    fs::write(folder.path().join("upstream"), "hunter2\n").unwrap();
    let config = Config::load(&path).unwrap();
    let Some(UpstreamCredentials { username, password }) = &config.registries[0].upstream.credentials else {
        panic!("no credentials")
    };
    assert_eq!((username.as_str(), password.reveal()), ("gate", "hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn problems_print_one_a_line() {
    let problem = |severity, line, column| Problem {
        severity,
        file: "portcullis.yml".into(),
        line,
        column,
        message: "message".to_owned(),
    };
    let problems = Problems(vec![problem(Severity::Error, 12, 7), problem(Severity::Warning, 0, 0)]);
    assert_eq!(problems.to_string(), "portcullis.yml:12:7: error: message\nportcullis.yml: warning: message");
}

#[test]
fn the_admin_address_of_a_file_that_is_wrong_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yml");
    let admin = |text: &str| {
        fs::write(&file, text).unwrap();
        Config::admin_address(&file)
    };
    for (text, address) in [
        ("version: 7\nlisten: { admin: \"[::]:9090\", http: 5 }\nno_such_key: 1", Some("[::]:9090")),
        ("listen: { https: [\"[::]:443\"] }", Some("127.0.0.1:9090")),
        ("version: 1", Some("127.0.0.1:9090")),
        ("listen: { admin: off }", None),
        ("listen: { admin: null }", None),
    ] {
        assert_eq!(admin(text).unwrap(), address.map(|address| address.parse().unwrap()), "{text}");
    }
    for text in ["listen: { admin: here }", "listen: [", "- a list"] {
        assert!(!admin(text).unwrap_err().0.is_empty(), "{text}");
    }
    assert!(Config::admin_address(&dir.path().join("none.yml")).is_err());
}
