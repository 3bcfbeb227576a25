//! The life of the server: what is started, in which order, and how it ends.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};
use tracing::{info, warn};

use crate::{
    admin::{Admin, Readiness},
    config::Config,
    listener::{Drain, PlainListener, Terms, TlsListener},
    proxy::Gate,
    reload::{self, Reloader},
    runtime::Runtime,
    telemetry::metrics,
    tls::{self, CertStore},
    token::Keys,
};

const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends the drain. Returns when nothing is left or `shutdown.drain` has passed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    tls::install_provider();
    let handle = metrics::install().context("cannot install the metrics recorder")?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let certificates = Arc::new(CertStore::new(reload::load_certificates(&config)?));
    reload::report_certificates(&config, &certificates);
    let keys = Arc::new(Keys::load_or_create(&config.tokens.keys)?);
    let runtime = Runtime::build(&config, keys)?;
    runtime.watch();
    let runtime = Arc::new(ArcSwap::from_pointee(runtime));
    let tls_config = tls::server_config(Arc::clone(&certificates), config.tls.min_version)?;
    let reloader = Arc::new(Reloader::new(config.clone(), Arc::clone(&runtime), certificates));

    let https = TlsListener::bind(&config.listen.https).await.context("cannot listen for https")?;
    let http = PlainListener::bind(&config.listen.http).await.context("cannot listen for http")?;
    let readiness = Readiness::default();
    let (stop, stopping) = watch::channel(false);
    let drain = Drain::default();
    let mut tasks = vec![tokio::spawn(keep_metrics(handle.clone()))];
    if let Some(address) = config.listen.admin {
        let admin = Admin::bind(address, handle, readiness.clone(), Arc::clone(&runtime))
            .await
            .with_context(|| format!("cannot listen for admin requests on {address}"))?;
        tasks.push(tokio::spawn(admin.run()));
    }
    let admin = config.listen.admin.map_or_else(|| "off".to_owned(), |address| address.to_string());
    info!(https = shown(&https.local_addresses()), http = shown(&http.local_addresses()), admin, "listening");
    let gate = Arc::new(Gate::new(Arc::clone(&runtime)));
    let limits = config.limits.clone();
    tasks.push(tokio::spawn(https.run(tls_config, terms(&config), gate, drain.clone(), stopping.clone())));
    tasks.push(tokio::spawn(http.run(hosts(&config), public_port(&config), limits, stopping)));
    if config.reload.watch {
        tasks.push(tokio::spawn(watch_files(Arc::clone(&runtime), config.reload.interval)));
    }
    readiness.set(true);
    metrics::reloaded(true);

    signals.stop(&reloader).await;
    readiness.set(false);
    info!(under_way = drain.active(), "stopping");
    stop.send_replace(true);
    let cut = tokio::select! {
        cut = drain.wait(config.shutdown.drain) => cut,
        () = signals.stop(&reloader) => drain.active(),
    };
    tasks.iter().for_each(JoinHandle::abort);
    info!(cut, "stopped");
    Ok(())
}

fn shown(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")
}

fn terms(config: &Config) -> Terms {
    Terms { limits: config.limits.clone(), proxies: config.listen.trusted_proxies.clone() }
}

fn hosts(config: &Config) -> Vec<crate::config::Host> {
    config.registries.iter().flat_map(|registry| registry.hosts.clone()).collect()
}

fn public_port(config: &Config) -> u16 {
    let listening = config.listen.https.first().map(SocketAddr::port);
    config.listen.public_port.or(listening).unwrap_or(443)
}

/// Keeps the recorder's memory level where nobody asks for the metrics.
async fn keep_metrics(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        handle.run_upkeep();
    }
}

/// Looks at the password files again and again, by content.
async fn watch_files(runtime: Arc<ArcSwap<Runtime>>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        refresh(&runtime).await;
    }
}

/// Reading a large file and parsing it must not hold up the requests of this worker.
async fn refresh(runtime: &ArcSwap<Runtime>) {
    let runtime = runtime.load_full();
    let _ = tokio::task::spawn_blocking(move || runtime.chain.refresh()).await;
}

/// The signals that the process acts on, from its start on: until there is something to reload, SIGHUP waits.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reload: Option<JoinHandle<()>>,
    /// Another SIGHUP came while a reload was under way.
    again: bool,
}

impl Signals {
    fn install() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reload: None,
            again: false,
        })
    }

    /// Waits for SIGTERM or SIGINT. SIGHUP has the configuration and all that it names read again, which may take its
    /// time on a file system that is slow, and holds up nothing.
    async fn stop(&mut self, reloader: &Arc<Reloader>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => self.again = true,
                () = ended(&mut self.reload) => self.reload = None,
            }
            if self.reload.is_none() && std::mem::take(&mut self.again) {
                let reloader = Arc::clone(reloader);
                // The log says what was wrong, and the configuration in force stays.
                self.reload = Some(tokio::task::spawn_blocking(move || drop(reloader.reload())));
            }
        }
    }
}

async fn ended(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}
