use std::{net::Ipv4Addr, sync::atomic::AtomicU32};

use proptest::prelude::*;
use tokio::time::{Instant, sleep};

mod fairness;

use super::*;

const MIB: u64 = 1 << 20;
const BLOB: Demand =
    Demand { direction: Direction::Answer, blob: true, length: None, verified: false, largest: LARGEST_FRAME };
const PUSH: Demand =
    Demand { direction: Direction::Upload, blob: true, length: None, verified: false, largest: LARGEST_FRAME };

fn budget(total: u64) -> Arc<Budget> {
    Arc::new(Budget::new(total))
}

fn manifest(length: u64) -> Demand {
    Demand { direction: Direction::Answer, blob: false, length: Some(length), verified: false, largest: LARGEST_FRAME }
}

fn used(budget: &Budget) -> u64 {
    budget.used.load(SeqCst)
}

fn waiting(budget: &Budget) -> usize {
    budget.blobs.waiting.load(SeqCst) + budget.small.waiting.load(SeqCst)
}

/// Another client each time.
fn anybody() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    Ipv4Addr::from_bits(NEXT.fetch_add(1, SeqCst)).into()
}

fn try_place(budget: &Arc<Budget>, demand: Demand) -> Option<Place> {
    let queue = if demand.blob { &budget.blobs } else { &budget.small };
    budget.try_place(&queue.lane(anybody()), demand)
}

async fn place(budget: &Arc<Budget>, demand: Demand) -> Result<Place, Full> {
    budget.place(anybody(), demand).await
}

fn window(budget: &Arc<Budget>) -> Option<Window> {
    budget.window(anybody(), u64::MAX)
}

/// Clients that something is known of.
fn known(budget: &Budget) -> usize {
    budget.blobs.lanes().len() + budget.small.lanes().len()
}

/// Places for blobs until there are no more.
fn fill(budget: &Arc<Budget>) -> Vec<Place> {
    std::iter::from_fn(|| try_place(budget, BLOB)).collect()
}

#[test]
fn frames_shrink_as_it_fills() {
    let budget = budget(512 * MIB);
    let places = fill(&budget);
    let frames: Vec<usize> = places.iter().map(Place::frame).collect();
    assert!(frames.is_sorted_by(|before, after| before >= after));
    let count = |frame| frames.iter().filter(|other| **other == frame).count();
    for (frame, least) in [(LARGEST_FRAME, 150), (128 * 1024, 250), (SMALLEST_FRAME, 1000)] {
        assert!(count(frame) > least, "{} of {frame}", count(frame));
    }
    assert!(used(&budget) <= 448 * MIB, "an eighth is for what is small");
    drop(places);
    assert_eq!(used(&budget), 0);
    assert_eq!(try_place(&budget, BLOB).unwrap().frame(), LARGEST_FRAME);
}

#[test]
fn what_is_announced_as_short_takes_less() {
    let budget = budget(512 * MIB);
    let cost = |demand| {
        let place = try_place(&budget, demand).unwrap();
        (used(&budget), place.frame()).0
    };
    assert!(cost(manifest(1000)) < 4000);
    assert!(cost(manifest(4 * MIB)) < 256 * 1024);
    assert!(cost(Demand { length: Some(100_000), ..BLOB }) < 350_000);
    assert_eq!(cost(Demand { length: Some(1 << 40), ..BLOB }), cost(BLOB));
    assert!(cost(PUSH) > cost(BLOB) && cost(Demand { verified: true, ..BLOB }) > cost(BLOB));
    assert_eq!(used(&budget), 0);
}

