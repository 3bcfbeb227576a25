//! Health, metrics and status for operators, on an address of their own, in plain HTTP.

mod certificates;
mod status;

pub use certificates::{AcmeStatus, CertificateStatus, WindowStatus};

use std::{
    convert::Infallible,
    future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Semaphore, watch};

use crate::{listener::Door, runtime::Runtime, telemetry::metrics, tls::acme};

const CONNECTIONS: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(10);

/// True between the moment when the listeners accept and the moment when they stop.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Answers operators.
pub struct Admin {
    shown: Shown,
}

/// What there is to see.
struct Shown {
    handle: PrometheusHandle,
    readiness: Readiness,
    runtime: Arc<ArcSwap<Runtime>>,
    issued: Arc<acme::Manager>,
}

impl Admin {
    pub fn new(
        handle: PrometheusHandle,
        readiness: Readiness,
        runtime: Arc<ArcSwap<Runtime>>,
        issued: Arc<acme::Manager>,
    ) -> Self {
        Self { shown: Shown { handle, readiness, runtime, issued } }
    }

    /// Serves until it is dropped, or nothing is listened on for good. From then on each connection gets one more answer:
    /// operators want to hear of the process that took over.
    pub async fn run(self, mut door: Door) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let shown = Arc::new(self.shown);
        let (_open, open) = watch::channel(());
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let Some((stream, _)) = door.next().await else { return };
            let (shown, open) = (Arc::clone(&shown), open.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let mut answer = answer(&request, &shown);
                    if open.has_changed().is_err() {
                        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    future::ready(Ok::<_, Infallible>(answer))
                });
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIME)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(slot);
            });
        }
    }
}

fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => ready_or_not(shown),
        "/metrics" => {
            status::refresh(&shown.runtime.load());
            text(StatusCode::OK, metrics::render(&shown.handle))
        }
        "/status" => {
            let mut response = text(StatusCode::OK, status::report(&shown.runtime.load(), shown.issued.reports()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        _ => text(StatusCode::NOT_FOUND, "here are /healthz, /readyz, /metrics and /status\n"),
    }
}

/// Where clients trust nothing that is shown there is nobody to send here. One name that waits for its certificate keeps
/// nobody from the others.
fn ready_or_not(shown: &Shown) -> Response<Full<Bytes>> {
    let runtime = shown.runtime.load();
    let missing = runtime.certificates.missing().join(", ");
    let told = |word: &str| format!("{word}: a temporary self-signed certificate alone for {missing}\n");
    if !shown.readiness.get() {
        text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    } else if missing.is_empty() {
        text(StatusCode::OK, "ready\n")
    } else if runtime.certificates.has_lasting() {
        text(StatusCode::OK, told("ready"))
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, told("not ready"))
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}
