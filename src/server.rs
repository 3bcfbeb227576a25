//! The life of the server: what is started, in which order, and how it ends.

mod handover;
mod manager;
mod signals;

pub use handover::{Inheritance, TAKE_OVER, TakeOverError, UpgradeError};

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{signal::unix::Signal, sync::watch, task::JoinHandle, time::sleep};
use tracing::{error, info, warn};

use self::{
    handover::{Interrupt, Launch, Parent, Successor},
    signals::{Ask, Signals},
};
use crate::{
    admin::{Admin, Readiness},
    config::{Config, Shutdown},
    listener::{Door, Drain, Listening, Live, Places, PlainListener, Terms, TlsListener},
    proxy::Gate,
    reload::{self, First, Reloader},
    runtime::Runtime,
    telemetry::{log, metrics, pulse},
    tls::{self, ServerTls, acme},
};

const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// What a stop takes besides the drain.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends the drain. Returns when nothing is left or
/// `shutdown.drain` has passed; at once on SIGQUIT. SIGHUP reloads. SIGUSR2 starts the binary anew, hands the sockets over
/// and drains. With an inheritance it goes on where another process listened. `hangups` are those since the configuration
/// was read.
pub async fn run(
    config: Config,
    log: log::Control,
    inheritance: Option<Inheritance>,
    hangups: Signal,
) -> anyhow::Result<()> {
    let mut signals = Signals::install(hangups)?;
    let (server, parent) = Server::start(config, log, inheritance)?;
    if let Some((parent, pid)) = parent {
        server.takes_over(parent, pid);
    }
    server.readiness.set(true);
    manager::ready("serving");
    let end = server.serve(&mut signals).await;
    server.end(end, &mut signals).await;
    Ok(())
}

/// A server that accepts.
struct Server {
    reloader: Arc<Reloader>,
    runtime: Arc<ArcSwap<Runtime>>,
    listening: Arc<Listening>,
    readiness: Readiness,
    drain: Drain,
    stop: watch::Sender<bool>,
    /// They end when nothing is listened on any more.
    doors: [JoinHandle<()>; 2],
    tasks: Vec<JoinHandle<()>>,
}

/// Why the server ends.
enum End {
    Stop,
    Quit,
    Succeeded(Successor),
}

/// A new process that is awaited.
struct Upgrade {
    interrupt: Interrupt,
    /// How often the configuration had been read again when it began.
    reloads: u64,
    outcome: JoinHandle<Result<Successor, UpgradeError>>,
}

impl Server {
    fn start(
        config: Config,
        log: log::Control,
        inheritance: Option<Inheritance>,
    ) -> anyhow::Result<(Self, Option<(Parent, u32)>)> {
        tls::install_provider();
        let handle = metrics::install().context("cannot install the metrics recorder")?;
        for warning in &config.warnings {
            warn!("{warning}");
        }
        let First { certificates, acme: prepared, events, runtime, look } = First::load(&config)?;
        let tls = ServerTls::new(Arc::clone(&certificates))?;
        let terms = Terms::of(&config, tls.settings(config.tls.min_version)?, Arc::clone(tls.challenges()));
        let pid = inheritance.as_ref().map(|inheritance| inheritance.pid);
        // Before anybody can ask.
        if let Some(pid) = pid {
            runtime.predecessor.drains(pid);
            runtime.events.awaits(pid);
        }
        let (places, parent) = match inheritance {
            Some(inheritance) => inheritance.open().map(|(places, parent)| (places, Some(parent)))?,
            None => (Places::default(), None),
        };
        let places = places.bind(&config.listen);
        let places = places.map_err(|error| anyhow!("{}", config.error_at(error.key, &error)))?;
        info!(portcullis = env!("CARGO_PKG_VERSION"), pid = std::process::id(), file = %config.path.display(), "starting");
        places.announce();

        runtime.watch();
        runtime.events.install(events);
        let runtime = Arc::new(ArcSwap::from_pointee(runtime));
        let listening = Arc::new(Listening::new(places, terms));
        let (stop, stopping) = watch::channel(false);
        let (drain, readiness) = (Drain::default(), Readiness::default());
        // Nobody is let in before there is something to show.
        let issued = Arc::new(acme::Manager::new(Arc::clone(&certificates), Arc::clone(tls.challenges())));
        issued.install(prepared);
        reload::report_certificates(&config, &certificates);
        let gate = Arc::new(Gate::new(Arc::clone(&runtime), drain.clone()));
        let doors = [
            tokio::spawn(TlsListener::new(listening.subscribe()).run(gate, drain.clone(), stopping)),
            tokio::spawn(PlainListener::new(listening.subscribe()).run()),
        ];
        let ends = tokio::spawn(tls::watch_ends(Arc::clone(&certificates)));
        let admin =
            Admin::new(handle.clone(), readiness.clone(), Arc::clone(&runtime), Arc::clone(&issued), drain.clone());
        let reloader =
            Reloader::new(config, look, Arc::clone(&runtime), certificates, issued, tls, Arc::clone(&listening), log);
        let reloader = Arc::new(reloader);
        let tasks = vec![
            ends,
            tokio::spawn(keep_metrics(handle)),
            tokio::spawn(pulse::beat()),
            tokio::spawn(admin.run(Door::new(listening.subscribe(), Live::admin))),
            tokio::spawn(reload::watch(Arc::clone(&reloader), manager::configured)),
            tokio::spawn(manager::keep_alive()),
        ];
        let server = Self { reloader, runtime, listening, readiness, drain, stop, doors, tasks };
        Ok((server, parent.zip(pid)))
    }

