//! The password file while the gate serves.

use std::{
    fs::{self, File},
    process::Command,
};

use crate::support::{ADMIN, ALICE, BOB, Login, Portcullis, Registry, eventually, htpasswd_line};

const CAROL: Login = Login::new("carol", "carol-password");

fn logs_in(gate: &Portcullis, login: Login) -> bool {
    let answer = gate.curl("/v2/").user(login).send();
    assert!(matches!(answer.status, 200 | 401), "{} {}", answer.status, answer.text());
    answer.status == 200
}

/// Replaces the file in one step, as editors and configuration management do.
fn replace(gate: &Portcullis, lines: &str) {
    let draft = gate.dir().join("htpasswd.new");
    fs::write(&draft, lines).unwrap();
    fs::rename(draft, gate.htpasswd()).unwrap();
}

#[test]
fn a_replaced_file_is_in_force_soon() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert!(logs_in(&gate, ALICE) && !logs_in(&gate, CAROL));
    replace(&gate, &[CAROL, BOB].map(htpasswd_line).concat());
    eventually("carol is let in", || logs_in(&gate, CAROL));
    assert!(!logs_in(&gate, ALICE), "alice was proven before, and her line is gone");
    assert!(logs_in(&gate, BOB));
}

#[test]
fn an_empty_file_means_nobody() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert!(logs_in(&gate, ALICE));
    File::options().write(true).truncate(true).open(gate.htpasswd()).unwrap();
    eventually("alice is refused", || !logs_in(&gate, ALICE));
    for login in [ALICE, ADMIN, Login::new("", ""), Login::new("alice", "")] {
        assert!(!logs_in(&gate, login), "{login:?}");
    }
}

#[test]
fn an_unreadable_file_keeps_the_last_one() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert!(logs_in(&gate, ALICE));
    // Permissions do not stop root; a folder in its place stops everybody.
    fs::remove_file(gate.htpasswd()).unwrap();
    fs::create_dir(gate.htpasswd()).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(logs_in(&gate, ALICE));
    assert!(logs_in(&gate, BOB), "not from the cache of logins alone");
    assert!(!logs_in(&gate, CAROL));

    fs::remove_dir(gate.htpasswd()).unwrap();
    replace(&gate, &htpasswd_line(CAROL));
    eventually("carol is let in", || logs_in(&gate, CAROL));
    assert!(!logs_in(&gate, ALICE));
}

#[test]
fn a_second_change_within_one_tick_of_the_clock_is_seen() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let changed = |login: Login| Login::new(login.name, "another password");
    replace(&gate, &htpasswd_line(ALICE));
    eventually("bob is gone", || !logs_in(&gate, BOB));
    let written = fs::metadata(gate.htpasswd()).unwrap().modified().unwrap();

    // The same name, the same length, the same file, the same time.
    let file = File::options().write(true).truncate(true).open(gate.htpasswd()).unwrap();
    fs::write(gate.htpasswd(), htpasswd_line(changed(ALICE))).unwrap();
    file.set_modified(written).unwrap();
    assert_eq!(fs::metadata(gate.htpasswd()).unwrap().modified().unwrap(), written);
    eventually("the new password is in force", || logs_in(&gate, changed(ALICE)));
    assert!(!logs_in(&gate, ALICE));
}

#[test]
fn a_token_ends_with_the_password_that_proved_it() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    let ask = || gate.curl("/v2/").bearer(&token).send();
    assert_eq!(ask().status, 200);
    replace(&gate, &[Login::new(ALICE.name, "another password"), BOB].map(htpasswd_line).concat());
    eventually("the token is refused", || ask().status == 401);
    assert!(ask().header("www-authenticate").unwrap().contains(r#"error="invalid_token""#));
}

#[test]
fn what_htpasswd_writes_is_read() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let status = Command::new("htpasswd").arg("-bB").arg(gate.htpasswd()).args([CAROL.name, CAROL.password]).status();
    assert!(status.expect("htpasswd is not installed: run tests/run.sh").success());
    eventually("carol is let in", || logs_in(&gate, CAROL));
    assert!(logs_in(&gate, ALICE), "the other lines stay");
}

#[test]
fn a_bad_line_is_a_bad_line_not_a_bad_file() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let lines = format!(
        "# users\n\nno colon here\n:$2y$05$abcdefghijklmnopqrstuv\nsha:{{SHA}}fEqNCco3Yq9h5ZUglD3CZJT4lBs=\nplain:plain\nempty:\n{}{}\r\n{}",
        "x".repeat(70_000) + "\n",
        htpasswd_line(ALICE).trim_end(),
        htpasswd_line(CAROL).trim_end(),
    );
    replace(&gate, &lines);
    eventually("carol is let in", || logs_in(&gate, CAROL));
    assert!(logs_in(&gate, ALICE));
    for login in [Login::new("sha", "hello"), Login::new("plain", "plain"), Login::new("empty", ""), Login::new("", "")]
    {
        assert!(!logs_in(&gate, login), "{login:?}");
    }
}
