use std::{fs, process::Command, time::Duration};

use tempfile::TempDir;
use tokio::time;

use super::*;

fn line(user: &str, password: &str, cost: u32) -> String {
    hash_line(user, password.as_bytes(), cost)
}

/// As a tool that takes any password makes it.
fn hash_line(user: &str, password: &[u8], cost: u32) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, cost).expect("hashes"))
}

fn file(content: impl AsRef<[u8]>) -> (TempDir, Htpasswd) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("htpasswd");
    fs::write(&path, content).expect("written");
    let file = Htpasswd::open(path).expect("readable");
    (folder, file)
}

/// Not through [`BasicCredentials::new`]: the provider has to stand on its own.
fn login(username: &str, password: &str) -> BasicCredentials {
    BasicCredentials { username: username.to_owned(), password: Secret::new(password.to_owned()) }
}

async fn outcome(file: &Htpasswd, username: &str, password: &str) -> &'static str {
    match file.authenticate(&login(username, password)).await.expect("answers") {
        Outcome::Accepted(standing) => {
            assert_eq!(&*standing.name, username);
            assert_eq!(file.standing(username).await.expect("answers"), Some(standing));
            "accepted"
        }
        Outcome::Rejected => "rejected",
        Outcome::Unknown => "unknown",
    }
}

#[tokio::test]
async fn the_right_password_is_accepted_and_no_other() {
    let (_folder, file) = file(line("alice", "p:ss wörd", 4) + &line("bob", "other", 4));
    assert_eq!(outcome(&file, "alice", "p:ss wörd").await, "accepted");
    assert_eq!(outcome(&file, "alice", "other").await, "rejected");
    assert_eq!(outcome(&file, "alice", "p:ss wörd ").await, "rejected");
    assert_eq!(outcome(&file, "Alice", "p:ss wörd").await, "unknown");
    assert_eq!(outcome(&file, "carol", "other").await, "unknown");
}

/// H1
#[tokio::test]
async fn all_prefixes_verify() {
    for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
        let hash = bcrypt::hash_with_result("secret", 4).expect("hashes").format_for_version(version);
        let (_folder, file) = file(format!("alice:{hash}"));
        assert_eq!(outcome(&file, "alice", "secret").await, "accepted");
    }
}

#[tokio::test]
async fn a_bad_line_never_matches_and_its_name_stays_claimed() {
    let good = line("alice", "secret", 4);
    let hash = good.trim_end().rsplit(':').next().expect("a hash").to_owned();
    let bad = format!(
        "plain:secret\ncheap:{}\ncut:{}\nlocked:!\n",
        hash.replacen("$04$", "$03$", 1),
        hash.chars().take(59).collect::<String>()
    );
    let (_folder, file) = file(format!("{bad}{good}"));
    assert_eq!(file.problems().len(), 4);
    for user in ["plain", "cheap", "cut", "locked"] {
        assert_eq!(outcome(&file, user, "secret").await, "rejected", "{user}");
        assert_eq!(file.standing(user).await.expect("answers"), None);
    }
    assert_eq!(outcome(&file, "alice", "secret").await, "accepted");
}

/// H15
#[tokio::test]
async fn the_empty_password_matches_no_hash() {
    let (_folder, file) = file(line("alice", "", 4) + "bob:\n");
    assert_eq!(outcome(&file, "alice", "").await, "rejected");
    assert_eq!(outcome(&file, "bob", "").await, "rejected");
    assert_eq!(outcome(&file, "", "").await, "unknown");
}

/// H14
#[tokio::test]
async fn passwords_are_not_cut_at_72_bytes() {
    let full = "x".repeat(72);
    let (_folder, file) = file(line("alice", &full, 4) + &line("bob", &"x".repeat(300), 4));
    assert_eq!(outcome(&file, "alice", &full).await, "accepted");
    for length in [71, 73, 80, 300] {
        assert_eq!(outcome(&file, "alice", &"x".repeat(length)).await, "rejected", "{length}");
    }
    assert_eq!(outcome(&file, "bob", &"x".repeat(300)).await, "rejected", "made from a cut password");
}

