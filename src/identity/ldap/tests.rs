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
    crate::tls::install_provider();
    Ldap::new(Arc::from("ldap"), &settings, Duration::from_secs(60), None).unwrap()
}

fn server(address: &LdapServer) -> Arc<Server> {
    crate::tls::install_provider();
    let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Arc::new(Server::new(Arc::from("ldap"), address.clone(), Arc::new(tls), None, 1, false))
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

#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_asks_is_probed() {
    let server = server(&address(1));
    let due = || server.due().duration_since(time::Instant::now()).as_secs();
    assert_eq!(due(), 0, "at once after a start");
    server.succeeded();
    assert_eq!(due(), 30);
    time::advance(Duration::from_secs(20)).await;
    server.failed(&Fault::Crowded, Admission::Usual);
    assert_eq!(due(), 30, "it was asked");

    // One that fails is probed when the breaker has it, and never twice at a time.
    let fault = Fault::Connect("refused".to_owned());
    server.failed(&fault, Admission::Usual);
    assert!(due() == 1 && !server.is_left_out());
    server.failed(&fault, Admission::Usual);
    assert!(due() == 1 && server.is_left_out());
    for pause in [2, 4, 8, 16, 30, 30] {
        time::advance(Duration::from_secs(30)).await;
        assert_eq!((server.admits(), due() > 0), (Some(Admission::Probe), true));
        server.failed(&fault, Admission::Probe);
        assert_eq!(due(), pause);
    }
    // An account that is refused may be locked by trying.
    time::advance(Duration::from_secs(30)).await;
    assert_eq!(server.admits(), Some(Admission::Probe));
    server.failed(&Fault::Service("wrong password".to_owned()), Admission::Probe);
    assert_eq!(due(), 300);
    server.succeeded();
    assert!(due() == 30 && !server.is_left_out());
}

/// The task ends with its directory.
#[tokio::test(start_paused = true)]
async fn a_dead_directory_shows_though_nobody_asks_it() {
    let ldap = unreachable();
    ldap.watch();
    ldap.watch();
    let server = Arc::clone(&ldap.0.servers[0]);
    assert!(!server.is_left_out());
    time::sleep(Duration::from_secs(5)).await;
    assert!(server.is_left_out() && ldap.leaves_out(&address_of(&ldap)));
    let watching = Arc::strong_count(&server);
    drop(ldap);
    time::sleep(Duration::from_secs(1)).await;
    assert!(Arc::strong_count(&server) == 1 && watching == 3, "{watching}");

    // Nor does it go on where another configuration has taken its place.
    let ldap = unreachable();
    ldap.watch();
    ldap.rest();
    time::sleep(Duration::from_secs(60)).await;
    assert!(!ldap.0.servers[0].is_left_out());
}

fn address_of(ldap: &Ldap) -> LdapServer {
    ldap.0.settings.servers[0].clone()
}
