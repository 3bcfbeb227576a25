use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::{self, JoinHandle};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn network(last: u8) -> Network {
    Network::of([192, 0, 2, last].into())
}

fn turns(at_a_time: usize, queue: usize) -> Arc<Turns> {
    Arc::new(Turns::with(at_a_time, queue, LONG))
}

/// Waits for a turn, and says as the how many-th it came.
fn wait(turns: &Arc<Turns>, last: u8, came: &Arc<AtomicUsize>) -> JoinHandle<usize> {
    let (turns, came) = (Arc::clone(turns), Arc::clone(came));
    tokio::spawn(async move {
        let _turn = turns.take(network(last)).await.expect("a turn");
        came.fetch_add(1, Ordering::SeqCst)
    })
}

#[tokio::test]
async fn networks_take_turns() {
    let (turns, came) = (turns(1, 1000), Arc::default());
    let first = turns.take(network(0)).await.expect("free");
    let many: Vec<_> = (0..100).map(|_| wait(&turns, 1, &came)).collect();
    task::yield_now().await;
    let others = [wait(&turns, 2, &came), wait(&turns, 3, &came), wait(&turns, 2, &came)];
    task::yield_now().await;
    drop(first);
    let mut places = Vec::new();
    for other in others {
        places.push(other.await.expect("runs"));
    }
    assert_eq!(places, [1, 2, 4]);
    let mut in_order = Vec::new();
    for one in many {
        in_order.push(one.await.expect("runs"));
    }
    assert!(in_order.is_sorted(), "of one network who came first goes first");
}

#[tokio::test]
async fn no_more_at_a_time_than_there_are_turns() {
    let turns = turns(2, 10);
    let (one, _two) = (turns.take(network(1)).await, turns.take(network(1)).await);
    let mut third = Box::pin(turns.take(network(1)));
    assert!(time::timeout(Duration::from_millis(5), &mut third).await.is_err());
    drop(one);
    assert!(third.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_wait_and_the_queue_are_bounded() {
    let (turns, came) = (turns(1, 2), Arc::default());
    let _turn = turns.take(network(0)).await;
    let mut waiting = [wait(&turns, 1, &came), wait(&turns, 2, &came)];
    task::yield_now().await;
    assert_eq!(turns.take(network(3)).await.err(), Some(Overload::Full));
    waiting[0].abort();
    assert!((&mut waiting[0]).await.is_err());
    assert_eq!(turns.take(network(3)).await.err(), Some(Overload::TooLate), "in the place of who left");
}

#[tokio::test]
async fn no_turn_is_lost_to_who_left() {
    for _ in 0..200 {
        let (turns, came) = (turns(1, 1000), Arc::default());
        let turn = turns.take(network(0)).await;
        let waiting: Vec<_> = (0..20).map(|number| wait(&turns, number % 3, &came)).collect();
        task::yield_now().await;
        // Some leave before their turn, some with it on its way.
        waiting.iter().step_by(3).for_each(JoinHandle::abort);
        drop(turn);
        waiting.iter().skip(1).step_by(3).for_each(JoinHandle::abort);
        task::yield_now().await;
        let after = time::timeout(LONG, turns.take(network(9))).await.expect("a turn comes");
        assert!(after.is_ok());
    }
}

fn network_of_site(site: u16, number: u16) -> Network {
    Network::of(std::net::Ipv6Addr::new(0x2001, 0xdb8, site, number, 0, 0, 0, 1).into())
}

/// Waits for a turn.
fn hold(turns: &Arc<Turns>, network: Network) -> JoinHandle<Result<(), Overload>> {
    let turns = Arc::clone(turns);
    tokio::spawn(async move { turns.take(network).await.map(drop) })
}

#[tokio::test]
async fn who_waits_most_gives_way_where_no_more_may_wait() {
    let turns = turns(1, 4);
    let first = turns.take(network(0)).await.expect("free");
    let mut many: Vec<_> = (0..4).map(|_| hold(&turns, network(1))).collect();
    task::yield_now().await;
    assert_eq!(turns.take(network(1)).await.err(), Some(Overload::Full), "not to itself");
    let others = [hold(&turns, network(2)), hold(&turns, network(3))];
    task::yield_now().await;
    for _ in 0..2 {
        assert_eq!(many.pop().expect("four").await.expect("runs").err(), Some(Overload::Full), "the latest");
    }
    assert_eq!(turns.take(network(2)).await.err(), Some(Overload::Full), "all have the same then");
    drop(first);
    for one in others.into_iter().chain(many) {
        assert!(one.await.expect("runs").is_ok());
    }
}

#[tokio::test]
async fn the_networks_of_a_site_have_one_share() {
    let turns = turns(1, 100);
    let first = turns.take(network(0)).await.expect("free");
    let came = Arc::default();
    let many: Vec<_> = (0..100).map(|number| hold(&turns, network_of_site(1, number))).collect();
    task::yield_now().await;
    let other = wait(&turns, 2, &came);
    let neighbour = hold(&turns, network_of_site(1, 7));
    task::yield_now().await;
    assert_eq!(neighbour.await.expect("runs").err(), Some(Overload::Full), "nobody there has more");
    drop(first);
    assert_eq!(other.await.expect("runs"), 0);
    let mut refused = 0;
    for one in many {
        refused += usize::from(one.await.expect("runs").is_err());
    }
    assert_eq!(refused, 1);
}
