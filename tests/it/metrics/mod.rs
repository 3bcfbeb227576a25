//! What a real Prometheus gets to know of a gate: every metric of the documentation, and that each moves.

mod load;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use portcullis::telemetry::metrics::{
    Label, Values,
    catalogue::{self, Kind, Metric},
};
use serde_json::Value;

use self::load::Scene;
use crate::support::{Portcullis, Prometheus, Registry, Series, run};

/// What need not move under the script, and why.
const UNMOVED: &[(&str, &str)] = &[
    ("portcullis_build_info", "it is 1, always"),
    ("process_start_time_seconds", "there is one process"),
    ("process_max_fds", "the limit is the limit"),
    ("portcullis_certificate_expiry_timestamp_seconds", "the certificate stays; tls::pairs renews one"),
    ("portcullis_acme_attempts_total", "the first one is made before anybody looks; its count is looked at below"),
    ("portcullis_acme_next_attempt_timestamp_seconds", "the first one is made before anybody looks"),
    ("portcullis_acme_renewal_window_start_timestamp_seconds", "nobody says when; acme::window hears of one"),
    ("portcullis_logins_throttled_total", "it takes many wrong logins; throttle has them"),
    ("portcullis_login_verifications_waiting", "nobody waits for long; below"),
    ("portcullis_buffer_waiting", "there is memory; buffers has none"),
    ("portcullis_buffer_waits_total", "there is memory; buffers has none"),
    ("portcullis_log_lines_dropped_total", "somebody reads the log"),
    ("portcullis_events_queue_limit", "the limit is the limit"),
    ("portcullis_upstream_resumes_total", "no server dies in a body; survive::pulls kills some"),
];

#[test]
fn a_prometheus_sees_every_metric_and_what_happens() {
    let mut scene = Scene::new();
    let prometheus = Prometheus::scraping(scene.gate.admin_port());
    let before = prometheus.next_scrape();
    every_word_is_there(&before);
    let _held = scene.load();
    let after = prometheus.next_scrape();

    only_words_are_there(&after);
    let unmoved = catalogue::all().filter(|Metric { name, kind, .. }| {
        let (was, is) = (shown(&before, name, *kind), shown(&after, name, *kind));
        assert!(!is.is_empty(), "{name} is not there");
        !is.iter().any(|(labels, value)| was.get(labels).is_none_or(|was| was != value))
    });
    let unmoved: Vec<&str> = unmoved.map(|metric| metric.name).collect();
    let unexpected = unmoved.iter().filter(|name| !UNMOVED.iter().any(|(unmoved, _)| unmoved == *name));
    assert_eq!(unexpected.collect::<Vec<_>>(), Vec::<&&str>::new(), "these did not move");
    what_matters_is_right(&after);
    accepted_by_promtool(&scene.gate);
    every_panel_has_data(&prometheus);
}

/// Every combination of fixed words has its series before anything happens.
fn every_word_is_there(scraped: &[Series]) {
    for Metric { name, kind, labels, .. } in
        catalogue::all().filter(|metric| metric.name != "portcullis_requests_total")
    {
        let of_metric = shown(scraped, name, *kind);
        assert!(!of_metric.is_empty(), "{name} is not there from the start");
        let combinations: usize = labels.iter().map(|label| words(label).map_or(1, <[_]>::len)).product();
        let configured =
            labels.iter().filter(|label| words(label).is_none()).map(|label| label.name).collect::<Vec<_>>();
        let mut seen: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
        for labels in of_metric.keys() {
            *seen.entry(configured.iter().map(|name| labels[*name].as_str()).collect()).or_default() += 1;
        }
        for (configured, count) in seen {
            let nobodys = *name == "portcullis_authentication_duration_seconds" && configured == ["none"];
            assert!(count == combinations || nobodys, "{name} {configured:?}: {count} of {combinations}");
        }
    }
    for code in ["200", "401", "502"] {
        let count =
            scraped.iter().filter(|one| one.name() == "portcullis_requests_total" && one.labels["code"] == code);
        assert_eq!(count.count(), 2 * 13, "of each route of the registry and of none");
    }
}

/// Nothing of a request is a label.
fn only_words_are_there(scraped: &[Series]) {
    for Metric { name, kind, labels, .. } in catalogue::all() {
        for found in shown(scraped, name, *kind).keys() {
            let known: BTreeSet<&str> = labels.iter().map(|label| label.name).collect();
            assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "{name}");
            for label in *labels {
                let value = found[label.name].as_str();
                assert!(words(label).is_none_or(|words| words.contains(&value)), "{name}: {} is {value}", label.name);
            }
        }
    }
    let known = |one: &Series| {
        let name = one.name();
        let ours = name.starts_with("portcullis_") || name.starts_with("process_");
        !ours || catalogue::all().any(|metric| name.starts_with(metric.name))
    };
    scraped.iter().for_each(|one| assert!(known(one), "{one:?} is in no catalogue"));
}

fn words(label: &Label) -> Option<&'static [&'static str]> {
    match label.values {
        Values::Fixed(words) => Some(words),
        Values::Configured(_) | Values::Status => None,
    }
}