    /// Tells the process before that it may leave, and counts what that leaves open.
    fn takes_over(&self, mut parent: Parent, pid: u32) {
        let predecessor = Arc::clone(&self.runtime.load().predecessor);
        let events = Arc::clone(&self.runtime.load().events);
        match parent.ready() {
            Ok(()) => info!(predecessor = pid, "took over"),
            // It is gone, and this is the only one left.
            Err(error) => warn!(predecessor = pid, %error, "took over; the process before cannot be told"),
        }
        let runtime = Arc::clone(&self.runtime);
        std::thread::spawn(move || {
            let left = parent.end();
            predecessor.ended(left);
            events.predecessor_ended();
            // What that one said last, of its own draining, is no longer so.
            manager::configured(runtime.load().reloads.report().failure.is_none());
            info!(predecessor = pid, open_writes = left, "the process before has ended");
        });
    }

    async fn serve(&self, signals: &mut Signals) -> End {
        let mut upgrade: Option<Upgrade> = None;
        loop {
            tokio::select! {
                ask = signals.next(&self.reloader) => match ask {
                    Ask::Quit => {
                        upgrade.iter().for_each(|upgrade| upgrade.interrupt.quit());
                        return End::Quit;
                    }
                    Ask::Stop => return stopped(upgrade).await,
                    Ask::Upgrade if upgrade.is_some() => {
                        let pid = upgrade.as_ref().map(|upgrade| upgrade.interrupt.pid);
                        warn!(pid, "a new process was started already, and is awaited for two minutes");
                    }
                    Ask::Upgrade => upgrade = self.upgrade(),
                },
                outcome = outcome(&mut upgrade) => match outcome {
                    Ok(successor) => {
                        // It may have read what is no longer in force, and nobody may tell it so.
                        if upgrade.is_none_or(|upgrade| upgrade.reloads != self.reloader.begun()) {
                            Successor::reload(successor.pid);
                        }
                        return End::Succeeded(successor);
                    }
                    Err(error) => {
                        upgrade = None;
                        self.runtime.load().awaited.set(false);
                        failed(&error);
                    }
                },
            }
        }
    }

    fn upgrade(&self) -> Option<Upgrade> {
        info!("starting the binary anew, to hand over to it");
        log::flush();
        let (reloads, awaited) = (self.reloader.begun(), Arc::clone(&self.runtime.load().awaited));
        awaited.set(true);
        let launch = Launch::begin(Arc::clone(&self.listening));
        let begun = launch.and_then(|launch| Ok((launch.interrupt()?, launch)));
        let begun = begun.inspect_err(|error| {
            awaited.set(false);
            failed(error);
        });
        begun.ok().map(|(interrupt, launch)| Upgrade {
            interrupt,
            reloads,
            outcome: tokio::task::spawn_blocking(move || launch.ready()),
        })
    }

