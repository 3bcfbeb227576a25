//! Logins that fail too often.

use super::*;
use crate::config::FailedLogins;

const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const LIMIT: Option<FailedLogins> = Some(FailedLogins { count: 3, per: Duration::from_secs(300) });

async fn from(chain: &Chain, client: IpAddr, username: &str, password: &str) -> Result<Principal, LoginError> {
    chain.login(&login(username, password), client).await
}

/// Fails until nothing is verified any more; how often it was.
async fn exhaust(chain: &Chain, client: IpAddr, username: &str) -> usize {
    for number in 0..20 {
        match from(chain, client, username, &format!("guess {number}")).await.expect_err("refused") {
            LoginError::Rejected => {}
            LoginError::Throttled { retry_after } => {
                assert!((1..=100).contains(&retry_after.as_secs()));
                return number;
            }
            LoginError::Unavailable | LoginError::Overloaded => panic!("unavailable"),
        }
    }
    panic!("never throttled");
}

fn is_throttled(outcome: &Result<Principal, LoginError>) -> bool {
    matches!(outcome, Err(LoginError::Throttled { .. }))
}

/// H17: by who is throttled one cannot tell who there is.
#[tokio::test(start_paused = true)]
async fn every_name_is_throttled_alike() {
    let files = Files::new(&[&(line("alice", "secret") + &line("bob", "secret") + "locked:!\n")]).disabled("bob");
    let chain = files.chain().limited(LIMIT);
    for name in ["alice", "bob", "locked", "nobody"] {
        assert_eq!(exhaust(&chain, HERE, name).await, 3, "{name}");
        assert!(is_throttled(&from(&chain, HERE, name, "secret").await), "{name}: with the right password too");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_verified_over_the_limit() {
    let directory = Arc::new(Directory::default());
    let chain = with_directory(Files::new(&[]).chain(), 0, &directory).limited(LIMIT);
    exhaust(&chain, HERE, "dora").await;
    assert_eq!(asked(&directory), 3);
    let begun = Instant::now();
    assert!(is_throttled(&from(&chain, HERE, "dora", "directory").await));
    assert_eq!(begun.elapsed(), Duration::ZERO, "at once");
    assert_eq!(asked(&directory), 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_locked_out_from_elsewhere() {
    let chain = Files::new(&[&(line("alice", "secret") + &line("bob", "secret"))]).chain().limited(LIMIT);
    exhaust(&chain, HERE, "alice").await;
    assert!(from(&chain, THERE, "alice", "secret").await.is_ok());
    assert!(from(&chain, HERE, "bob", "secret").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_succeeded_before_is_never_locked_out() {
    let mut files = Files::new(&[&line("alice", "secret")]);
    files.config.cache = Duration::ZERO;
    let directory = Arc::new(Directory::default());
    let chain = with_directory(files.chain(), 0, &directory).limited(LIMIT);
    // Proven from elsewhere, and no longer remembered by now.
    assert!(from(&chain, THERE, "dora", "directory").await.is_ok());
    exhaust(&chain, HERE, "dora").await;
    let before = asked(&directory);
    assert!(from(&chain, HERE, "dora", "directory").await.is_ok());
    assert_eq!(asked(&directory), before + 1, "it is verified");
    assert!(is_throttled(&from(&chain, HERE, "dora", "Directory").await), "and no other password");
}

#[tokio::test(start_paused = true)]
async fn what_succeeded_before_and_fails_now_is_a_guess_again() {
    let mut files = Files::new(&[&line("alice", "secret")]);
    files.config.cache = Duration::ZERO;
    let chain = files.chain().limited(LIMIT);
    assert!(from(&chain, HERE, "alice", "secret").await.is_ok());
    exhaust(&chain, HERE, "alice").await;
    files.write(0, &line("alice", "another"));
    chain.refresh();
    let (mut rejected, mut throttled) = (0, 0);
    for _ in 0..5 {
        match from(&chain, HERE, "alice", "secret").await.expect_err("refused") {
            LoginError::Rejected => rejected += 1,
            LoginError::Throttled { .. } => throttled += 1,
            LoginError::Unavailable | LoginError::Overloaded => panic!("unavailable"),
        }
    }
    assert!(rejected <= 1 && throttled >= 4, "{rejected} rejected, {throttled} throttled");
}

/// Whoever has gone is no exception: their machines go on trying.
#[tokio::test(start_paused = true)]
async fn what_succeeded_before_is_a_guess_again_once_the_user_is_gone() {
    let mut files = Files::new(&[&line("alice", "secret")]);
    files.config.cache = Duration::ZERO;
    let chain = files.chain().limited(LIMIT);
    assert!(from(&chain, HERE, "alice", "secret").await.is_ok());
    files.write(0, &line("bob", "secret"));
    chain.refresh();
    let mut rejected = 0;
    while let Err(LoginError::Rejected) = from(&chain, HERE, "alice", "secret").await {
        rejected += 1;
    }
    assert_eq!(rejected, 3);
    assert!(
        !chain.successes.knows(&chain.key(&chain.members[0], &login("alice", "secret"))),
        "and is verified no more"
    );
}

#[tokio::test]
async fn the_same_login_at_the_same_time_counts_once_and_is_verified_once() {
    let directory = Arc::new(Directory::default());
    let chain = Arc::new(with_directory(Files::new(&[]).chain(), 0, &directory).limited(LIMIT));
    let many = |password: &'static str| {
        let one = |number: u8| {
            let chain = Arc::clone(&chain);
            let client = if number.is_multiple_of(2) { HERE } else { THERE };
            tokio::spawn(async move { from(&chain, client, "dora", password).await })
        };
        (0..50).map(one).collect::<Vec<_>>()
    };
    for wrong in many("wrong") {
        assert_eq!(wrong.await.expect("runs").expect_err("refused"), LoginError::Rejected);
    }
    assert_eq!(asked(&directory), 1);
    for right in many("directory") {
        assert!(right.await.expect("runs").is_ok());
    }
    assert_eq!(asked(&directory), 2);
    assert_eq!(exhaust(&chain, HERE, "dora").await, 2, "one was used");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_no_failure() {
    let directory = Arc::new(Directory { down: true, ..Directory::default() });
    let chain = with_directory(Files::new(&[]).chain(), 0, &directory).limited(LIMIT);
    for _ in 0..10 {
        assert_eq!(from(&chain, HERE, "dora", "x").await.expect_err("refused"), LoginError::Unavailable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_was_refused_elsewhere_counts_and_waits() {
    let chain = Files::new(&[&line("alice", "secret")]).chain().limited(LIMIT);
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(chain.refuse(begun, "alice", HERE).await, LoginError::Rejected);
        assert_eq!(begun.elapsed(), GRID);
    }
    assert!(matches!(chain.refuse(Instant::now(), "alice", HERE).await, LoginError::Throttled { .. }));
    assert!(is_throttled(&from(&chain, HERE, "alice", "secret").await));
}

#[tokio::test(start_paused = true)]
async fn what_failed_counts_after_a_reload() {
    let files = Files::new(&[&line("alice", "secret")]);
    let chain = files.chain().limited(LIMIT);
    exhaust(&chain, HERE, "alice").await;
    let next = chain.rebuild(&files.config).expect("builds");
    assert!(is_throttled(&from(&next, HERE, "alice", "secret").await));
    let unlimited = next.rebuild(&files.config).expect("builds").limited(None);
    assert!(from(&unlimited, HERE, "alice", "secret").await.is_ok());
}
