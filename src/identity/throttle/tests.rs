use tokio::time::{advance, pause};

use super::*;

const LIMIT: FailedLogins = FailedLogins { count: 10, per: Duration::from_secs(300) };

fn network(text: &str) -> Network {
    Network::of(text.parse().expect("an address"))
}

fn here() -> Network {
    network("192.0.2.1")
}

fn throttle() -> Arc<Throttle> {
    pause();
    Arc::new(Throttle::new())
}

fn fail(throttle: &Arc<Throttle>, name: &str, network: Network) -> Result<(), u64> {
    throttle.fail(Some(LIMIT), name, network).map_err(|throttled| throttled.retry_after.as_secs())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn so_many_fail_at_once_and_then_as_many_in_each_period() {
    let throttle = throttle();
    for _ in 0..10 {
        assert_eq!(fail(&throttle, "alice", here()), Ok(()));
    }
    assert_eq!(fail(&throttle, "alice", here()), Err(30));
    advance(Duration::from_millis(12_300)).await;
    assert_eq!(fail(&throttle, "alice", here()), Err(18), "rounded up");
    advance(seconds(17)).await;
    assert_eq!(fail(&throttle, "alice", here()), Err(1));
    advance(seconds(1)).await;
    assert_eq!(fail(&throttle, "alice", here()), Ok(()), "as was said");
    assert_eq!(fail(&throttle, "alice", here()), Err(30));
    advance(seconds(300)).await;
    let after: usize = (0..20).filter(|_| fail(&throttle, "alice", here()).is_ok()).count();
    assert_eq!(after, 10, "no more than at first, however long it was quiet");
}

#[tokio::test]
async fn other_networks_and_other_names_are_not_touched() {
    let throttle = throttle();
    while fail(&throttle, "alice", here()).is_ok() {}
    assert_eq!(fail(&throttle, "alice", network("192.0.2.2")), Ok(()));
    assert_eq!(fail(&throttle, "bob", here()), Ok(()));

    while fail(&throttle, "alice", network("2001:db8::1")).is_ok() {}
    assert!(fail(&throttle, "alice", network("2001:db8::ffff:1")).is_err(), "the same /64");
    assert_eq!(fail(&throttle, "alice", network("2001:db8:0:1::1")), Ok(()));
}

#[tokio::test]
async fn spellings_that_a_directory_takes_for_one_name_share_a_bucket() {
    let throttle = throttle();
    while fail(&throttle, "Ann Lee", here()).is_ok() {}
    for name in [
        "ann lee",
        " ANN  LEE ",
        "annlee",
        "Änn Lee",
        "a\u{308}nn lee",
        "ann\u{200b}lee",
        "ann\u{ad}lee",
        "ann\u{3000}lee",
        "ａｎｎｌｅｅ",
        "𝒶nn lee",
        "ⓐnnlee",
    ] {
        assert!(fail(&throttle, name, here()).is_err(), "{name}");
    }
    for name in ["ann-lee", "ann.lee", "李", "анн"] {
        assert_eq!(fail(&throttle, name, here()), Ok(()), "{name}");
    }
    while fail(&throttle, "strauß", here()).is_ok() {}
    assert!(fail(&throttle, "STRAUSS", here()).is_err());
}

/// A /48 is given to anybody who asks for one.
#[tokio::test]
async fn all_networks_of_a_site_together_are_bounded_too() {
    let throttle = throttle();
    let guess = |number: u32| fail(&throttle, "alice", network(&format!("2001:db8:1:{:x}::1", number % 0xffff)));
    assert_eq!((0..10_000).filter(|number| guess(*number).is_ok()).count(), 160);
    assert_eq!(guess(20_000), Err(2));
    assert_eq!(fail(&throttle, "bob", network("2001:db8:1:2::1")), Ok(()), "another name");
    assert_eq!(fail(&throttle, "alice", network("2001:db8:2:2::1")), Ok(()), "another site");
    assert_eq!(fail(&throttle, "alice", here()), Ok(()));
    advance(seconds(300)).await;
    let _ = fail(&throttle, "alice", network("2001:db8:1:1::1"));
    assert_eq!(throttle.lock().buckets.len(), 4, "what is empty is gone");
}

#[tokio::test]
async fn no_more_are_verified_at_a_time_than_may_fail() {
    let throttle = throttle();
    let admit = || throttle.admit(Some(LIMIT), "alice", here());
    let mut under_way: Vec<_> = (0..10).map(|_| admit().expect("room")).collect();
    assert!(admit().is_err());
    under_way.pop().expect("ten").gives_back();
    drop(admit().expect("the place that was given back"));
    assert!(admit().is_err(), "it failed");
    under_way.into_iter().for_each(Attempt::gives_back);
    assert_eq!((0..20).filter(|_| fail(&throttle, "alice", here()).is_ok()).count(), 9);
}

#[tokio::test]
async fn a_success_costs_nothing_and_forgives_nothing() {
    let throttle = throttle();
    (0..9).for_each(|_| assert_eq!(fail(&throttle, "alice", here()), Ok(())));
    for _ in 0..50 {
        throttle.admit(Some(LIMIT), "alice", here()).expect("room").gives_back();
    }
    assert_eq!(fail(&throttle, "alice", here()), Ok(()));
    assert!(fail(&throttle, "alice", here()).is_err());
}

#[tokio::test]
async fn many_names_from_one_network_are_bounded_too() {
    let throttle = throttle();
    let mut tried = 0;
    let retry_after = loop {
        match fail(&throttle, &format!("user-{tried}"), here()) {
            Ok(()) => tried += 1,
            Err(retry_after) => break retry_after,
        }
    };
    assert_eq!((tried, retry_after), (1000, 1));
    assert!(throttle.admit(Some(LIMIT), "alice", here()).is_err());
    assert!(throttle.admit(Some(LIMIT), "alice", network("192.0.2.2")).is_ok());
}

#[tokio::test]
async fn a_flood_of_names_takes_no_more_memory_and_frees_nobody() {
    pause();
    let throttle = Arc::new(Throttle::with(100));
    while fail(&throttle, "alice", here()).is_ok() {}
    for number in 0_u32..10_000 {
        let elsewhere = Network::of(std::net::Ipv4Addr::from_bits(0x0a00_0000 | number).into());
        let _ = fail(&throttle, &format!("user-{number}"), elsewhere);
        let _ = fail(&throttle, "alice", here());
    }
    let kept = || {
        let table = throttle.lock();
        assert_eq!(table.buckets.len(), table.idle.len());
        table.buckets.len()
    };
    assert!(kept() <= 100, "{}", kept());
    assert!(fail(&throttle, "alice", here()).is_err());

    advance(seconds(301)).await;
    let _ = fail(&throttle, "bob", here());
    assert_eq!(kept(), 2, "what is empty is gone");
}

#[tokio::test]
async fn what_failed_counts_under_another_limit_too() {
    let throttle = throttle();
    while fail(&throttle, "alice", here()).is_ok() {}
    let fails = |count, per| {
        let limit = Some(FailedLogins { count, per: seconds(per) });
        throttle.fail(limit, "alice", here()).map_err(|throttled| throttled.retry_after.as_secs())
    };
    assert_eq!(fails(10, 300), Err(30));
    assert_eq!(fails(1, 60), Err(60), "never longer than the period says");
    assert!(throttle.fail(None, "alice", here()).is_ok());
    assert_eq!((0..20).filter(|_| fails(10, 300).is_ok()).count(), 9, "one of one is one of ten");
    assert_eq!((0..200).filter(|_| fails(100, 300).is_ok()).count(), 90);
}

#[tokio::test]
async fn the_log_speaks_once_a_minute_for_each_bucket() {
    let throttle = throttle();
    while fail(&throttle, "alice", here()).is_ok() {}
    let key = throttle.key("alice", here());
    let tells = || throttle.lock().tells(key, throttle.epoch.elapsed());
    assert!(!tells(), "it did at the first refusal");
    advance(seconds(59)).await;
    assert!(!tells());
    advance(seconds(1)).await;
    assert!(tells() && !tells());
}