#[tokio::test(start_paused = true)]
async fn small_ones_do_not_wait_behind_blobs() {
    let budget = budget(4 * MIB);
    let _blobs = fill(&budget);
    let blob = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { place(&budget, BLOB).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(waiting(&budget), 1);
    let mut manifests = Vec::new();
    while used(&budget) + 10_000 < 4 * MIB {
        manifests.push(place(&budget, manifest(2000)).await.unwrap());
    }
    assert!(manifests.len() > 50, "{}", manifests.len());
    // They have an end, too.
    let began = Instant::now();
    assert_eq!(place(&budget, manifest(20_000)).await.unwrap_err(), Full);
    assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
    assert_eq!(blob.await.unwrap(), Err(Full));
    assert_eq!(waiting(&budget), 0);
}

#[tokio::test(start_paused = true)]
async fn who_came_first_is_served_first() {
    let budget = budget(4 * MIB);
    let mut places = fill(&budget);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    // Large and small ones: a small one would fit before its turn.
    for (number, demand) in [PUSH, BLOB, PUSH, BLOB].into_iter().enumerate() {
        let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let place = place(&budget, demand).await.unwrap();
            order.lock().unwrap().push(number);
            sleep(Duration::from_millis(1)).await;
            drop(place);
        }));
        tokio::task::yield_now().await;
    }
    places.pop();
    tokio::task::yield_now().await;
    // There is room for a blob, but the first wants more.
    let late = place(&budget, Demand { length: Some(65_537), ..BLOB });
    let late = timeout(Duration::from_millis(10), late);
    assert!(late.await.is_err(), "nobody overtakes");
    assert!(order.lock().unwrap().is_empty());
    places.clear();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    assert_eq!((used(&budget), waiting(&budget)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_leaves_while_it_waits_is_forgotten() {
    let budget = budget(4 * MIB);
    let mut places = fill(&budget);
    let all = used(&budget);
    let wait = || {
        let budget = Arc::clone(&budget);
        tokio::spawn(async move { place(&budget, BLOB).await })
    };
    let (first, second, third) = (wait(), wait(), wait());
    tokio::task::yield_now().await;
    assert_eq!(waiting(&budget), 3);
    second.abort();
    first.abort();
    tokio::task::yield_now().await;
    assert_eq!(waiting(&budget), 1);
    places.pop();
    let place = third.await.unwrap().unwrap();
    assert_eq!((used(&budget), waiting(&budget)), (all, 0));
    drop((place, places));
    assert_eq!(used(&budget), 0);
}

#[tokio::test(start_paused = true)]
async fn the_total_can_change() {
    let budget = budget(4 * MIB);
    let places = fill(&budget);
    let next = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { place(&budget, PUSH).await }
    });
    tokio::task::yield_now().await;
    budget.resize(8 * MIB);
    let next = next.await.unwrap().unwrap();
    assert!(used(&budget) > for_blobs(4 * MIB));
    budget.resize(4 * MIB);
    let manifests: Vec<_> = std::iter::from_fn(|| try_place(&budget, manifest(10_000))).collect();
    assert!(used(&budget) <= 4 * MIB && try_place(&budget, BLOB).is_none());
    drop(manifests);
    budget.resize(3 * MIB);
    assert!(try_place(&budget, manifest(10)).is_none(), "more is in use than there is");
    budget.resize(4 * MIB);
    drop(places);
    let _places = fill(&budget);
    assert!(used(&budget) <= for_blobs(4 * MIB));
    drop(next);
    assert!(try_place(&budget, BLOB).is_some());
}

#[test]
fn a_place_is_held_by_frames_that_are_still_on_their_way() {
    let budget = budget(4 * MIB);
    let place = try_place(&budget, BLOB).unwrap();
    let mut frame = place.keep(Bytes::from_static(b"frame"), ());
    let rest = frame.split_off(2);
    drop((place, frame));
    assert_ne!(used(&budget), 0);
    assert_eq!(rest, "ame");
    drop(rest);
    assert_eq!(used(&budget), 0);
}

#[test]
fn windows_leave_room_for_bodies() {
    let budget = budget(512 * MIB);
    let windows: Vec<Window> = std::iter::from_fn(|| window(&budget)).collect();
    assert_eq!(windows[0].size(), 2 << 20);
    assert!(windows.len() > 64, "{}", windows.len());
    assert!(windows.iter().all(|window| window.size() >= 128 * 1024));
    assert!(used(&budget) <= 256 * MIB);
    // Frames are smaller than with an empty budget, but there is room for many.
    assert!(fill(&budget).len() > 500);
    assert!(window(&budget).is_none());
    drop(windows);
    assert!(window(&budget).is_some());
    assert_eq!(budget.windows.load(SeqCst), 0);
}