    async fn end(self, end: End, signals: &mut Signals) {
        match end {
            End::Quit => {
                info!("stopping at once: SIGQUIT");
                return self.stopped(false).await;
            }
            End::Stop => {
                let Shutdown { delay, drain } = self.reloader.config().shutdown;
                self.readiness.set(false);
                manager::stopping(delay + drain + LAST_STEPS);
                if delay.is_zero() || self.delayed(delay, signals).await {
                    self.listening.close();
                    self.drained("SIGTERM or SIGINT", drain, signals, &mut 1).await;
                }
            }
            End::Succeeded(successor) => {
                info!(pid = std::process::id(), successor = successor.pid, "another process serves now");
                manager::succeeded_by(successor.pid);
                signals.pass_on_to(successor.pid);
                self.runtime.load().events.hand_over();
                self.listening.leave();
                // A service manager that stops the service tells all its processes, and does not mean to cut anything.
                let mut patience = 2;
                let limit = self.reloader.config().shutdown.drain;
                self.drained("another process serves", limit, signals, &mut patience).await;
                // What that one has open, nobody else can count.
                tokio::select! {
                    () = self.predecessor_ended() => {}
                    () = told(signals, &self.reloader, &mut patience) => {}
                }
                self.stopped(true).await;
                // The last lines of this process stand before what the other one says of its end.
                log::flush();
                successor.bequeath(self.runtime.load().left_open());
                return;
            }
        }
        self.stopped(true).await;
    }

    /// Ends what is left. Events that can be delivered now are, where there is `patience` for that.
    async fn stopped(&self, patience: bool) {
        let pid = std::process::id();
        self.doors.iter().for_each(JoinHandle::abort);
        match self.drain.cut().await {
            0 => info!(cut = 0, pid, "stopped"),
            cut => warn!(cut, pid, "stopped"),
        }
        self.runtime.load().events.close(patience).await;
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    /// Lets clients in for as long as it takes others to hear of the stop. False where that is cut short for good.
    async fn delayed(&self, delay: Duration, signals: &mut Signals) -> bool {
        info!(
            pid = std::process::id(),
            because = "SIGTERM or SIGINT",
            delay = delay.as_secs_f64(),
            "stopping soon: connections are still accepted for shutdown.delay"
        );
        tokio::select! {
            () = sleep(delay) => true,
            ask = stop_asked(signals, &self.reloader) => ask != Ask::Quit,
        }
    }

    /// Waits until all who have come have left, for so long, or until so many more signals come.
    async fn drained(&self, because: &str, limit: Duration, signals: &mut Signals, patience: &mut usize) {
        let (connections, requests) = (self.drain.active(), self.drain.requests());
        info!(pid = std::process::id(), because, connections, requests, drain = limit.as_secs_f64(), "stopping");
        self.stop.send_replace(true);
        let done = async {
            while !self.doors.iter().all(JoinHandle::is_finished) {
                sleep(Duration::from_millis(5)).await;
            }
            self.drain.wait().await;
        };
        tokio::select! {
            () = done => {}
            () = sleep(limit) => {}
            () = told(signals, &self.reloader, patience) => {}
        }
    }

    /// Waits for the process that this one took over from, which has a deadline of its own.
    async fn predecessor_ended(&self) {
        let predecessor = Arc::clone(&self.runtime.load().predecessor);
        while predecessor.pid().is_some() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// SIGTERM while another process is on its way: that one is stopped too, unless it serves already.
async fn stopped(upgrade: Option<Upgrade>) -> End {
    let Some(Upgrade { interrupt, outcome, .. }) = upgrade else { return End::Stop };
    interrupt.now();
    match outcome.await {
        Ok(Ok(successor)) => End::Succeeded(successor),
        Ok(Err(_)) | Err(_) => End::Stop,
    }
}

async fn outcome(upgrade: &mut Option<Upgrade>) -> Result<Successor, UpgradeError> {
    match upgrade {
        Some(Upgrade { outcome, .. }) => outcome.await.unwrap_or(Err(UpgradeError::Silent)),
        None => std::future::pending().await,
    }
}

fn failed(error: &UpgradeError) {
    error!("the binary was not exchanged, this process serves on: {error}");
}

/// The next signal that is about the end.
async fn stop_asked(signals: &mut Signals, reloader: &Arc<Reloader>) -> Ask {
    loop {
        match signals.next(reloader).await {
            Ask::Upgrade => warn!("no upgrade while the process stops"),
            ask @ (Ask::Stop | Ask::Quit) => return ask,
        }
    }
}

/// Waits for so many signals to end, or for one to end at once; `patience` is what is left.
async fn told(signals: &mut Signals, reloader: &Arc<Reloader>, patience: &mut usize) {
    while *patience > 0 {
        *patience = match stop_asked(signals, reloader).await {
            Ask::Quit => 0,
            Ask::Stop | Ask::Upgrade => patience.saturating_sub(1),
        };
    }
}

/// Keeps the recorder's memory level where nobody asks for the metrics.
async fn keep_metrics(handle: PrometheusHandle) {
    loop {
        sleep(METRICS_UPKEEP).await;
        handle.run_upkeep();
    }
}
