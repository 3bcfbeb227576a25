use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::{
        WindowStatus,
        memory::{Buffers, Memory},
        problems::Severity,
        traffic::{PerSecond, ProviderStatus, Refused},
    },
    *,
};

/// Their keys are words of the traffic, and told with them.
const MAPS: [&str; 3] = ["traffic.answers", "logins.providers[].outcomes", "logins.providers[].recent"];

/// With everything that there can be.
fn full() -> Status<'static> {
    let text = || Some(String::new());
    Status {
        version: VERSION,
        pid: 1,
        portcullis: "",
        started: text(),
        uptime_seconds: 1,
        now: text(),
        ready: true,
        health: "ok",
        problems: vec![Problem { severity: Severity::Note, about: "", what: String::new(), advice: String::new() }],
        predecessor: Some(1),
        configuration: ConfigurationStatus {
            file: String::new(),
            generation: 1,
            in_force_since: text(),
            fingerprint: String::new(),
            error: text(),
            failed_at: text(),
            unreadable: vec![UnreadableFile { file: String::new(), error: String::new() }],
        },
        certificates: vec![CertificateStatus {
            names: vec![String::new()],
            source: String::new(),
            file: text(),
            not_after: String::new(),
            days_left: 1,
            standing: String::new(),
        }],
        acme: vec![AcmeStatus {
            names: vec![String::new()],
            not_after: text(),
            next_attempt: text(),
            asked: false,
            window: Some(WindowStatus { start: String::new(), end: String::new(), explanation: text() }),
            under_way: false,
            error: text(),
            failed_at: text(),
        }],
        open_writes: 1,
        registries: vec![RegistryStatus {
            name: String::new(),
            read_only: ReadOnlyStatus::Whole(true),
            read_only_uploads: "",
            open_writes: 1,
            servers: vec![ServerStatus {
                url: String::new(),
                purpose: "",
                upstream: 0,
                role: "",
                up: true,
                error: text(),
                under_way: 1,
                latency_ms: Some(1.0),
                failures: 1,
            }],
        }],
        traffic: TrafficStatus {
            connections: 1,
            under_way: 1,
            answers: [("2xx", 1)].into(),
            broken: 1,
            bytes_in: 1,
            bytes_out: 1,
            per_second: PerSecond { requests: 1.0, failures: 1.0, refused: 1.0, bytes_in: 1.0, bytes_out: 1.0 },
            refused: vec![Refused { reason: "", total: 1, recent: 1 }],
        },
        logins: LoginStatus {
            providers: vec![ProviderStatus {
                provider: "",
                outcomes: [("accepted", 1)].into(),
                recent: [("accepted", 1)].into(),
            }],
            throttled: 1,
            throttled_names: 1,
            throttled_networks: 1,
        },
        directories: vec![DirectoryStatus { provider: String::new(), server: String::new(), up: true, error: text() }],
        events: vec![EventStatus {
            endpoint: String::new(),
            queued: 1,
            limit: 1,
            delivered: 1,
            dropped: 1,
            failing_since: text(),
            error: text(),
        }],
        memory: Memory {
            resident_bytes: Some(1),
            buffers: Buffers { limit_bytes: 1, used_bytes: 1, waiting: 1, waits: 1 },
        },
        history: Some(History {
            step_seconds: 1,
            points: 1,
            last: 1,
            at: vec![1],
            requests: vec![1.0],
            failures: vec![1.0],
            refused: vec![1.0],
            bytes_in: vec![1.0],
            bytes_out: vec![1.0],
        }),
    }
}

/// The paths of all fields, as the guide writes them.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !MAPS.contains(&path) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                paths(field, &path, found);
            }
        }
        Value::Array(list) if list.first().is_some_and(Value::is_object) => {
            list.iter().for_each(|one| paths(one, &format!("{path}[]"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn the_guide_has_every_field_and_no_other() {
    let guide = include_str!("../../../conf/guide/status.md");
    let (_, tables) = guide.split_once("\n## JSON\n").unwrap();
    let told = tables.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let told: BTreeSet<String> = told.map(|(path, _)| path.to_owned()).collect();
    let mut there = BTreeSet::new();
    paths(&serde_json::to_value(full()).unwrap(), "", &mut there);
    let missing: Vec<_> = there.difference(&told).collect();
    let surplus: Vec<_> = told.difference(&there).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not in the guide: {missing:?}; not in the answer: {surplus:?}");
}

#[test]
fn it_is_written_to_be_read_but_for_the_page() {
    let mut status = full();
    assert_eq!(json(&status).lines().count(), 1);
    status.history = None;
    assert!(json(&status).lines().count() > 50);
}
