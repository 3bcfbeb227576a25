//! What a line of the log costs: processor time of the whole process for each access line, its way to standard error
//! included.
//!
//! `cargo bench --bench log 2> >(cat >/dev/null)`: what is written goes through a pipe, as to a service manager.

#![allow(clippy::unwrap_used)] // a bench that cannot go on has nothing to measure

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    config::{Log, LogFormat},
    telemetry::log::{self, AccessLine},
};
use rustix::time::{ClockId, clock_gettime};

/// Of the process, all threads together.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

fn access_line(sequence: u64) -> AccessLine<'static> {
    AccessLine {
        request_id: "2f1b6d0c9a87e543",
        client: Some("192.0.2.17".parse().unwrap()),
        user: Some("alice"),
        registry: "registry.example.com",
        method: "GET",
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
        protocol: "HTTP/2",
        ..AccessLine::default()
    }
}

fn lines(criterion: &mut Criterion) {
    let control = log::install(&Log { format: LogFormat::Json, level: "info".to_owned(), access: true });
    for (name, format) in [("json", LogFormat::Json), ("text", LogFormat::Text)] {
        control.set(&Log { format, level: "info".to_owned(), access: true });
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let begun = processor_time();
                for sequence in 0..count {
                    log::access(black_box(&access_line(sequence)));
                }
                processor_time() - begun
            });
        });
    }
}

criterion_group!(benches, lines);
criterion_main!(benches);
