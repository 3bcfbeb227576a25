//! What one client leaves to the others.

use tokio::{task::JoinHandle, time::Instant};

use super::*;

const TOTAL: u64 = 64 * MIB;
/// More than any place takes.
const ONE: u64 = MIB;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn greedy() -> IpAddr {
    ip("192.0.2.1")
}

fn other() -> IpAddr {
    ip("192.0.2.2")
}

fn held(budget: &Arc<Budget>, client: IpAddr) -> u64 {
    budget.blobs.lane(client).held()
}

/// A place, if there is one at once.
async fn at_once(budget: &Arc<Budget>, client: IpAddr, demand: Demand) -> Option<Place> {
    timeout(Duration::ZERO, budget.place(client, demand)).await.ok().map(|place| place.expect("no time has passed"))
}

/// All that the client gets at once.
async fn all(budget: &Arc<Budget>, client: IpAddr, demand: Demand) -> Vec<Place> {
    let mut places = Vec::new();
    while let Some(place) = at_once(budget, client, demand).await {
        places.push(place);
    }
    places
}

fn wait(budget: &Arc<Budget>, client: IpAddr) -> JoinHandle<Result<Place, Full>> {
    let budget = Arc::clone(budget);
    tokio::spawn(async move { budget.place(client, BLOB).await })
}

/// Lets everybody who can go on do so.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn one_client_alone_has_half_and_leaves_the_rest_to_others() {
    let budget = budget(TOTAL);
    let places = all(&budget, greedy(), BLOB).await;
    assert!((TOTAL / 2..TOTAL / 2 + ONE).contains(&used(&budget)), "{}", used(&budget));

    // It waits, many times over, and nobody waits behind it.
    let waiters: Vec<_> = (0..50).map(|_| wait(&budget, greedy())).collect();
    settle().await;
    assert_eq!(waiting(&budget), waiters.len());
    let others = all(&budget, other(), BLOB).await;
    let part = held(&budget, other());
    assert!((TOTAL / 4..TOTAL / 4 + ONE).contains(&part), "the quarter is for everybody: {part}");
    let third = all(&budget, ip("192.0.2.3"), BLOB).await;
    assert!(used(&budget) > for_blobs(TOTAL) - ONE && third.len() > 10, "{}", third.len());

    let began = Instant::now();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap_err(), Full);
    }
    assert!(began.elapsed() <= PATIENCE);
    drop((places, others, third));
    assert_eq!((used(&budget), waiting(&budget), known(&budget)), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_others_give_back_is_for_those_who_have_less() {
    let budget = budget(TOTAL);
    let _greedy = all(&budget, greedy(), BLOB).await;
    let mut others = fill(&budget);
    let (first, next, last) = (wait(&budget, greedy()), wait(&budget, other()), wait(&budget, other()));
    settle().await;
    assert_eq!(waiting(&budget), 3);
    others.truncate(others.len() - 2);
    settle().await;
    assert!(!first.is_finished() && next.is_finished() && last.is_finished());
    assert_eq!(first.await.unwrap().unwrap_err(), Full);
}

#[tokio::test(start_paused = true)]
async fn a_client_goes_on_once_it_holds_less() {
    let budget = budget(TOTAL);
    let mut places = all(&budget, greedy(), BLOB).await;
    let _others = fill(&budget);
    let (gone, next) = (wait(&budget, greedy()), wait(&budget, greedy()));
    settle().await;
    // The first to be served leaves.
    gone.abort();
    while !next.is_finished() {
        assert!(held(&budget, greedy()) > TOTAL / 4, "it may have its part");
        places.pop();
        settle().await;
    }
    let part = held(&budget, greedy());
    assert!((TOTAL / 4..TOTAL / 4 + ONE).contains(&part), "{part}");
    assert!(used(&budget) > TOTAL / 2);
    assert_eq!(waiting(&budget), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_goes_on_once_there_is_plenty() {
    let budget = budget(TOTAL);
    let places = all(&budget, greedy(), BLOB).await;
    let others = all(&budget, other(), BLOB).await;
    let next = wait(&budget, greedy());
    settle().await;
    assert!(!next.is_finished());
    budget.resize(2 * TOTAL);
    settle().await;
    assert!(next.is_finished());
    budget.resize(TOTAL);
    let next = wait(&budget, greedy());
    settle().await;
    drop(others);
    assert!(held(&budget, greedy()) > TOTAL / 2, "it still holds more than its part, and that is more than half");
    settle().await;
    assert!(!next.is_finished());
    drop(places);
    settle().await;
    assert!(next.is_finished());
}

#[tokio::test(start_paused = true)]
async fn its_own_manifests_do_not_wait_behind_its_blobs() {
    let budget = budget(TOTAL);
    let _blobs = all(&budget, greedy(), BLOB).await;
    // They have a part, too.
    let small = all(&budget, greedy(), manifest(60_000)).await;
    let held = budget.small.lane(greedy()).held();
    assert!((TOTAL / 4..TOTAL / 4 + ONE).contains(&held), "{held}");
    assert!(at_once(&budget, other(), manifest(60_000)).await.is_some());
    assert!(at_once(&budget, other(), BLOB).await.is_some());
    drop(small);
}

#[tokio::test(start_paused = true)]
async fn windows_count_for_their_client() {
    let budget = budget(TOTAL);
    let mut windows = vec![budget.window(greedy(), u64::MAX).unwrap()];
    assert_eq!(held(&budget, greedy()), windows[0].size());
    windows.extend(std::iter::from_fn(|| budget.window(greedy(), u64::MAX)));
    let _places = all(&budget, greedy(), PUSH).await;
    assert!(used(&budget) < TOTAL / 2 + ONE);
    drop(windows.pop());
    assert!(budget.window(greedy(), u64::MAX).is_none(), "it has had its part");
    assert!(budget.window(other(), u64::MAX).is_some());
}

#[test]
fn a_network_of_ipv6_is_one_client() {
    let budget = budget(TOTAL);
    let lane = budget.blobs.lane(ip("2001:db8::1"));
    assert!(Arc::ptr_eq(&lane, &budget.blobs.lane(ip("2001:db8::ffff:1"))));
    assert!(!Arc::ptr_eq(&lane, &budget.blobs.lane(ip("2001:db8:0:1::1"))));
    let lane = budget.blobs.lane(ip("192.0.2.1"));
    assert!(Arc::ptr_eq(&lane, &budget.blobs.lane(ip("::ffff:192.0.2.1"))));
    assert!(!Arc::ptr_eq(&lane, &budget.blobs.lane(ip("192.0.2.2"))));
}
