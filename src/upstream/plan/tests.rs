use std::{fs, time::Duration};

use rcgen::PKCS_ED25519;

use super::*;
use crate::{
    config::{Role, Secret, UpstreamCredentials},
    tls::{
        install_provider,
        testing::{Folder, params},
    },
};

/// Servers at these ports.
fn upstream(ports: &[u16]) -> config::Upstream {
    let url = |port: &u16| ServerUrl::Http { host: "127.0.0.1".to_owned(), port: *port };
    let servers = ports.iter().map(|port| config::Server { url: url(port), role: Role::Primary, weight: 1 });
    config::Upstream { servers: servers.collect(), ..config::Upstream::of(url(&1), "/v2/") }
}

fn made(upstreams: &[config::Upstream], before: &[Arc<Pool>]) -> Vec<Arc<Pool>> {
    let plans = upstreams.iter().map(|upstream| Plan::read("registry.test", upstream, None).unwrap()).collect();
    Plan::carry_out(plans, before.to_vec()).unwrap()
}

/// Which servers of the first pool the second one has, by their positions there.
fn kept(before: &Pool, after: &Pool) -> Vec<Option<usize>> {
    let position = |server| before.members().iter().position(|known| Arc::ptr_eq(known, server));
    after.members().iter().map(position).collect()
}

/// What becomes of a pool of two servers where this is changed: is it the same, and which servers are?
fn changed(by: impl FnOnce(&mut config::Upstream)) -> (bool, Vec<Option<usize>>) {
    changed_from(upstream(&[1, 2]), by)
}

fn changed_from(mut upstream: config::Upstream, by: impl FnOnce(&mut config::Upstream)) -> (bool, Vec<Option<usize>>) {
    let before = made(std::slice::from_ref(&upstream), &[]);
    by(&mut upstream);
    let after = made(&[upstream], &before);
    (Arc::ptr_eq(&before[0], &after[0]), kept(&before[0], &after[0]))
}

const ALL: [Option<usize>; 2] = [Some(0), Some(1)];
const NONE: [Option<usize>; 2] = [None, None];

#[test]
fn what_did_not_change_is_the_same() {
    assert_eq!(changed(|_| {}), (true, ALL.to_vec()));
}

#[test]
fn what_belongs_to_the_pool_leaves_the_servers_alone() {
    assert_eq!(changed(|upstream| upstream.balance = config::Balance::ByDigest), (false, ALL.to_vec()));
    assert_eq!(changed(|upstream| upstream.timeouts.commit *= 2), (false, ALL.to_vec()));
    assert_eq!(changed(|upstream| upstream.verify = true), (false, ALL.to_vec()));
    assert_eq!(changed(|upstream| upstream.redirects = config::Redirects::Pass), (false, ALL.to_vec()));
    assert_eq!(changed(|upstream| upstream.servers[1].weight = 7), (false, ALL.to_vec()));
    assert_eq!(changed(|upstream| upstream.servers.reverse()), (false, vec![Some(1), Some(0)]));
    assert_eq!(changed(|upstream| upstream.servers.truncate(1)), (false, vec![Some(0)]));
    assert_eq!(changed(|upstream| *upstream = self::upstream(&[3, 2])), (false, vec![None, Some(1)]));
}

#[test]
fn what_belongs_to_a_server_makes_another_one() {
    assert_eq!(changed(|upstream| upstream.servers[0].role = Role::Replica), (false, vec![None, Some(1)]));
    assert_eq!(changed(|upstream| upstream.timeouts.connect *= 2), (false, NONE.to_vec()));
    assert_eq!(changed(|upstream| upstream.health.interval *= 2), (false, NONE.to_vec()));
    let credentials = |password: &str| UpstreamCredentials {
        username: "gate".to_owned(),
        password: Secret::new(password.to_owned()),
    };
    let with = config::Upstream { credentials: Some(credentials("one")), ..upstream(&[1, 2]) };
    assert_eq!(changed(|upstream| upstream.credentials = with.credentials.clone()), (false, NONE.to_vec()));
    let same = changed_from(with.clone(), |upstream| upstream.credentials = Some(credentials("one")));
    assert_eq!(same, (true, ALL.to_vec()));
    let other = changed_from(with, |upstream| upstream.credentials = Some(credentials("two")));
    assert_eq!(other, (false, NONE.to_vec()));
    let one = made(&[upstream(&[1])], &[]);
    let elsewhere = Plan::read("other.test", &upstream(&[1]), None).unwrap();
    let elsewhere = Plan::carry_out(vec![elsewhere], one.clone()).unwrap();
    assert_eq!(kept(&one[0], &elsewhere[0]), [None], "its metrics have another label");
}