/// H14
#[tokio::test]
async fn passwords_are_not_cut_at_a_nul() {
    let (_folder, file) = file(line("alice", "secret", 4) + &hash_line("bob", b"sec\0ret", 4));
    for password in ["secret\0", "secret\0x", "\0secret"] {
        assert_eq!(outcome(&file, "alice", password).await, "rejected");
    }
    assert_eq!(outcome(&file, "bob", "sec\0ret").await, "rejected");
    assert_eq!(outcome(&file, "bob", "sec").await, "rejected");
}

/// H16
#[tokio::test]
async fn normal_forms_and_cases_are_different_users() {
    let (_folder, file) = file(line("Zo\u{eb}", "nfc", 4) + &line("Zoe\u{308}", "nfd", 4));
    assert_eq!(file.problems(), []);
    assert_eq!(outcome(&file, "Zo\u{eb}", "nfc").await, "accepted");
    assert_eq!(outcome(&file, "Zo\u{eb}", "nfd").await, "rejected");
    assert_eq!(outcome(&file, "Zoe\u{308}", "nfd").await, "accepted");
    assert_eq!(outcome(&file, "zo\u{eb}", "nfc").await, "unknown");
}

/// H17
#[test]
fn every_refusal_is_the_work_of_the_highest_cost() {
    for highest in 4..=17 {
        let work = |costs: std::ops::Range<u32>| costs.map(|cost| 1_u64 << cost).sum::<u64>();
        assert_eq!(work(remainder(None, highest)), 1 << highest);
        for own in 4..=highest {
            assert_eq!((1 << own) + work(remainder(Some(own), highest)), 1 << highest);
        }
    }
}

/// H17
#[tokio::test]
async fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    // Highest cost, lowest cost, and a line that never matches.
    let lines = line("slow", "x", 8) + &line("quick", "x", 4) + "broken:x\n";
    let (_folder, file) = file(lines);
    let long = "x".repeat(73);
    let logins = [
        ("slow", "secret"),
        ("nobody", "secret"),
        ("quick", "secret"),
        ("broken", "secret"),
        ("slow", long.as_str()),
        ("slow", "\0"),
        ("nobody", ""),
    ];
    let mut shortest = [Duration::MAX; 8];
    // In turns, so that a busy machine slows all of them.
    for _ in 0..8 {
        for ((user, password), shortest) in logins.iter().zip(&mut shortest) {
            let begun = time::Instant::now();
            assert_ne!(outcome(&file, user, password).await, "accepted");
            *shortest = begun.elapsed().min(*shortest);
        }
        let begun = time::Instant::now();
        file.spend().await;
        shortest[7] = begun.elapsed().min(shortest[7]);
    }
    for (place, time) in shortest.iter().enumerate() {
        assert!(*time > shortest[0] / 3 && *time < shortest[0] * 3, "{place}: {shortest:?}");
    }
}

/// H20
#[tokio::test(flavor = "current_thread")]
async fn the_event_loop_goes_on_while_passwords_are_verified() {
    let (_folder, file) = file(line("alice", "x", 9));
    let file = Arc::new(file);
    let logins: Vec<_> = (0..8)
        .map(|_| {
            let file = Arc::clone(&file);
            tokio::spawn(async move { outcome(&file, "alice", "secret").await })
        })
        .collect();
    let mut turns = 0;
    while !logins.iter().all(tokio::task::JoinHandle::is_finished) {
        time::sleep(Duration::from_millis(1)).await;
        turns += 1;
    }
    assert!(turns > 2 * logins.len(), "{turns} turns of the loop");
}

#[tokio::test]
async fn an_overload_is_no_verdict() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("htpasswd");
    fs::write(&path, line("alice", "secret", 4)).expect("written");
    let workers = Arc::new(Workers::with(0, 0, Duration::from_secs(1)));
    let file = Htpasswd::open_as(Arc::from("htpasswd-2"), path, workers).expect("readable");
    for user in ["alice", "nobody"] {
        let error = file.authenticate(&login(user, "secret")).await.expect_err("cannot tell");
        assert_eq!(
            error.to_string(),
            "identity provider htpasswd-2 cannot answer: too many logins wait to be verified"
        );
    }
}

