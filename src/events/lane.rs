//! The way to one endpoint: its queue, its settings of the moment, and who delivers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{
    client::Client,
    course::{Course, Next, Outcome},
    event::together,
    queue::{Queue, Recovery, SharedQueue},
};
use crate::{
    config::{Endpoint, EventAction, Host},
    registry::RepositoryName,
};

/// Events that come this soon after others were sent go together with those that follow.
const GATHER: Duration = Duration::from_millis(20);

/// One endpoint, as long as it is configured.
pub(super) struct Lane {
    shared: Arc<Shared>,
    sender: AbortHandle,
}

struct Shared {
    queue: SharedQueue,
    client: ArcSwap<Client>,
    /// The settings are others: what failed before may succeed now.
    changed: Notify,
    /// An attempt is under way.
    busy: AtomicBool,
}

impl Lane {
    /// Delivers from now on, or once it is not held any more. To be called within a tokio runtime.
    pub(super) fn open(client: Client, held: bool) -> Self {
        let endpoint = client.endpoint();
        let queue = Arc::new(Queue::new(&endpoint.name, endpoint.queue, held));
        let client = ArcSwap::from_pointee(client);
        let shared = Arc::new(Shared { queue, client, changed: Notify::new(), busy: AtomicBool::new(false) });
        let sender = tokio::spawn(deliver(Arc::clone(&shared))).abort_handle();
        Self { shared, sender }
    }

    pub(super) fn name(&self) -> String {
        self.shared.client.load().endpoint().name.clone()
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// With other settings from the next attempt on, which is made at once.
    pub(super) fn settle(&self, client: Client) {
        if self.shared.client.load().is_same(&client) {
            return;
        }
        self.shared.queue.set_limit(client.endpoint().queue);
        self.shared.client.store(Arc::new(client));
        self.shared.changed.notify_one();
    }

    pub(super) fn wants(&self, action: EventAction, hosts: &[Host], repository: &RepositoryName) -> bool {
        let client = self.shared.client.load();
        let Endpoint { actions, registries, repositories, .. } = client.endpoint();
        actions.contains(action)
            && (registries.is_empty() || registries.iter().any(|host| hosts.contains(host)))
            && (repositories.is_empty() || repositories.iter().any(|pattern| pattern.matches(repository, None)))
    }

    pub(super) fn wants_references(&self) -> bool {
        self.shared.client.load().endpoint().references
    }

    pub(super) fn is_busy(&self) -> bool {
        self.shared.busy.load(Ordering::SeqCst)
    }

    /// Nothing is delivered any more.
    pub(super) fn stop(&self) {
        self.sender.abort();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One event after the other, or as many as came together, each until it arrived or is given up.
async fn deliver(shared: Arc<Shared>) {
    let Shared { queue, client: settings, changed, busy } = &*shared;
    let mut course = Course::default();
    let mut line = None;
    let mut by = settings.load_full();
    while let Some(events) = queue.next(settings.load().endpoint().batch).await {
        let client = settings.load_full();
        let begun = Instant::now();
        if !Arc::ptr_eq(&client, &by) {
            (line, by) = (None, Arc::clone(&client));
        }
        busy.store(true, Ordering::SeqCst);
        let outcome = Outcome::of(client.post(&together(&events), &mut line).await);
        queue.metrics().attempted(outcome.word());
        if matches!(outcome, Outcome::Delivered) {
            course = Course::default();
            let recovery = queue.delivered();
            busy.store(false, Ordering::SeqCst);
            recovery.iter().for_each(|recovery| tell_recovery(&client, recovery));
            queue.gather(client.endpoint().batch, GATHER.saturating_sub(begun.elapsed())).await;
            continue;
        }
        let next = course.after(&outcome, events.len(), chance());
        tell_failure(&client, queue, &outcome, course.attempts());
        match next {
            Next::Part => queue.part(),
            Next::GiveUp => {
                queue.refused();
                tell_refusal(&client, &outcome);
            }
            // What several together take too long for, or trip over, may go well one at a time.
            Next::Pause(_) if events.len() > 1 => queue.part(),
            Next::Pause(_) => {}
        }
        busy.store(false, Ordering::SeqCst);
        match next {
            Next::Pause(pause) => tokio::select! {
                () = sleep(pause) => {}
                () = changed.notified() => {}
            },
            Next::Part | Next::GiveUp => course = Course::default(),
        }
    }
}

fn tell_failure(client: &Client, queue: &Queue, outcome: &Outcome, attempts: u32) {
    let Endpoint { name, url, queue: limit, .. } = client.endpoint();
    let reason = outcome.reason();
    if let Some(news) = queue.failed(&reason, attempts) {
        let to = url.origin.to_string();
        warn!(
            endpoint = name,
            to,
            waiting = news.waiting,
            limit,
            "events are not delivered, and wait until they are: {reason}"
        );
    }
}

fn tell_recovery(client: &Client, recovery: &Recovery) {
    let Recovery { since, late, dropped } = recovery;
    let seconds = since.elapsed().unwrap_or_default().as_secs();
    let endpoint = &client.endpoint().name;
    info!(endpoint, seconds, late, dropped, "events are delivered again, those that waited first");
}

fn tell_refusal(client: &Client, outcome: &Outcome) {
    let endpoint = &client.endpoint().name;
    warn!(endpoint, "an event is given up, the endpoint will not have it: {}", outcome.reason());
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0_u8; 2];
    // Without a source everybody waits the shortest time.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX)
}
