use super::*;

fn event(at: i128, size: usize) -> Waiting {
    Waiting { at, body: vec![b'x'; size].into() }
}

fn queue(limit: usize) -> Queue {
    Queue::new("e", limit, false)
}

/// An event as it is told.
fn told(at: i128, size: usize) -> Waiting {
    let content = "x".repeat(size);
    Waiting { at, body: format!("{{\"events\":[\"{content}\"]}}").into() }
}

/// What goes next.
fn leaving(queue: &Queue, most: usize) -> Vec<i128> {
    let bodies = queue.try_next(most).flatten().unwrap_or_default();
    let state = queue.state();
    assert!(bodies.iter().eq(state.under_way.iter().map(|event| &event.body)));
    state.under_way.iter().map(|event| event.at).collect()
}

/// What is delivered next, where everything is.
fn next(queue: &Queue) -> Option<i128> {
    let next = leaving(queue, 1).pop()?;
    queue.delivered();
    Some(next)
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
    assert_eq!(leaving(&queue, 1), [1]);
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
    assert_eq!(leaving(&queue, 1), [1]);
    assert!(queue.failed("down", 1).is_none(), "once is no news");
    assert_eq!(leaving(&queue, 1), [1]);
    assert_eq!(queue.failed("down", 2).unwrap().waiting, 3);
    assert!(queue.failed("down", 3).is_none(), "told already");
    assert_eq!(queue.report().error.as_deref(), Some("down"));
    let recovery = queue.delivered().unwrap();
    assert_eq!((recovery.late, recovery.dropped), (3, 0));
    assert_eq!(queue.report().failing_since, None);
    assert_eq!(leaving(&queue, 1), [2]);
    let left: Vec<_> = queue.close().into_iter().map(|event| event.at).collect();
    assert_eq!(left, [2, 3]);
    queue.push(event(4, 10));
    assert_eq!(queue.try_next(1), Some(None), "no more");
    assert!(queue.is_idle());
}

#[test]
fn while_it_is_held_nothing_is_taken() {
    let queue = queue(10);
    queue.hold(true);
    queue.push(event(1, 10));
    assert_eq!(queue.try_next(1), None);
    queue.hold(false);
    assert_eq!(all(&queue), [1]);
}

#[test]
fn what_is_given_up_counts_as_dropped() {
    let queue = queue(10);
    (1..=2).for_each(|at| queue.push(event(at, 10)));
    let _ = queue.try_next(1);
    queue.refused();
    assert_eq!(queue.report().dropped, 1);
    assert_eq!(all(&queue), [2]);
}

#[test]
fn what_waits_goes_together_as_far_as_it_may() {
    let queue = queue(1000);
    (1..=5).for_each(|at| queue.push(told(at, 10)));
    assert_eq!(leaving(&queue, 3), [1, 2, 3]);
    queue.push(told(6, 10));
    assert_eq!((leaving(&queue, 3), queue.report().queued), (vec![1, 2, 3], 6), "the same again");
    queue.delivered();
    assert_eq!((queue.report().delivered, leaving(&queue, 3)), (3, vec![4, 5, 6]));
    queue.delivered();
    assert!(leaving(&queue, 3).is_empty() && queue.is_idle());
    (7..=8).for_each(|at| queue.push(told(at, LARGEST_BATCH / 2)));
    let others = [told(9, 10), event(10, 10), told(11, 10), told(12, 2 * LARGEST_BATCH), told(13, 10)];
    others.into_iter().for_each(|event| queue.push(event));
    for together in [&[7][..], &[8, 9], &[10], &[11], &[12], &[13]] {
        assert_eq!(leaving(&queue, 64), together, "no more than a receiver takes, and nothing with what is not ours");
        queue.delivered();
    }
}

#[test]
fn what_is_not_taken_together_goes_one_at_a_time_and_only_one_is_given_up() {
    let queue = queue(10);
    (1..=4).for_each(|at| queue.push(told(at, 10)));
    assert_eq!(leaving(&queue, 3), [1, 2, 3]);
    queue.part();
    assert_eq!(queue.report().queued, 4);
    for (alone, is_taken) in [(1, true), (2, false), (3, true)] {
        assert_eq!(leaving(&queue, 3), [alone]);
        if is_taken {
            let _ = queue.delivered();
        } else {
            queue.refused();
        }
    }
    (5..=6).for_each(|at| queue.push(told(at, 10)));
    assert_eq!(leaving(&queue, 3), [4, 5, 6]);
    assert_eq!((queue.report().delivered, queue.report().dropped), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn more_is_awaited_until_there_is_enough_and_not_for_long() {
    let queue = Arc::new(queue(100));
    let began = tokio::time::Instant::now();
    queue.gather(2, Duration::from_millis(20)).await;
    assert_eq!(began.elapsed(), Duration::from_millis(20));
    let other = Arc::clone(&queue);
    let gathers = tokio::spawn(async move { other.gather(2, Duration::from_secs(3600)).await });
    tokio::task::yield_now().await;
    queue.push(told(1, 10));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!gathers.is_finished());
    queue.push(told(2, 10));
    gathers.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(60));
    queue.close();
    queue.gather(1000, Duration::from_secs(3600)).await;
    assert!(began.elapsed() < Duration::from_secs(60), "nothing comes any more");
}
