//! From one process to the next: what is not delivered is never lost on the way, and one process alone delivers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{AbortHandle, spawn_blocking},
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

use super::{
    Events, Lanes, Shared,
    queue::{Kept, Queue},
    spool::Spool,
};

/// How often it is looked whether another process put something down.
const LOOK: Duration = Duration::from_secs(30);
/// The same while the process before drains.
const CLOSE_LOOK: Duration = Duration::from_millis(200);
/// A process of an earlier version hands nothing over.
const MOST_PATIENCE: Duration = Duration::from_secs(10);
/// What an end takes for events that can be delivered.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Looks after the folder while it lives.
pub(super) struct Keeper(AbortHandle);

impl Keeper {
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        Self(tokio::spawn(keep(shared)).abort_handle())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(shared: Arc<Shared>) {
    let begun = Instant::now();
    loop {
        let awaits = shared.predecessor().is_some();
        if awaits && begun.elapsed() > MOST_PATIENCE {
            shared.release();
        }
        sleep(if awaits { CLOSE_LOOK } else { LOOK }).await;
        let shared = Arc::clone(&shared);
        let _ = spawn_blocking(move || shared.adopt()).await;
    }
}

impl Events {
    /// The process that this one takes over from: until that has handed over what it had, nothing is delivered. To be
    /// called before anything is installed.
    pub fn awaits(&self, pid: u32) {
        *self.shared.predecessor() = Some(pid);
    }

    /// The process before has ended. Blocks while its last events are read.
    pub fn predecessor_ended(&self) {
        self.shared.adopt();
        *self.shared.predecessor() = None;
        self.shared.release();
    }

    /// Another process delivers from now on: whatever happens here is put down for it. Without a folder this one delivers
    /// on.
    pub fn hand_over(&self) {
        *self.keeper() = None;
        let lanes = self.shared.lanes.load_full();
        let Some(spool) = lanes.spool.clone() else { return };
        let handing = Arc::new(AtomicBool::new(true));
        *self.keeper() = Some(Keeper(tokio::spawn(hand_over(lanes, spool, handing)).abort_handle()));
    }

    /// Delivers what can be delivered at once, where there is `patience`, and puts the rest down. Nothing is told any more.
    pub async fn close(&self, patience: bool) {
        *self.keeper() = None;
        let lanes = self.shared.lanes.load_full();
        if patience {
            let until = Instant::now() + LAST_WORDS;
            let is_settled = || lanes.queues().all(|queue| queue.is_idle() || queue.is_held() || queue.is_failing());
            while !is_settled() && Instant::now() < until {
                sleep(Duration::from_millis(10)).await;
            }
            lanes.hold(true);
            lanes.pause(until).await;
        }
        lanes.all.iter().for_each(|lane| lane.stop());
        let left: Kept = lanes.all.iter().map(|lane| (lane.name(), lane.queue().close())).collect();
        let count: usize = left.iter().map(|(_, events)| events.len()).sum();
        if count == 0 {
            return;
        }
        let Some(spool) = lanes.spool.clone() else {
            warn!(lost = count, "events were not delivered before the end: events.storage is null");
            return;
        };
        let folder = spool.folder().display().to_string();
        match spawn_blocking(move || spool.save(&left)).await {
            Ok(Ok(())) => info!(waiting = count, folder, "events that are not delivered are kept for the next start"),
            Ok(Err(fault)) => error!(lost = count, "events that are not delivered cannot be kept: {fault}"),
            Err(fault) => error!(lost = count, "events that are not delivered cannot be kept: {fault}"),
        }
    }
}

impl Shared {
    /// Takes what other processes put down.
    pub(super) fn adopt(&self) {
        let lanes = self.lanes.load_full();
        let Some(spool) = &lanes.spool else { return };
        let found = spool.take();
        for (name, events) in found.kept {
            match lanes.all.iter().find(|lane| lane.name() == name) {
                Some(_) if events.is_empty() => {}
                Some(lane) => {
                    info!(endpoint = name, events = events.len(), "events of another process are delivered");
                    lane.queue().adopt(events);
                }
                None => warn!(
                    endpoint = name,
                    lost = events.len(),
                    "events of another process are dropped: there is no such endpoint"
                ),
            }
        }
        let handed = self.predecessor().is_some_and(|pid| found.from.contains(&pid));
        if handed {
            self.release();
        }
    }

    /// From now on everything is delivered here.
    pub(super) fn release(&self) {
        self.lanes.load().hold(false);
    }
}

impl Lanes {
    fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.all.iter().map(|lane| lane.queue())
    }

    fn hold(&self, held: bool) {
        self.queues().for_each(|queue| queue.hold(held));
    }

    /// Waits for attempts under way.
    async fn pause(&self, until: Instant) {
        while self.all.iter().any(|lane| lane.is_busy()) && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn take(&self) -> Kept {
        self.all.iter().map(|lane| (lane.name(), lane.queue().take(true))).collect()
    }
}

async fn hand_over(lanes: Arc<Lanes>, spool: Spool, first: Arc<AtomicBool>) {
    lanes.hold(true);
    lanes.pause(Instant::now() + Duration::from_secs(60)).await;
    loop {
        let kept = lanes.take();
        let is_empty = kept.iter().all(|(_, events)| events.is_empty());
        // The first one says that this process delivers nothing any more.
        if !is_empty || first.swap(false, Ordering::SeqCst) {
            let (to, what) = (spool.clone(), kept.clone());
            let saved = spawn_blocking(move || to.save(&what)).await;
            if !matches!(saved, Ok(Ok(()))) {
                let reason = saved.map_or_else(|error| error.to_string(), |fault| format!("{fault:?}"));
                error!("events cannot be handed over, and are delivered by this process: {reason}");
                lanes.all.iter().zip(kept).for_each(|(lane, (_, events))| lane.queue().adopt(events));
                lanes.hold(false);
                return;
            }
        }
        sleep(CLOSE_LOOK).await;
    }
}
