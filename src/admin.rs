//! Health, metrics and status for operators, on an address of their own, in plain HTTP.

mod asked;
mod certificates;
mod memory;
mod page;
mod problems;
mod readiness;
mod status;
mod traffic;

pub use certificates::{AcmeStatus, CertificateStatus, WindowStatus};
pub use readiness::Readiness;

use std::{collections::VecDeque, convert::Infallible, future, pin::pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use self::{asked::Stranger, status::Status};
use crate::{
    listener::{Door, Drain},
    runtime::Runtime,
    telemetry::metrics,
    tls::acme,
};

const CONNECTIONS: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The longest head.
const HEAD_SIZE: usize = 16 * 1024;
/// How long one connection may ask one thing after the other, and what is left to the last answer then: who does not read
/// what was asked for holds no place.
const LIFE: Duration = Duration::from_secs(60);
const LAST_ANSWER: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const HERE: &str = "here are /healthz, /readyz, /metrics and /status\n";

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
    drain: Drain,
}

impl Admin {
    pub fn new(
        handle: PrometheusHandle,
        readiness: Readiness,
        runtime: Arc<ArcSwap<Runtime>>,
        issued: Arc<acme::Manager>,
        drain: Drain,
    ) -> Self {
        status::begin();
        Self { shown: Shown { handle, readiness, runtime, issued, drain } }
    }

    /// Serves until it is dropped, or nothing is listened on for good. From then on each connection gets one more answer:
    /// operators want to hear of the process that took over.
    ///
    /// Where all places are taken the oldest connection is closed for the newest. An answer takes a moment, so whoever has
    /// been there for longest waits for nothing; and a probe that found no place would have the process killed.
    pub async fn run(self, mut door: Door) {
        let shown = Arc::new(self.shown);
        let (_open, open) = watch::channel(());
        let mut connections: VecDeque<JoinHandle<()>> = VecDeque::new();
        loop {
            let Some((stream, _)) = door.next().await else { return };
            connections.retain(|connection| !connection.is_finished());
            if connections.len() >= CONNECTIONS
                && let Some(oldest) = connections.pop_front()
            {
                oldest.abort();
            }
            connections.push_back(tokio::spawn(serve(stream, Arc::clone(&shown), open.clone())));
        }
    }
}

/// `open` is closed once each connection is to get one more answer.
async fn serve(stream: TcpStream, shown: Arc<Shown>, open: watch::Receiver<()>) {
    let service = service_fn(move |request| {
        let mut answer = answer(&request, &shown);
        if open.has_changed().is_err() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        // Who has asked and will ask nothing more may say so before the answer.
        .half_close(true)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = &mut connection => {}
        () = sleep(LIFE) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LAST_ANSWER, connection).await;
        }
    }
}

fn answer(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    let mut response = judged(request, shown);
    // No word of CORS: no page of another origin may read this.
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn judged(request: &Request<Incoming>, shown: &Shown) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let path = request.uri().path();
    // It tells nothing.
    if path == "/healthz" {
        return text(StatusCode::OK, "ok\n");
    }
    let runtime = shown.runtime.load();
    let is_ours =
        |name: &str| runtime.registries().any(|registry| registry.hosts.iter().any(|host| *host.name == *name));
    match asked::judge(request.headers(), is_ours) {
        Ok(()) => {}
        Err(Stranger::Page) => return text(StatusCode::FORBIDDEN, "not for a page of another site\n"),
        Err(Stranger::Name) => {
            let why = "not for a browser by this name, which could be another site's: use the IP address, localhost (by ssh -L \
                       or kubectl port-forward), or a host of a registry\n";
            return text(StatusCode::MISDIRECTED_REQUEST, why);
        }
    }
    match path {
        "/readyz" => ready_or_not(shown, &runtime),
        "/metrics" => {
            status::refresh(&runtime);
            typed(StatusCode::OK, METRICS, metrics::render(&shown.handle))
        }
        "/status" => show(request, &status::of(shown, &runtime, asked::points(request.uri().query()))),
        "/" if asked::wants_page(None, request.headers()) => {
            let mut response = text(StatusCode::SEE_OTHER, HERE);
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("status"));
            response
        }
        "/" => text(StatusCode::OK, HERE),
        _ => text(StatusCode::NOT_FOUND, HERE),
    }
}

fn ready_or_not(shown: &Shown, runtime: &Runtime) -> Response<Full<Bytes>> {
    let status = status::of(shown, runtime, None);
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(code, readiness::told(&status, &runtime.certificates.missing(), shown.readiness.get()))
}

/// The status as whoever asks wants to have it.
fn show(request: &Request<Incoming>, status: &Status<'_>) -> Response<Full<Bytes>> {
    let mut response = if asked::wants_page(request.uri().query(), request.headers()) {
        let mut response = typed(StatusCode::OK, "text/html; charset=utf-8", page::of(status));
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, page::policy());
        response
    } else {
        typed(StatusCode::OK, "application/json", status::json(status))
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, TEXT, body)
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
