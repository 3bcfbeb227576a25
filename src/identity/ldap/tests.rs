use rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::{
    config::{LdapFind, LdapServer, LdapUsers, Secret, Template},
    identity::ldap::fault::{Fault, Refusal},
};

fn address(port: u16) -> LdapServer {
    LdapServer { ldaps: true, host: "127.0.0.1".to_owned(), port }
}

/// A directory at a port where nobody listens.
fn unreachable() -> Ldap {
    crate::tls::install_provider();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let filter = Template::parse("(uid=$user)").unwrap();
    let find = LdapFind::Search { base: "dc=x".to_owned(), filter };
    let settings = config::Ldap {
        servers: vec![address(port)],
        starttls: false,
        ca_file: None,
        service: None,
        users: LdapUsers { attribute: "uid".to_owned(), find },
        groups: None,
        timeout: Duration::from_secs(1),
        pool: 1,
        key: String::new(),
    };
    let server = server(&settings.servers[0]);
    let (content, flights, pace) = (ContentHash::of([]), Flights::new(), Pace::default());
    let (lifetime, known) = (Duration::from_secs(60), Cache::new(10));
    let (name, turns, places) = (Arc::from("ldap"), Arc::new(Turns::new(1)), Semaphore::new(1));
    let servers = vec![server];
    Ldap(Arc::new(Directory { name, settings, content, servers, lifetime, known, flights, pace, turns, places }))
}

fn server(address: &LdapServer) -> Arc<Server> {
    crate::tls::install_provider();
    let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Arc::new(Server::new(Arc::from("ldap"), address.clone(), Arc::new(tls), None, 1))
}

fn login(username: &str, password: &str) -> BasicCredentials {
    BasicCredentials { username: username.to_owned(), password: Secret::new(password.to_owned()) }
}

/// L5, L6: also where the chain would let them through.
#[tokio::test]
async fn what_nobody_can_be_is_not_asked_about() {
    let ldap = unreachable();
    for (username, password) in [("alice", ""), ("", "x"), ("", ""), (" alice", "x"), ("a\0", "x"), ("a:b", "x")] {
        assert!(matches!(ldap.authenticate(&login(username, password)).await, Ok(Outcome::Unknown)), "{username:?}");
    }
    assert!(matches!(ldap.standing("alice ").await, Ok(None)));
    let error = ldap.authenticate(&login("alice", "x")).await.expect_err("nobody listens");
    assert!(error.reason.contains("cannot connect"), "{error}");
    assert!(ldap.knows("alice").await.is_err(), "no answer is not the answer that nobody has the name");
}

/// A storm that waits for connections, or a user with many groups, says nothing of the server.
#[test]
fn only_silence_of_the_server_counts_as_its_own() {
    let share = Duration::from_secs(2);
    let timeout = |milliseconds| Fault::Timeout { step: "binding", waited: Duration::from_millis(milliseconds) };
    for (waited, of_the_server) in [(0, false), (10, false), (999, false), (1000, true), (2000, true)] {
        assert_eq!(timeout(waited).after(share).is_of_the_server(), of_the_server, "{waited} ms");
    }
    assert!(Fault::Lost(String::new()).after(share).is_of_the_server());
}

#[tokio::test(start_paused = true)]
async fn a_server_is_left_out_and_tried_again() {
    let server = server(&address(1));
    let fault = Fault::Connect("refused".to_owned());
    let refusal = |code| Fault::Result(Refusal { what: "the bind", code, text: String::new() });
    let usual = Some(Admission::Usual);

    // What has to do with one user says nothing of the server, and one failure is none.
    for fault in [refusal(53), refusal(50), Fault::Crowded, Fault::Answer(String::new()), fault.clone()] {
        server.failed(&fault, Admission::Usual);
        assert_eq!(server.admits(), usual, "{fault}");
    }
    server.succeeded();
    server.failed(&refusal(51), Admission::Usual);
    server.failed(&fault, Admission::Usual);
    assert_eq!(server.admits(), None);

    // One at a time finds out, after pauses that grow; those who came before change nothing.
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        server.failed(&fault, Admission::Usual);
        time::advance(Duration::from_secs(pause) - Duration::from_millis(1)).await;
        assert_eq!(server.admits(), None, "{pause} s");
        time::advance(Duration::from_millis(1)).await;
        assert_eq!((server.admits(), server.admits()), (Some(Admission::Probe), None), "{pause} s");
        server.failed(&fault, Admission::Probe);
    }
    server.succeeded();
    assert_eq!(server.admits(), usual);
}