/// H18
#[tokio::test]
async fn changed_content_is_in_force_after_a_look() {
    let (folder, file) = file(line("alice", "old", 4));
    let path = folder.path().join("htpasswd");
    let before = file.standing("alice").await.expect("answers").expect("known");

    fs::write(folder.path().join("new"), line("alice", "new", 4)).expect("written");
    fs::rename(folder.path().join("new"), &path).expect("replaced");
    assert_eq!(outcome(&file, "alice", "old").await, "accepted");
    assert!(file.reread());
    assert_eq!(outcome(&file, "alice", "old").await, "rejected");
    assert_eq!(outcome(&file, "alice", "new").await, "accepted");
    let after = file.standing("alice").await.expect("answers").expect("known");
    assert_ne!(before.proof, after.proof);

    fs::write(&path, "").expect("written");
    assert!(file.reread());
    assert_eq!(outcome(&file, "alice", "new").await, "unknown");
    assert_eq!(file.standing("alice").await.expect("answers"), None);
}

/// H19
#[tokio::test]
async fn a_second_change_with_the_same_time_and_length_is_seen() {
    let (folder, file) = file("");
    let path = folder.path().join("htpasswd");
    let now = std::time::SystemTime::now();
    for password in ["one", "two"] {
        fs::write(&path, line("alice", password, 4)).expect("written");
        File::options().write(true).open(&path).expect("opens").set_modified(now).expect("set");
        assert!(file.reread());
        assert_eq!(outcome(&file, "alice", password).await, "accepted");
    }
}

/// H18
#[tokio::test]
async fn an_unreadable_file_keeps_the_last_content() {
    let (folder, file) = file(line("alice", "secret", 4));
    let path = folder.path().join("htpasswd");
    assert!(file.reread());

    fs::remove_file(&path).expect("removed");
    assert!(!file.reread());
    assert_eq!(outcome(&file, "alice", "secret").await, "accepted");
    assert_eq!(outcome(&file, "alice", "wrong").await, "rejected");
    assert_eq!(outcome(&file, "bob", "secret").await, "unknown");

    fs::create_dir(&path).expect("made");
    assert!(!file.reread());
    fs::remove_dir(&path).expect("removed");

    fs::write(&path, line("bob", "secret", 4)).expect("written");
    assert!(file.reread());
    assert_eq!(outcome(&file, "alice", "secret").await, "unknown");
    assert_eq!(outcome(&file, "bob", "secret").await, "accepted");
}

#[test]
fn what_is_no_file_of_bearable_size_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("runs").success());
    for path in [folder.path().to_owned(), pipe, PathBuf::from("/dev/zero")] {
        let error = Htpasswd::open(path).err().expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let error = Htpasswd::open(folder.path().join("none")).err().expect("refused");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let huge = folder.path().join("huge");
    File::create(&huge).and_then(|file| file.set_len(MAX_FILE + 1)).expect("made");
    let error = Htpasswd::open(huge).err().expect("refused");
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn problems_name_file_and_line() {
    let (folder, file) = file(format!("# users\nno colon\n{}", line("alice", "secret", 4)));
    let [problem] = &file.problems()[..] else { panic!("one problem") };
    assert_eq!((problem.file.as_path(), problem.line), (folder.path().join("htpasswd").as_path(), 2));
}

#[tokio::test]
async fn a_printed_line_logs_in() {
    for password in ["secret", "p:ss wörd", " blanks ", &"ü".repeat(36)] {
        let line = hash_password("zoë", &Secret::new(password.to_owned()), 4).expect("a line");
        assert!(line.starts_with("zoë:$2y$04$"), "{line}");
        let (_folder, file) = file(&line);
        assert_eq!(file.problems(), []);
        assert_eq!(outcome(&file, "zoë", password).await, "accepted");
    }
}

#[test]
fn what_could_not_log_in_is_not_hashed() {
    let secret = |text: &str| Secret::new(text.to_owned());
    for cost in [0, 3, 18, 31, 32] {
        assert!(hash_password("alice", &secret("secret"), cost).is_err(), "{cost}");
    }
    for password in ["", "sec\0ret", "sec\nret", &"x".repeat(73)] {
        let error = hash_password("alice", &secret(password), 4).expect_err("refused");
        assert!(password.is_empty() || !error.contains(password), "{error}");
    }
    for user in ["", "al:ice", " alice", "alice\t", "#alice", "\u{feff}alice", "al\0ice", &"x".repeat(3000)] {
        assert!(hash_password(user, &secret("secret"), 4).is_err(), "{user:?}");
    }
}
