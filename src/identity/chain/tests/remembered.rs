//! What outlives a login: the success cache, logins under way, tokens.

use super::*;

#[tokio::test]
async fn a_remembered_login_is_not_verified_again() {
    let directory = Arc::new(Directory::default());
    let chain = with_directory(Files::new(&[""]).chain(), 1, &directory);
    accepted(&chain, "dora", "directory").await;
    accepted(&chain, "dora", "directory").await;
    assert_eq!(asked(&directory), 1);
    assert_eq!(refused(&chain, "dora", "wrong").await, LoginError::Rejected);
    assert_eq!(asked(&directory), 2);
}

#[tokio::test]
async fn without_cache_every_login_is_verified() {
    let directory = Arc::new(Directory::default());
    let mut files = Files::new(&[]);
    files.config.cache = Duration::ZERO;
    let chain = with_directory(files.chain(), 0, &directory);
    accepted(&chain, "dora", "directory").await;
    accepted(&chain, "dora", "directory").await;
    assert_eq!(asked(&directory), 2);
}

#[tokio::test]
async fn a_changed_or_removed_line_ends_a_remembered_login_at_once() {
    let files = Files::new(&[&line("alice", "old")]);
    let chain = files.chain();
    accepted(&chain, "alice", "old").await;
    files.write(0, &line("alice", "new"));
    chain.refresh();
    assert_eq!(refused(&chain, "alice", "old").await, LoginError::Rejected);
    accepted(&chain, "alice", "new").await;
    files.write(0, "");
    chain.refresh();
    assert_eq!(refused(&chain, "alice", "new").await, LoginError::Rejected);
}

#[tokio::test]
async fn a_remembered_login_gives_way_to_an_earlier_provider() {
    let files = Files::new(&["", &line("alice", "second")]);
    let chain = files.chain();
    accepted(&chain, "alice", "second").await;
    files.write(0, &line("alice", "first"));
    chain.refresh();
    assert_eq!(refused(&chain, "alice", "second").await, LoginError::Rejected);
    assert_eq!(&*accepted(&chain, "alice", "first").await.via, "htpasswd");
}

/// A line that lets nobody in claims its name all the same.
#[tokio::test]
async fn a_locked_name_is_locked_for_those_behind_too() {
    let files = Files::new(&["", &line("alice", "second")]);
    let chain = files.chain();
    let alice = accepted(&chain, "alice", "second").await;
    files.write(0, "alice:!\n");
    chain.refresh();
    assert_eq!(refused(&chain, "alice", "second").await, LoginError::Rejected);
    assert_eq!(chain.recall("alice", &alice.via, alice.proof.as_str()).await, Ok(None));
    assert_eq!(chain.find("alice").await, Ok(None));
    files.write(0, "");
    chain.refresh();
    assert_eq!(chain.find("alice").await, Ok(Some(alice)));
}

#[tokio::test]
async fn a_reload_keeps_remembered_logins_and_ends_those_of_disabled_users() {
    let files = Files::new(&[&(line("alice", "secret") + &line("bob", "secret"))]);
    let chain = files.chain();
    accepted(&chain, "alice", "secret").await;
    accepted(&chain, "bob", "secret").await;

    let files = files.disabled("bob");
    // No thread is left for bcrypt: only what is remembered can pass.
    let busy = Arc::new(Workers::with(0, 0, Duration::ZERO));
    let file = Htpasswd::open_as(Arc::from("htpasswd"), files.path(0), busy).expect("readable");
    let next = Chain { files: vec![Arc::new(file)], ..chain }.rebuild(&files.config).expect("builds");
    accepted(&next, "alice", "secret").await;
    assert_eq!(refused(&next, "alice", "wrong").await, LoginError::Unavailable);
    assert_eq!(refused(&next, "bob", "secret").await, LoginError::Rejected);
}

