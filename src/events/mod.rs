//! Who is told of what is pulled, pushed, mounted and deleted, in the form of docker-registry's notifications.
//!
//! A request puts an event into the queue of each endpoint that wants it and goes on; whatever an endpoint does, no request
//! waits for it. Each queue is delivered in order, one request at a time, at least once. What is not delivered when the process
//! ends is put down in a folder for the next one; a process that another one takes over from hands everything to that
//! one, so that one alone delivers.

mod client;
mod copy;
mod course;
mod event;
mod lane;
mod queue;
mod references;
mod spool;
mod succession;

pub use copy::Passing;
pub use event::{Event, Request, Target};
pub use queue::Report;
pub use references::Descriptor;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use self::{client::Client, copy::Room, event::Stamp, lane::Lane, queue::Waiting, spool::Spool, succession::Keeper};
use crate::{
    config::{self, EventAction, Host},
    registry::RepositoryName,
    telemetry::metrics,
    tls::FileFault,
};

/// The endpoints in force; one for the whole process, whatever is read again.
#[derive(Default)]
pub struct Events {
    shared: Arc<Shared>,
    keeper: Mutex<Option<Keeper>>,
}

#[derive(Default)]
struct Shared {
    lanes: ArcSwap<Lanes>,
    room: Room,
    /// The process that this one takes over from, until it has handed over what it had.
    predecessor: Mutex<Option<u32>>,
}

#[derive(Default)]
struct Lanes {
    all: Vec<Arc<Lane>>,
    spool: Option<Spool>,
    /// Who tells: host and port.
    source: String,
}

/// Everything that can fail, done.
pub struct Prepared {
    clients: Vec<Client>,
    spool: Option<Spool>,
    source: String,
    warning: Option<String>,
}

impl Prepared {
    /// Reads whom endpoints are trusted by, and makes the folder where there is an endpoint. `port` is the one that clients
    /// dial. Blocks.
    ///
    /// # Errors
    /// A file or a folder that cannot be used; never that an endpoint is away.
    pub fn new(events: &config::Events, port: Option<u16>) -> Result<Self, FileFault> {
        let prepared = Self::read(events, port)?;
        prepared.spool.as_ref().map_or(Ok(()), Spool::prepare).map_err(fault)?;
        let warning = prepared.spool.as_ref().and_then(Spool::warning);
        Ok(Self { warning, ..prepared })
    }

    /// As [`Prepared::new`], without making anything. Returns what looks like a mistake. Blocks.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn check(events: &config::Events) -> Result<Option<String>, FileFault> {
        let Self { spool, .. } = Self::read(events, None)?;
        spool.as_ref().map_or(Ok(()), Spool::check).map_err(fault)?;
        Ok(spool.as_ref().and_then(Spool::warning))
    }

    fn read(events: &config::Events, port: Option<u16>) -> Result<Self, FileFault> {
        let clients: Vec<_> = events.endpoints.iter().map(Client::new).collect::<Result<_, _>>()?;
        let spool = events.storage.as_deref().filter(|_| !clients.is_empty()).map(Spool::new);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let source = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Ok(Self { clients, spool, source, warning: None })
    }
}

fn fault(error: crate::disk::StorageError) -> FileFault {
    FileFault { file: Some(error.path), reason: error.reason }
}

/// Who wants to be told of one thing.
pub struct Audience {
    lanes: Arc<Lanes>,
    chosen: Vec<Arc<Lane>>,
    shared: Arc<Shared>,
}

