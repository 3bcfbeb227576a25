//! What a line of the log costs: processor time of the whole process for the lines of one request, their way to
//! standard error included.
//!
//! `cargo bench --bench log 2> >(cat >/dev/null)`: what is written goes through a pipe, as to a service manager.

#![allow(clippy::unwrap_used)] // a bench that cannot go on has nothing to measure

use std::{fs, hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    config::{Log, LogFormat},
    telemetry::log::{self, Decision, RequestLine},
};

/// Of the process, all threads together (schedstat, proc_pid_schedstat(5): nanoseconds on a processor first).
fn processor_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    Duration::from_nanos(stats.filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok()).sum())
}

fn line(sequence: u64) -> RequestLine<'static> {
    RequestLine {
        request_id: "2f1b6d0c9a87e543",
        client: Some("192.0.2.17".parse().unwrap()),
        user: Some("alice"),
        registry: "registry.example.com",
        method: Some("GET"),
        route: "blob",
        repository: Some("team-a/services/billing"),
        reference: Some("sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        action: Some("pull"),
        grant: Some("team-a works in its namespace"),
        status: 200,
        bytes_out: 31_457_280 + sequence,
        duration: Duration::from_millis(412),
        upstream: Some("http://registry-1.internal:5000"),
        user_agent: Some(
            "docker/28.2.2 go/go1.24.3 git-commit/45873be kernel/6.1.0-18-amd64 os/linux arch/amd64 \
             UpstreamClient(Docker-Client/28.2.2 \\(linux\\))",
        ),
        protocol: Some("HTTP/2"),
        ..RequestLine::default()
    }
}

fn measure(format: LogFormat, audit: bool) -> Log {
    Log { format, level: "info".to_owned(), access: true, audit }
}

fn lines(criterion: &mut Criterion) {
    const PULL: Decision = Decision { event: "pull", outcome: "allowed" };
    let control = log::install(&measure(LogFormat::Json, true)).unwrap();
    for (name, format, audit) in [
        ("access, json", LogFormat::Json, false),
        ("access and audit, json", LogFormat::Json, true),
        ("access and audit, text", LogFormat::Text, true),
    ] {
        control.set(&measure(format, audit));
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let begun = processor_time();
                for sequence in 0..count {
                    log::request(black_box(&line(sequence)), Some(PULL));
                    // No more than finds room, so that each line is written.
                    if (sequence + 1).is_multiple_of(1000) {
                        log::flush();
                    }
                }
                log::flush();
                processor_time() - begun
            });
        });
    }
}

criterion_group!(benches, lines);
criterion_main!(benches);
