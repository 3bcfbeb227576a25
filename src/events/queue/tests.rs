use super::*;

fn event(at: i128, size: usize) -> Waiting {
    Waiting { at, body: vec![b'x'; size].into() }
}

fn queue(limit: usize) -> Queue {
    Queue::new("e", limit, false)
}

/// What is delivered next, where everything is.
fn next(queue: &Queue) -> Option<i128> {
    queue.try_next().flatten().map(|event| {
        queue.delivered();
        event.at
    })
}

fn all(queue: &Queue) -> Vec<i128> {
    std::iter::from_fn(|| next(queue)).collect()
}

#[test]
fn first_come_first_served() {
    let queue = queue(10);
    (1..=5).for_each(|at| queue.push(event(at, 10)));
    assert_eq!(all(&queue), [1, 2, 3, 4, 5]);
    assert!(queue.is_idle());
}

#[test]
fn without_room_the_oldest_go_but_never_the_one_under_way() {
    let queue = queue(3);
    queue.push(event(1, 10));
    assert_eq!(queue.try_next().flatten().unwrap().at, 1);
    (2..=7).for_each(|at| queue.push(event(at, 10)));
    let report = queue.report();
    assert_eq!((report.queued, report.limit, report.dropped), (4, 3, 3));
    assert_eq!(all(&queue), [1, 5, 6, 7]);
}

#[test]
fn the_bound_is_one_of_memory_too() {
    let queue = queue(4);
    (1..=4).for_each(|at| queue.push(event(at, USUAL_BODY)));
    queue.push(event(5, 1));
    assert_eq!(queue.report().dropped, 1);
    queue.push(event(6, 100 * USUAL_BODY));
    assert_eq!(all(&queue), [6], "a single one is kept whatever its size");
}

#[test]
fn less_room_is_made_at_once() {
    let queue = queue(10);
    (1..=10).for_each(|at| queue.push(event(at, 10)));
    queue.set_limit(2);
    assert_eq!(all(&queue), [9, 10]);
    assert_eq!(queue.report().dropped, 8);
}

#[test]
fn what_another_process_left_comes_at_its_time() {
    let queue = queue(10);
    (5..=6).for_each(|at| queue.push(event(at, 10)));
    queue.adopt(vec![event(1, 10), event(7, 10), event(3, 10)]);
    assert_eq!(all(&queue), [1, 3, 5, 6, 7]);
}

#[test]
fn what_failed_is_next_again_and_what_is_closed_is_handed_back() {
    let queue = queue(10);
    (1..=3).for_each(|at| queue.push(event(at, 10)));
    assert_eq!(queue.try_next().flatten().unwrap().at, 1);
    assert!(queue.failed("down", 1).is_none(), "once is no news");
    assert_eq!(queue.try_next().flatten().unwrap().at, 1);
    assert_eq!(queue.failed("down", 2).unwrap().waiting, 3);
    assert!(queue.failed("down", 3).is_none(), "told already");
    assert_eq!(queue.report().error.as_deref(), Some("down"));
    let recovery = queue.delivered().unwrap();
    assert_eq!((recovery.late, recovery.dropped), (3, 0));
    assert_eq!(queue.report().failing_since, None);
    assert_eq!(queue.try_next().flatten().unwrap().at, 2);
    let left: Vec<_> = queue.close().into_iter().map(|event| event.at).collect();
    assert_eq!(left, [2, 3]);
    queue.push(event(4, 10));
    assert_eq!(queue.try_next(), Some(None), "no more");
    assert!(queue.is_idle());
}

#[test]
fn while_it_is_held_nothing_is_taken() {
    let queue = queue(10);
    queue.hold(true);
    queue.push(event(1, 10));
    assert_eq!(queue.try_next(), None);
    queue.hold(false);
    assert_eq!(all(&queue), [1]);
}

#[test]
fn what_is_given_up_counts_as_dropped() {
    let queue = queue(10);
    (1..=2).for_each(|at| queue.push(event(at, 10)));
    let _ = queue.try_next();
    queue.refused();
    assert_eq!(queue.report().dropped, 1);
    assert_eq!(all(&queue), [2]);
}