impl Events {
    /// From now on these endpoints are told, and no others; the queues of those that were there already go on. To be called
    /// within a tokio runtime. Blocks while events of an earlier process are read.
    pub fn install(&self, prepared: Prepared) {
        let Prepared { clients, spool, source, warning } = prepared;
        warning.iter().for_each(|warning| warn!("events.storage: {warning}"));
        let before = self.shared.lanes.load_full();
        let held = spool.is_some() && self.shared.predecessor().is_some();
        let known = |name: &str| before.all.iter().find(|lane| lane.name() == name);
        let open = |client: Client| match known(&client.endpoint().name) {
            Some(lane) => {
                lane.settle(client);
                Arc::clone(lane)
            }
            None => Arc::new(Lane::open(client, held)),
        };
        let all: Vec<_> = clients.into_iter().map(open).collect();
        let gone = before.all.iter().filter(|lane| !all.iter().any(|other| Arc::ptr_eq(lane, other)));
        gone.for_each(|lane| dismiss(lane));
        let is_new = spool.is_some() && (before.spool != spool || all.len() > before.all.len());
        self.shared.lanes.store(Arc::new(Lanes { all, spool, source }));
        if is_new {
            self.shared.adopt();
        }
        let mut keeper = self.keeper();
        let lanes = self.shared.lanes.load();
        match (&lanes.spool, keeper.is_some()) {
            (Some(_), false) => *keeper = Some(Keeper::start(Arc::clone(&self.shared))),
            (None, true) => {
                *keeper = None;
                // Nobody looks any more whether the process before has handed over what it had.
                self.shared.release();
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    /// Who wants to be told that this is done to a repository of the registry with these hosts; None where nobody does.
    pub fn audience(&self, action: EventAction, hosts: &[Host], repository: &RepositoryName) -> Option<Audience> {
        let lanes = self.shared.lanes.load();
        if lanes.all.is_empty() {
            return None;
        }
        let chosen: Vec<_> =
            lanes.all.iter().filter(|lane| lane.wants(action, hosts, repository)).map(Arc::clone).collect();
        (!chosen.is_empty()).then(|| Audience { lanes: Arc::clone(&lanes), chosen, shared: Arc::clone(&self.shared) })
    }

    /// How the endpoints stand, in the order of the configuration.
    pub fn report(&self) -> Vec<Report> {
        self.shared.lanes.load().all.iter().map(|lane| lane.queue().report()).collect()
    }

    fn keeper(&self) -> MutexGuard<'_, Option<Keeper>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience {
    /// Memory for a manifest of at most so many bytes, where somebody wants to know what it refers to.
    pub fn copy(&self, limit: u64) -> Option<Passing> {
        let is_wanted = self.chosen.iter().any(|lane| lane.wants_references());
        is_wanted.then(|| self.shared.room.open(limit))
    }

    /// Puts the event into their queues.
    pub fn tell(&self, event: &Event<'_>) {
        let stamp = Stamp::now();
        let at = stamp.at.unix_timestamp_nanos();
        let [mut bare, mut with_references] = [None, None];
        for lane in &self.chosen {
            let complete = lane.wants_references() && !event.target.references.is_empty();
            let body = if complete { &mut with_references } else { &mut bare };
            let body = body.get_or_insert_with(|| event.body(&stamp, &self.lanes.source, complete));
            lane.queue().push(Waiting { at, body: body.clone() });
        }
    }
}

impl Shared {
    fn predecessor(&self) -> MutexGuard<'_, Option<u32>> {
        self.predecessor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of an endpoint that is none any more.
fn dismiss(lane: &Lane) {
    let name = lane.name();
    lane.stop();
    match lane.queue().close().len() {
        0 => {}
        lost => warn!(endpoint = name, lost, "the endpoint is not configured any more: what waited for it is dropped"),
    }
    metrics::event_endpoint_gone(&name);
    info!(endpoint = name, "the endpoint is told of nothing any more");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn prepared(folder: &std::path::Path, storage: &str) -> Prepared {
        let text = format!(
            "version: 1\nlisten: {{}}\ntls: {{ certificates: [{{ certificate_file: c, key_file: k }}] }}\nregistries:\n  \
             - {{ hosts: [r.test], upstream: {{ servers: [{{ url: \"http://r:1\" }}] }} }}\n\
             identity: {{ providers: [htpasswd: {{ file: h }}] }}\naccess: {{ grants: [] }}\n\
             events: {{ storage: {storage}, endpoints: [{{ name: e, url: \"http://127.0.0.1:9/\" }}] }}\n"
        );
        let file = folder.join("portcullis.yml");
        std::fs::write(&file, text).unwrap();
        Prepared::new(&Config::load(&file).unwrap().events, None).unwrap()
    }

    #[tokio::test]
    async fn without_a_folder_nobody_waits_for_the_process_before() {
        let folder = tempfile::tempdir().unwrap();
        let events = Events::default();
        let is_held = || events.shared.lanes.load().all.iter().all(|lane| lane.queue().is_held());
        events.awaits(1);
        events.install(prepared(folder.path(), "events"));
        assert!(is_held());
        events.install(prepared(folder.path(), "null"));
        assert!(!is_held());
    }
}