#[test]
fn windows_get_nothing_of_what_bodies_have() {
    let budget = budget(4 * MIB);
    let places = fill(&budget);
    assert!(window(&budget).is_none());
    assert_eq!(budget.windows.load(SeqCst), 0);
    drop(places);
    assert_eq!(window(&budget).unwrap().size(), 128 * 1024);
    assert_eq!(used(&budget), 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(Demand),
    Open,
    Drop(usize),
    Resize(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let demand = (any::<[bool; 3]>(), proptest::option::of(0..2 * MIB)).prop_map(|([up, blob, verified], length)| {
        let direction = if up { Direction::Upload } else { Direction::Answer };
        Step::Take(Demand { direction, blob, length, verified, largest: LARGEST_FRAME })
    });
    let step = prop_oneof![
        6 => demand,
        1 => Just(Step::Open),
        4 => (0_usize..1000).prop_map(Step::Drop),
        1 => (4 * MIB..64 * MIB).prop_map(Step::Resize),
    ];
    proptest::collection::vec(step, 1..400)
}

proptest! {
    #[test]
    fn never_more_than_the_total_is_given(steps in steps()) {
        let budget = budget(16 * MIB);
        let mut total = 16 * MIB;
        let (mut places, mut windows) = (Vec::new(), Vec::new());
        for step in steps {
            let before = used(&budget);
            match step {
                Step::Take(demand) => match try_place(&budget, demand) {
                    Some(place) => {
                        prop_assert_eq!(used(&budget), before + place.taken.bytes);
                        let ceiling = if demand.blob { for_blobs(total) } else { total };
                        prop_assert!(used(&budget) <= ceiling);
                        places.push(place);
                    }
                    None => prop_assert!(before + demand.bytes(SMALLEST_FRAME) > for_blobs(total)),
                },
                Step::Open => windows.extend(window(&budget)),
                Step::Drop(index) if !places.is_empty() => drop(places.swap_remove(index % places.len())),
                Step::Drop(_) => drop(windows.pop()),
                Step::Resize(next) => {
                    total = next;
                    budget.resize(next);
                }
            }
            let held: u64 = places.iter().map(|place: &Place| place.taken.bytes).sum();
            let open: u64 = windows.iter().map(|window: &Window| window.0.bytes).sum();
            prop_assert_eq!(used(&budget), held + open);
            prop_assert_eq!(budget.windows.load(SeqCst), open);
        }
        drop((places, windows));
        prop_assert_eq!(used(&budget), 0);
    }
}

/// Many at once, on several threads, some of which leave while they wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_is_served_and_nothing_is_lost() {
    const TASKS: usize = 64;
    const ROUNDS: usize = 100;
    let budget = budget(4 * MIB);
    let (served, left) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (budget, served, left) = (Arc::clone(&budget), Arc::clone(&served), Arc::clone(&left));
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let demand = [BLOB, PUSH, manifest(60_000)][(task + round) % 3];
                    let limit = Duration::from_micros(if round % 4 == 0 { 50 } else { 60_000_000 });
                    // Some of them are one client.
                    let client = Ipv4Addr::from_bits((task % 5) as u32).into();
                    match timeout(limit, budget.place(client, demand)).await {
                        Ok(place) => {
                            let place = place.expect("a turn comes long before the patience ends");
                            assert!(used(&budget) <= 4 * MIB);
                            tokio::task::yield_now().await;
                            drop(place);
                            served.fetch_add(1, SeqCst);
                        }
                        Err(_) => drop(left.fetch_add(1, SeqCst)),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((used(&budget), waiting(&budget), known(&budget)), (0, 0, 0));
    let (served, left) = (served.load(SeqCst), left.load(SeqCst));
    assert_eq!(served + left, (TASKS * ROUNDS) as u32);
    assert!(served as usize >= TASKS * ROUNDS * 3 / 4, "{served}");
    assert_ne!(left, 0, "the test wants some that leave");
}
