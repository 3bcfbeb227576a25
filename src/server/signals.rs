//! The signals that the process acts on, from its start on: until there is something to reload, SIGHUP waits.

use std::sync::Arc;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use super::{handover::Successor, manager};
use crate::reload::Reloader;

/// What a signal asks of the server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGQUIT.
    Quit,
    /// SIGUSR2.
    Upgrade,
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    upgrade: Signal,
    hangup: Signal,
    reload: Option<JoinHandle<()>>,
    /// Another SIGHUP came while a reload was under way.
    again: bool,
    /// The process that took over from this one.
    successor: Option<u32>,
}

impl Signals {
    pub(super) fn install(hangup: Signal) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            upgrade: signal(SignalKind::user_defined2())?,
            hangup,
            reload: None,
            again: false,
            successor: None,
        })
    }

    /// From now on SIGHUP is passed on to this process: who sent it may not have heard yet that this one is another.
    pub(super) fn pass_on_to(&mut self, successor: u32) {
        self.successor = Some(successor);
        if self.again {
            Successor::reload(successor);
        }
    }

    /// Waits for a signal that is about the server as a whole. SIGHUP has the configuration and all that it names read
    /// again, which may take its time on a file system that is slow, and holds up nothing.
    pub(super) async fn next(&mut self, reloader: &Arc<Reloader>) -> Ask {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ask::Stop,
                _ = self.interrupt.recv() => return Ask::Stop,
                _ = self.quit.recv() => return Ask::Quit,
                _ = self.upgrade.recv() => return Ask::Upgrade,
                _ = self.hangup.recv() => {
                    self.again = true;
                    self.successor.into_iter().for_each(Successor::reload);
                }
                () = ended(&mut self.reload) => self.reload = None,
            }
            if self.reload.is_none() && std::mem::take(&mut self.again) {
                let reloader = Arc::clone(reloader);
                self.reload = Some(tokio::task::spawn_blocking(move || reload(&reloader)));
            }
        }
    }
}

fn reload(reloader: &Reloader) {
    manager::reloading();
    // The log says what was wrong, and the configuration in force stays.
    let usable = reloader.reload().is_ok();
    manager::ready(manager::serving_by(usable));
}

async fn ended(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}