/// The series of a metric by their own labels; of a histogram how much was measured.
fn shown(scraped: &[Series], name: &str, kind: Kind) -> BTreeMap<BTreeMap<String, String>, String> {
    let name = match kind {
        Kind::Histogram(_) => format!("{name}_count"),
        Kind::Counter | Kind::Gauge => name.to_owned(),
    };
    let own = |series: &Series| {
        let labels = series.labels.clone().into_iter();
        labels.filter(|(label, _)| !["__name__", "instance", "job"].contains(&label.as_str())).collect()
    };
    let of_metric = scraped.iter().filter(|series| series.name() == name);
    // NaN is equal to nothing, and a text to itself.
    of_metric.map(|series| (own(series), series.value.to_string())).collect()
}

/// Numbers that follow from the script.
fn what_matters_is_right(scraped: &[Series]) {
    let sum = |name: &str, labels: &[(&str, &str)]| -> f64 {
        let of = scraped.iter().filter(|one| one.name() == name);
        of.filter(|one| labels.iter().all(|(name, value)| one.labels[*name] == *value)).map(|one| one.value).sum()
    };
    for (name, labels, count) in [
        ("portcullis_authentications_total", &[("provider", "ldap"), ("outcome", "accepted")][..], 1.0),
        ("portcullis_tokens_verified_total", &[("outcome", "wrong_audience")], 1.0),
        ("portcullis_tokens_verified_total", &[("outcome", "malformed")], 1.0),
        ("portcullis_tokens_issued_total", &[("kind", "refresh")], 1.0),
        ("portcullis_refused_total", &[("reason", "denied")], 1.0),
        ("portcullis_refused_total", &[("reason", "unknown_host")], 1.0),
        ("portcullis_requests_total", &[("registry", "none"), ("code", "421")], 1.0),
        ("portcullis_requests_in_flight", &[], 1.0),
        ("portcullis_open_writes", &[], 1.0),
        ("portcullis_connections", &[], 1.0),
        ("portcullis_connections_limit", &[], 100.0),
        ("portcullis_tls_handshakes_total", &[("version", "TLSv1.2")], 1.0),
        ("portcullis_tls_handshakes_total", &[("resumed", "yes")], 1.0),
        ("portcullis_tls_handshake_failures_total", &[("reason", "alert_unknown_ca")], 1.0),
        ("portcullis_tls_handshake_failures_total", &[("reason", "no_shared_protocol")], 1.0),
        ("portcullis_tls_handshake_failures_total", &[("reason", "no_shared_version")], 1.0),
        ("portcullis_tls_handshake_failures_total", &[("reason", "not_tls")], 1.0),
        ("portcullis_connections_refused_total", &[("reason", "plain_http")], 1.0),
        ("portcullis_config_reloads_total", &[("outcome", "failure")], 1.0),
        ("portcullis_config_reloads_total", &[("outcome", "success")], 2.0),
        ("portcullis_certificate_expiry_timestamp_seconds", &[("name", "acme.test")], 0.0),
    ] {
        let all =
            || shown(scraped, name, Kind::Counter).into_iter().filter(|(_, value)| value != "0").collect::<Vec<_>>();
        assert_eq!(sum(name, labels), count, "{name} {labels:?}: {:?}", all());
    }
    for (name, labels) in [
        ("portcullis_upstream_errors_total", ("kind", "connect")),
        ("portcullis_upstream_probes_total", ("outcome", "bad")),
        ("portcullis_acme_attempts_total", ("result", "unreachable")),
        ("portcullis_login_cache_lookups_total", ("result", "hit")),
        ("portcullis_token_cache_lookups_total", ("result", "hit")),
        ("portcullis_requests_by_protocol_total", ("protocol", "HTTP/2")),
        ("portcullis_body_bytes_total", ("direction", "in")),
        // A probe may be among them.
        ("portcullis_upstream_requests_in_flight", ("registry", "localhost")),
    ] {
        assert!(sum(name, &[labels]) > 0.0, "{name} {labels:?}");
    }
}

fn accepted_by_promtool(gate: &Portcullis) {
    let text = gate.admin("/metrics").text();
    let checked = run(Command::new("promtool").args(["check", "metrics"]), &text).succeeded();
    assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), ("", ""), "promtool has nothing to say");
}

/// Each query of the dashboard is one, and those that are not about events and exceptions show something.
fn every_panel_has_data(prometheus: &Prometheus) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/observability/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut query = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in
                [("$__rate_interval", "1m"), ("$instance", ".*"), ("$registry", ".*"), ("$server", ".*")]
            {
                query = query.replace(variable, value);
            }
            let found = prometheus.query(&query);
            let may_be_empty = query.contains(" > 0");
            assert!(may_be_empty || !found.is_empty(), "{}: {query} shows nothing", panel["title"]);
            queries += 1;
        }
    }
    assert!(queries > 50);
}

#[test]
fn logins_that_wait_for_a_thread_are_shown() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let waiting = || gate.counted("portcullis_login_verifications_waiting", "");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..12 {
            let (gate, over) = (&gate, &over);
            scope.spawn(move || {
                let name = format!("somebody-{number}:wrong");
                while !over.load(Ordering::SeqCst) {
                    gate.curl("/v2/").argument("--user").argument(&name).send();
                }
            });
        }
        let seen = (0..400).any(|_| {
            thread::sleep(Duration::from_millis(5));
            waiting() > 0.0
        });
        over.store(true, Ordering::SeqCst);
        assert!(seen, "nobody waited");
    });
    assert_eq!(waiting(), 0.0);
}
