//! How often a request asks for memory: what each of them does anew is what could be done once per reload or connection.

use serde_json::Value;

use crate::support::{ALICE, CI, Image, Login, Portcullis, Registry, Skopeo, Tls};

/// The most that a small request may ask for, as the allocator counts it in a build without optimizations; what the
/// background does meanwhile is in it. To be lowered with what is saved.
const MANIFEST: u64 = 54;
const REFUSAL: u64 = 38;

/// Requests for memory, from the process's begin to its end.
fn allocations(path: &str, login: Option<Login>, status: u16, requests: u64) -> u64 {
    let registry = Registry::start();
    let setup = Portcullis::before(&registry).without_probes();
    let mut gate = setup.environment("_RJEM_MALLOC_CONF", "stats_print:true,stats_print_opts:Jgdablxe").start();
    let image = Image::new(5, &[100]);
    Skopeo::logged_in(gate.pki(), &gate.host(), ALICE).copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let authorization = login.map_or_else(String::new, |login| {
        let token = gate.token(Some(login), "repository:team-a/app:pull");
        format!("Authorization: Bearer {token}\r\n")
    });
    let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{accept}\r\n{authorization}\r\n", gate.host());
    for _ in 0..requests {
        client.send(&request);
        assert_eq!(client.answer(false).unwrap().status, status);
    }
    drop(client);
    assert!(gate.process().stop().expect("ends on SIGTERM").success());
    counted(&gate.log())
}

/// What the allocator tells at the end, between the lines of the log.
fn counted(log: &str) -> u64 {
    let begin = log.find(r#"{"jemalloc""#).or_else(|| log.find("{\n\t\"jemalloc\"")).expect("statistics");
    let told = serde_json::Deserializer::from_str(&log[begin..]).into_iter::<Value>().next().unwrap().unwrap();
    let arenas = &told["jemalloc"]["stats.arenas"]["merged"];
    let of = |size: &str| arenas[size]["nrequests"].as_u64().expect("a number");
    of("small") + of("large")
}

fn per_request(path: &str, login: Option<Login>, status: u16) -> u64 {
    const FEW: u64 = 200;
    const MANY: u64 = 2200;
    let [few, many] = [FEW, MANY].map(|requests| allocations(path, login, status, requests));
    (many - few) / (MANY - FEW)
}

#[test]
fn a_manifest_takes_few_allocations() {
    let each = per_request("/v2/team-a/app/manifests/v1", Some(ALICE), 200);
    assert!((20..=MANIFEST).contains(&each), "{each}");
}

#[test]
fn a_refusal_takes_few_allocations() {
    let each = per_request("/v2/team-a/app/manifests/v1", Some(CI), 403);
    assert!((10..=REFUSAL).contains(&each), "{each}");
}