#[test]
fn the_content_of_files_counts() {
    install_provider();
    let folder = Folder::new();
    let ca = folder.write("ca.crt", folder.authority_pem());
    let client = folder.signed("client", &params(&["client"]), &PKCS_ED25519);
    let mut secured = upstream(&[2]);
    let https = ServerUrl::Https { host: "localhost".to_owned(), port: 1 };
    secured.servers.insert(0, config::Server { url: https, role: Role::Primary, weight: 1 });
    secured.tls.ca_file = Some(ca.clone());
    secured.tls.client_certificate = Some(client);
    let changed = |by: &dyn Fn(&mut config::Upstream)| changed_from(secured.clone(), by);
    // The one without TLS goes on.
    let other = (false, vec![None, Some(1)]);

    assert_eq!(changed(&|_| fs::write(&ca, folder.authority_pem()).unwrap()), (true, ALL.to_vec()));
    assert_eq!(changed(&|_| fs::write(&ca, Folder::new().authority_pem()).unwrap()), other);
    assert_eq!(changed(&|_| drop(folder.signed("client", &params(&["client"]), &PKCS_ED25519))), other);
    assert_eq!(changed(&|upstream| upstream.tls.client_certificate = None), other);
    assert_eq!(changed(&|upstream| upstream.tls.server_name = Some("other".to_owned())), other);
    let copy = folder.write("copy.crt", &fs::read_to_string(&ca).unwrap());
    let moved = changed(&|upstream| upstream.tls.ca_file = Some(copy.clone()));
    assert_eq!(moved, (false, ALL.to_vec()), "another file with the same content");
    let unused = config::Upstream { tls: secured.tls.clone(), ..upstream(&[1, 2]) };
    let same = changed_from(unused, |_| fs::write(&ca, "garbage").unwrap());
    assert_eq!(same, (true, ALL.to_vec()), "nothing is read where nothing is secured");
    assert!(Plan::carry_out(vec![Plan::read("registry.test", &secured, None).unwrap()], Vec::new()).is_err());
}

#[test]
fn the_same_server_of_two_upstreams_goes_on_apart() {
    let both = [upstream(&[1, 2]), upstream(&[1])];
    let before = made(&both, &[]);
    assert!(!Arc::ptr_eq(&before[0].members()[0], &before[1].members()[0]));
    // The first one changes, and must not take what the second one has.
    let after = made(&[upstream(&[1, 3]), upstream(&[1])], &before);
    assert!(Arc::ptr_eq(&before[1], &after[1]));
    assert_eq!(kept(&before[0], &after[0]), [Some(0), None]);
    // Of two that are alike each is one of those before.
    let alike = made(&[upstream(&[1]), upstream(&[1])], &before);
    assert!(Arc::ptr_eq(&before[1], &alike[0]));
    assert_eq!((kept(&before[0], &alike[1]), kept(&before[1], &alike[1])), (vec![Some(0)], vec![None]));
}

#[test]
fn another_server_at_the_same_address_is_as_dead_or_alive() {
    let before = made(&[upstream(&[1])], &[]);
    let (one, other) = (upstream(&[1]).health, upstream(&[1]).timeouts.connect * 2);
    (0..one.unhealthy_after).for_each(|_| before[0].members()[0].health.failed(&"refused"));
    let mut next = upstream(&[1, 2]);
    next.timeouts.connect = other;
    let after = made(&[next], &before);
    assert_eq!(kept(&before[0], &after[0]), NONE);
    assert_eq!(after[0].members().iter().map(|server| server.health.is_up()).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_probed_once_and_for_as_long_as_somebody_has_it() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut pools = made(&[upstream(&[1, 2])], &[]);
    assert_eq!(tasks(), 0, "nothing is in force yet");
    pools[0].watch();
    assert_eq!(tasks(), 2);
    for weight in 2..9 {
        let mut next = upstream(&[1, 2]);
        next.servers[0].weight = weight;
        pools = made(&[next], &pools);
        pools[0].watch();
    }
    assert_eq!(tasks(), 2, "successive pools have the same servers");
    let failed = made(&[upstream(&[1, 3])], &pools);
    assert_eq!(tasks(), 2);
    drop(failed);
    let next = made(&[upstream(&[2])], &pools);
    next[0].watch();
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 2, "requests under way still need the first one");
    drop(pools);
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 1, "at once, not at the next probe");
    drop(next);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(tasks(), 0);
}

#[test]
fn a_server_that_is_gone_is_shown_no_more_whatever_befalls_it() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let shown = || {
        let text = recorder.handle().render();
        let of_server = |line: &str| Some(line.strip_prefix("portcullis_upstream_up{")?.rsplit_once(' ')?.1.to_owned());
        text.lines().filter_map(of_server).collect::<Vec<_>>()
    };
    ::metrics::with_local_recorder(&recorder, || {
        let before = made(&[upstream(&[1])], &[]);
        let after = made(&[upstream(&[2])], &before);
        retire(before.iter(), after.iter());
        assert_eq!(shown(), ["NaN"]);
        let fail = |pool: &Pool| (0..2).for_each(|_| pool.members()[0].health.failed(&"refused"));
        fail(&before[0]);
        assert!(!before[0].members()[0].health.is_up());
        assert_eq!(shown(), ["NaN"], "requests under way may still meet it");
        fail(&after[0]);
        let mut all = shown();
        all.sort();
        assert_eq!(all, ["0", "NaN"]);

        // One that changed is at the same address.
        let mut changed = upstream(&[2]);
        changed.timeouts.connect *= 2;
        let changed = made(&[changed], &after);
        retire(after.iter(), changed.iter());
        let mut all = shown();
        all.sort();
        assert_eq!(all, ["0", "NaN"]);
    });
}
