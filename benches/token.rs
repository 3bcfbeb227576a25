//! What deciding costs, step by step: issue a token, verify one (new or seen before), ask the policy.
//!
//! Everything goes through the doors that a request goes through. `cargo bench --bench token` prints the time of one
//! operation on one core; README.md beside this file holds figures.

#![allow(clippy::unwrap_used)] // a bench that cannot go on has nothing to measure

use std::{
    fmt::Write as _,
    fs,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use portcullis::{
    config::{Config, Host},
    identity::{BasicCredentials, Credentials, Principal, hash_password},
    registry::{Route, ScopeSet},
    runtime::{PublicRegistry, Runtime},
    token::Keys,
};
use tempfile::TempDir;
use tokio::runtime::Runtime as Executor;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SERVICE: &str = "registry.example.com";
/// Tokens that differ, so that each can be new once.
const TOKENS: usize = 5_000;

struct Scene {
    _folder: TempDir,
    runtime: Runtime,
    executor: Executor,
    config: Config,
    keys: Arc<Keys>,
}

impl Scene {
    /// With this many grants, each for another team's namespace, and one more for alice.
    fn new(grants: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = BasicCredentials::new("alice", "secret").unwrap().password;
        fs::write(folder.path().join("htpasswd"), hash_password("alice", &password, 4).unwrap() + "\n").unwrap();
        let file = folder.path().join("portcullis.yml");
        fs::write(&file, configuration(grants)).unwrap();
        let config = Config::load(&file).unwrap();
        let keys = Arc::new(Keys::load_or_create(&config.tokens.keys).unwrap());
        let runtime = Runtime::build(&config, Arc::clone(&keys)).unwrap();
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { _folder: folder, runtime, executor, config, keys }
    }

    fn registry(&self) -> &PublicRegistry {
        self.runtime.registry(&Host::parse(SERVICE).unwrap()).unwrap()
    }

    fn alice(&self) -> Principal {
        let login = BasicCredentials::new("alice", "secret").unwrap();
        self.executor.block_on(self.runtime.login(&login, CLIENT, SERVICE)).unwrap()
    }

    fn token(&self, alice: &Principal) -> String {
        let mut granted = ScopeSet::default();
        granted.add_requested("repository:own/app:pull,push");
        self.runtime.issuer.issue(SERVICE, alice, &granted).unwrap().token
    }

    /// A snapshot that has seen no token yet.
    fn fresh(&self) -> Runtime {
        self.runtime.rebuild(&self.config, Arc::clone(&self.keys)).unwrap()
    }
}

fn configuration(grants: usize) -> String {
    let mut text = String::from(
        "version: 1\nlisten: {}\ntls: { certificates: [{ certificate_file: tls.crt, key_file: tls.key }] }\n\
         registries: [{ hosts: [\"registry.example.com\"], upstream: { servers: [{ url: \"http://127.0.0.1:5000\" }] } }]\n\
         identity: { providers: [{ htpasswd: { file: htpasswd } }] }\ntokens: { keys: [token.key] }\naccess:\n  grants:\n",
    );
    for number in 0..grants {
        let _ = writeln!(
            text,
            "    - {{ name: \"team {number}\", repositories: [\"team-{number}/**\"], actions: [pull, push], to: [\"group:team-{number}\"] }}"
        );
    }
    text.push_str("    - { name: \"own\", repositories: [\"own/**\"], actions: [pull, push], to: [\"user:alice\"] }\n");
    text
}

fn route(method: &Method, path: &str) -> Route {
    Route::parse(method, path, None, "/token").unwrap()
}

fn tokens(criterion: &mut Criterion) {
    let scene = Scene::new(10);
    let alice = scene.alice();
    let route = route(&Method::GET, "/v2/own/app/manifests/v1");
    let mut group = criterion.benchmark_group("token");
    group.throughput(Throughput::Elements(1));
    group.bench_function("issue", |bench| bench.iter(|| black_box(scene.token(&alice))));

    let bearers: Vec<_> = (0..TOKENS).map(|_| Credentials::Bearer(scene.token(&alice))).collect();
    let authenticate = |runtime: &Runtime, bearer: &Credentials| {
        let principal = scene.executor.block_on(runtime.authenticate(bearer, CLIENT, SERVICE, &route)).unwrap();
        assert_eq!(principal.name(), Some("alice"));
    };
    group.bench_function("verify/new", |bench| {
        bench.iter_custom(|count| {
            let mut spent = Duration::ZERO;
            let mut left = usize::try_from(count).unwrap();
            while left > 0 {
                let runtime = scene.fresh();
                let batch = bearers.iter().take(left);
                left -= batch.len();
                let began = Instant::now();
                batch.for_each(|bearer| authenticate(&runtime, bearer));
                spent += began.elapsed();
            }
            spent
        });
    });
    group.bench_function("verify/seen", |bench| {
        let runtime = scene.fresh();
        let mut turns = bearers.iter().cycle();
        bearers.iter().for_each(|bearer| authenticate(&runtime, bearer));
        bench.iter(|| authenticate(&runtime, turns.next().unwrap()));
    });
    group.finish();
}

fn policy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    group.throughput(Throughput::Elements(1));
    for grants in [10, 1_000, 10_000] {
        let scene = Scene::new(grants);
        let alice = scene.alice();
        let registry = scene.registry();
        let decide = |path: &str| {
            let asker = registry.asker(&alice, IpAddr::V4(Ipv4Addr::LOCALHOST));
            scene.runtime.policy.authorize(asker, route(&Method::PUT, path))
        };
        group.bench_with_input(BenchmarkId::new("allowed", grants), &grants, |bench, _| {
            bench.iter(|| black_box(decide("/v2/own/app/manifests/v1").unwrap()));
        });
        group.bench_with_input(BenchmarkId::new("denied", grants), &grants, |bench, _| {
            bench.iter(|| black_box(decide("/v2/team-7/app/manifests/v1").unwrap_err()));
        });
    }
    group.finish();
}

criterion_group!(benches, tokens, policy);
criterion_main!(benches);
