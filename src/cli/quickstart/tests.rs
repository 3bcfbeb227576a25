use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt};

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: QuickstartArgs,
}

fn parse(dir: &Path, more: &[&str]) -> QuickstartArgs {
    let words = ["portcullis", dir.to_str().unwrap()].into_iter().chain(more.iter().copied());
    Cli::try_parse_from(words).unwrap().args
}

/// Runs it and returns what it printed.
fn quickstart(dir: &Path, more: &[&str]) -> anyhow::Result<String> {
    let mut out = Vec::new();
    make(&parse(dir, more), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in [dir.to_owned(), dir.join("tls")] {
        for entry in
            fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file())
        {
            let name = entry.path().strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn makes_everything_and_keeps_secrets_to_the_owner() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new");
    let said = quickstart(&dir, &["--host", "Registry.Example.com", "--user", "olga"]).unwrap();

    let made: Vec<_> = files(&dir).into_keys().collect();
    assert_eq!(
        made,
        ["htpasswd", "password", "portcullis.yml", "tls/ca.crt", "tls/ca.key", "tls/server.crt", "tls/server.key"]
    );
    for secret in ["htpasswd", "password", "tls/ca.key", "tls/server.key"] {
        assert_eq!(mode(&dir.join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("tls/ca.crt")), 0o644);

    let password = fs::read_to_string(dir.join("password")).unwrap();
    assert_eq!(password.trim_end().len(), 24);
    assert!(said.contains(password.trim_end()), "{said}");
    assert!(said.contains("docker login -u olga localhost:8443"), "{said}");
    assert!(
        bcrypt::verify(
            password.trim_end(),
            fs::read_to_string(dir.join("htpasswd")).unwrap().trim_end().strip_prefix("olga:").unwrap()
        )
        .unwrap()
    );
}

#[test]
fn the_configuration_says_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let more = [
        "--host",
        "registry.example.com",
        "--host",
        "192.0.2.7",
        "--https-port",
        "18443",
        "--listen",
        "::",
        "--upstream",
        "unix:/run/r.sock",
    ];
    quickstart(dir.path(), &more).unwrap();
    let config = Config::load(&dir.path().join("portcullis.yml")).unwrap();

    let registry = &config.registries[0];
    let hosts: Vec<_> = registry.hosts.iter().map(|host| host.name.to_string()).collect();
    assert_eq!(hosts, ["localhost", "127.0.0.1", "::1", "registry.example.com", "192.0.2.7"]);
    assert_eq!(registry.upstream.servers[0].url, crate::config::ServerUrl::Unix("/run/r.sock".into()));
    assert_eq!(config.listen.https, ["[::]:18443".parse().unwrap()]);
    assert!(config.listen.http.is_empty());
    assert_eq!(config.listen.admin, Some("127.0.0.1:9090".parse().unwrap()));
}

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    quickstart(dir.path(), &[]).unwrap();
    let before = files(dir.path());
    let said =
        quickstart(dir.path(), &["--host", "other.example.com", "--https-port", "1", "--user", "other"]).unwrap();

    assert_eq!(files(dir.path()), before);
    assert!(!said.contains("  made  "), "{said}");
    assert!(said.contains("kept  portcullis.yml"), "{said}");
    assert!(said.contains("server.crt does not name other.example.com"), "{said}");
    assert!(said.contains("docker login -u admin localhost:8443"), "the user and port that are in force: {said}");
    assert!(!said.contains(String::from_utf8_lossy(&before["password"]).trim_end()), "{said}");
}

#[test]
fn an_interrupted_run_is_completed() {
    for lost in ["tls/server.crt", "htpasswd", "portcullis.yml"] {
        let dir = tempfile::tempdir().unwrap();
        quickstart(dir.path(), &[]).unwrap();
        let mut before = files(dir.path());
        fs::remove_file(dir.path().join(lost)).unwrap();
        quickstart(dir.path(), &[]).unwrap();

        let mut after = files(dir.path());
        assert!(after.remove(lost).is_some(), "{lost}");
        before.remove(lost);
        assert_eq!(after, before, "{lost}");
    }
}

#[test]
fn a_certificate_without_its_key_is_an_error() {
    for (lost, named) in [("tls/server.key", "tls/server.crt"), ("tls/ca.key", "tls/ca.crt")] {
        let dir = tempfile::tempdir().unwrap();
        quickstart(dir.path(), &[]).unwrap();
        fs::remove_file(dir.path().join(lost)).unwrap();
        if lost == "tls/ca.key" {
            assert!(quickstart(dir.path(), &[]).is_ok(), "the CA's key may be kept elsewhere");
            fs::remove_file(dir.path().join("tls/server.crt")).unwrap();
        }
        let error = quickstart(dir.path(), &[]).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains(lost), "{error}");
        assert!(dir.path().join(named).exists());
    }
}

#[test]
fn a_link_to_nowhere_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.join("password")).unwrap();
    assert!(quickstart(&folder, &[]).is_err());
    assert!(!elsewhere.exists());
}

#[test]
fn arguments_that_cannot_be_right_are_refused() {
    for wrong in [
        ["--host", "a.example.com:443"],
        ["--host", "https://a"],
        ["--host", "a b"],
        ["--upstream", "127.0.0.1:5000"],
        ["--upstream", "http://"],
        ["--upstream", "http://a\" b"],
        ["--user", "a:b"],
        ["--user", ""],
        ["--user", "a/b"],
        ["--https-port", "0"],
        ["--listen", "localhost"],
    ] {
        let words = ["portcullis", "/nowhere"].into_iter().chain(wrong);
        assert!(Cli::try_parse_from(words).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_path_is_one_word_for_the_shell() {
    assert_eq!(shell_word(Path::new("/a/b-c.d")), "/a/b-c.d");
    assert_eq!(shell_word(Path::new("/a b")), "'/a b'");
    assert_eq!(shell_word(Path::new("/it's")), r"'/it'\''s'");
}