#[tokio::test]
async fn a_reload_goes_on_with_the_files_there_are_and_looks_at_each() {
    let files = Files::new(&[&line("alice", "secret"), &line("bob", "secret")]);
    let chain = files.chain();
    let next = chain.rebuild(&files.config).expect("builds");
    assert!(chain.files.iter().zip(&next.files).all(|(one, other)| Arc::ptr_eq(one, other)));

    files.write(1, &line("carol", "secret"));
    let next = chain.rebuild(&files.config).expect("builds");
    accepted(&next, "carol", "secret").await;
    assert_eq!(refused(&next, "bob", "secret").await, LoginError::Rejected);
    assert_eq!(refused(&chain, "bob", "secret").await, LoginError::Rejected, "and for requests under way");

    // What a token says of who proved its user goes by the place.
    let mut turned = files.config.clone();
    turned.providers.reverse();
    let next = chain.rebuild(&turned).expect("builds");
    assert!(!chain.files.iter().any(|one| next.files.iter().any(|other| Arc::ptr_eq(one, other))));
    assert_eq!(&*accepted(&next, "carol", "secret").await.via, "htpasswd");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stands_in_the_way_of_no_ban() {
    let files = Files::new(&[&(line("alice", "secret") + &line("bob", "secret"))]);
    let chain = files.chain();
    fs::remove_file(files.path(0)).unwrap();
    let files = files.disabled("bob");
    let next = chain.rebuild(&files.config).expect("the last content holds");
    accepted(&next, "alice", "secret").await;
    assert_eq!(refused(&next, "bob", "secret").await, LoginError::Rejected);
    files.write(0, &line("carol", "secret"));
    next.refresh();
    accepted(&next, "carol", "secret").await;
    assert_eq!(refused(&next, "alice", "secret").await, LoginError::Rejected);

    let elsewhere = Files::new(&[""]);
    fs::remove_file(elsewhere.path(0)).unwrap();
    assert!(chain.rebuild(&elsewhere.config).is_err(), "another file has no last content");
}

#[tokio::test]
async fn identical_logins_at_the_same_time_are_verified_once() {
    let directory = Arc::new(Directory::default());
    let chain = Arc::new(with_directory(Files::new(&[]).chain(), 0, &directory));
    for (password, times) in [("wrong", 1), ("directory", 2)] {
        let logins: Vec<_> = (0..20)
            .map(|_| {
                let chain = Arc::clone(&chain);
                tokio::spawn(async move { chain.login(&login("dora", password), HERE).await.is_ok() })
            })
            .collect();
        for login in logins {
            assert_eq!(login.await.expect("runs"), password == "directory");
        }
        assert_eq!(asked(&directory), times);
    }
}

#[tokio::test]
async fn a_token_lives_as_long_as_what_proved_it() {
    let files = Files::new(&[&(line("alice", "secret") + &line("bob", "secret")), &line("carol", "secret")])
        .group("team-a", &["carol"])
        .disabled("bob");
    let chain = files.chain();
    let carol = accepted(&chain, "carol", "secret").await;
    let recalled = chain.recall("carol", &carol.via, carol.proof.as_str()).await;
    assert_eq!(recalled, Ok(Some(Arc::new(carol.clone()))));

    for (name, via, proof) in [
        ("carol", "htpasswd", carol.proof.as_str()),
        ("carol", "nobody", carol.proof.as_str()),
        ("carol", "htpasswd-2", ""),
        ("carol", "htpasswd-2", "other"),
        ("Carol", "htpasswd-2", carol.proof.as_str()),
        ("alice", "htpasswd", carol.proof.as_str()),
        ("", "htpasswd-2", carol.proof.as_str()),
    ] {
        assert_eq!(chain.recall(name, via, proof).await, Ok(None), "{name} {via} {proof}");
    }

    let bob = chain.members[0].provider.standing("bob").await.expect("answers").expect("known");
    assert_eq!(chain.recall("bob", "htpasswd", bob.proof.as_str()).await, Ok(None), "disabled");

    files.write(1, &line("carol", "secret"));
    chain.refresh();
    assert_eq!(
        chain.recall("carol", &carol.via, carol.proof.as_str()).await,
        Ok(None),
        "the same password, hashed anew"
    );
}

#[tokio::test]
async fn a_token_gives_way_to_an_earlier_provider() {
    let files = Files::new(&["", &line("alice", "second")]);
    let chain = files.chain();
    let alice = accepted(&chain, "alice", "second").await;
    let recall = async || chain.recall("alice", &alice.via, alice.proof.as_str()).await.map(|user| user.is_some());
    assert_eq!(recall().await, Ok(true));
    files.write(0, &line("alice", "first"));
    chain.refresh();
    assert_eq!(recall().await, Ok(false));
    files.write(0, "");
    chain.refresh();
    assert_eq!(recall().await, Ok(true));

    // One that is down did not know the name when the token was issued, and is not waited for.
    let directory = Arc::new(Directory { down: true, ..Directory::default() });
    let chain = with_directory(files.chain(), 0, &directory);
    assert!(chain.recall("alice", &alice.via, alice.proof.as_str()).await.is_ok_and(|user| user.is_some()));
}

#[tokio::test]
async fn a_token_counts_for_the_name_it_was_made_for() {
    let directory = Arc::new(Directory::default());
    let chain = with_directory(Files::new(&[]).chain(), 0, &directory);
    assert!(chain.recall("dora", "directory", "proof").await.expect("answers").is_some());
    assert_eq!(chain.recall("DORA", "directory", "proof").await, Ok(None));
}
