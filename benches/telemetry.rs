//! What one request costs in metrics.
//!
//! `cargo bench --bench telemetry` prints the time on one core; README.md beside this file holds figures.

#![allow(clippy::unwrap_used)] // a bench that cannot go on has nothing to measure

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::telemetry::metrics::{self, RegistryCounts, ServerCounts};

/// Measured times are kept until somebody looks, as they are where Prometheus scrapes.
const SCRAPED_AFTER: u64 = 100_000;

/// What is counted of one pull.
fn pull(registry: &RegistryCounts, server: &ServerCounts) {
    let _in_flight = metrics::in_flight();
    metrics::token_looked_up(true);
    metrics::token_verified("access", "valid");
    metrics::decision(black_box("pull"), black_box("allowed"));
    server.asked();
    server.answered(Duration::from_micros(300));
    registry.request(black_box("blob"), 200, Duration::from_millis(1), 0, 1_000_000);
    metrics::protocol("HTTP/2");
}

fn request(criterion: &mut Criterion) {
    let handle = metrics::install().unwrap();
    let registry = RegistryCounts::new("registry.example.com");
    let server = ServerCounts::new("registry.example.com", "http://127.0.0.1:5000");
    let counting = || {
        let mut requests = 0_u64;
        let (handle, registry, server) = (&handle, &registry, &server);
        move || {
            requests += 1;
            if requests.is_multiple_of(SCRAPED_AFTER) {
                handle.run_upkeep();
            }
            pull(registry, server);
        }
    };
    criterion.bench_function("metrics/pull of a blob", |bench| bench.iter(counting()));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut once = counting();
            while !over.load(Ordering::Relaxed) {
                once();
            }
        });
        criterion.bench_function("metrics/pull of a blob, another thread counting too", |bench| bench.iter(counting()));
        over.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, request);
criterion_main!(benches);
