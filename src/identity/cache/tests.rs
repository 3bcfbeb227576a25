use std::{
    future,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

const LONG: Duration = Duration::from_secs(300);

fn login(username: &str, password: &str) -> BasicCredentials {
    BasicCredentials::new(username, password).expect("well formed")
}

fn standing(proof: &str) -> Standing {
    Standing { name: Arc::from("alice"), groups: Vec::new(), proof: Proof(proof.into()) }
}

fn successes() -> Successes {
    Successes::new().expect("random numbers")
}

#[test]
fn keys_tell_providers_users_and_passwords_apart() {
    let successes = successes();
    let keys = [("a", "bc", "d"), ("ab", "c", "d"), ("a", "b", "cd"), ("a", "bc", "D"), ("", "abc", "d")]
        .map(|(provider, username, password)| successes.key(provider, &login(username, password)));
    for (place, key) in keys.iter().enumerate() {
        assert!(!keys[..place].contains(key));
    }
    assert_eq!(keys[0], successes.key("a", &login("bc", "d")));
}

#[test]
fn keys_of_one_process_mean_nothing_to_another() {
    let login = login("alice", "secret");
    assert_ne!(successes().key("htpasswd", &login), successes().key("htpasswd", &login));
}

#[test]
fn a_success_is_remembered_for_its_lifetime() {
    let successes = successes();
    let key = successes.key("htpasswd", &login("alice", "secret"));
    assert!(successes.recall(&key, LONG).is_none());
    successes.remember(key, &standing("proof"));
    assert_eq!(successes.recall(&key, LONG).map(|success| success.proof), Some(Proof("proof".into())));
    assert!(successes.recall(&successes.key("htpasswd", &login("alice", "Secret")), LONG).is_none());

    std::thread::sleep(Duration::from_millis(20));
    assert!(successes.recall(&key, Duration::from_millis(10)).is_none());
    assert!(successes.knows(&key), "it was no guess");
    successes.forget(&key);
    assert!(successes.recall(&key, LONG).is_none() && !successes.knows(&key));
}

#[test]
fn no_lifetime_means_no_cache() {
    let successes = successes();
    let key = successes.key("htpasswd", &login("alice", "secret"));
    successes.remember(key, &standing("proof"));
    assert!(successes.recall(&key, Duration::ZERO).is_none());
}

#[test]
fn memory_is_bounded() {
    let successes = successes();
    for number in 0..CAPACITY + 2000 {
        let key = successes.key("htpasswd", &login("alice", &number.to_string()));
        successes.remember(key, &standing("proof"));
    }
    successes.entries.run_pending_tasks();
    assert!(successes.entries.entry_count() <= CAPACITY);
}

#[tokio::test]
async fn the_same_work_at_the_same_time_is_done_once() {
    let (flights, done) = (Arc::new(Flights::new()), Arc::new(AtomicUsize::new(0)));
    let runs: Vec<_> = (0..20_u8)
        .map(|number| {
            let (flights, done) = (Arc::clone(&flights), Arc::clone(&done));
            tokio::spawn(async move {
                let work = async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    done.fetch_add(1, Ordering::SeqCst)
                };
                flights.run([number % 2; 32], work).await
            })
        })
        .collect();
    for run in runs {
        assert!(run.await.expect("runs") < 2);
    }
    assert_eq!(done.load(Ordering::SeqCst), 2);
    assert!(flights.0.lock().expect("sound").is_empty());
    assert_eq!(flights.run([0; 32], async { 7 }).await, 7, "a later one works anew");
}

#[tokio::test]
async fn who_gives_up_is_succeeded() {
    let flights = Arc::new(Flights::new());
    let here = Arc::clone(&flights);
    let first = tokio::spawn(async move { here.run([0; 32], future::pending::<u8>()).await });
    tokio::task::yield_now().await;
    let here = Arc::clone(&flights);
    let second = tokio::spawn(async move { here.run([0; 32], async { 2 }).await });
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    first.abort();
    assert_eq!(second.await.expect("runs"), 2);
    assert!(flights.0.lock().expect("sound").is_empty());
}
