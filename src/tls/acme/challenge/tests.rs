use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::*;

fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

fn http(name: &str, text: &str) -> Answer {
    Answer::Http { name: name.to_owned(), token: token(text), key_authorization: format!("{text}.print") }
}

fn alpn(name: &str, byte: u8) -> Answer {
    Answer::TlsAlpn { name: name.to_owned(), digest: [byte; 32] }
}

/// Knows every token and every name, and counts how often it was asked.
#[derive(Debug, Default)]
struct Folder(AtomicUsize);

impl AnswersBeside for Folder {
    fn http(&self, name: &str, token: &Token) -> Option<String> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Some(format!("{name} {}", token.as_str()))
    }

    fn tls_alpn(&self, _name: &str) -> Option<Digest> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Some([7; 32])
    }
}

#[test]
fn a_token_is_base64url() {
    for good in ["a", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA", &"x".repeat(128)] {
        assert_eq!(token(good).as_str(), good);
    }
    for bad in ["", "a/b", "..", "a.b", "a b", "a%2e", "ä", "a\0", "a=", "a+b", "\\", &"x".repeat(129)] {
        assert_eq!(Token::parse(bad), None, "{bad:?}");
    }
}

#[tokio::test]
async fn an_answer_is_given_while_its_guard_lives() {
    let challenges = Arc::new(Challenges::default());
    let one = challenges.open(http("hub.test", "one"));
    let two = challenges.open(http("hub.test", "two"));
    assert_eq!(challenges.http("hub.test", "one").await.as_deref(), Some("one.print"));
    for (host, token) in [("other.test", "one"), ("hub.test", "three"), ("hub.test", ""), ("hub.test", "../one")] {
        assert_eq!(challenges.http(host, token).await, None, "{host} {token}");
    }
    drop(one);
    assert_eq!(challenges.http("hub.test", "one").await, None);
    assert_eq!(challenges.http("hub.test", "two").await.as_deref(), Some("two.print"));
    drop(two);
    assert!(challenges.read().http.is_empty());
}

async fn offered(challenges: &Challenges, name: Option<&str>, protocols: &[&[u8]]) -> Option<Arc<ServerConfig>> {
    challenges.tls_alpn(&challenged(name, Some(protocols.iter().copied()))?).await
}

#[tokio::test]
async fn a_handshake_is_a_challenge_where_one_is_open_and_nothing_else_is_offered() {
    let challenges = Arc::new(Challenges::default());
    assert!(offered(&challenges, Some("hub.test"), &[ACME_TLS]).await.is_none());
    let first = challenges.open(alpn("hub.test", 1));
    let second = challenges.open(alpn("hub.test", 2));
    for name in ["hub.test", "HUB.Test", "hub.test."] {
        assert!(offered(&challenges, Some(name), &[ACME_TLS]).await.is_some(), "{name}");
    }
    assert_eq!(challenged(Some("hub.test"), None::<std::iter::Empty<_>>), None);
    for (name, protocols) in [
        (None, &[ACME_TLS][..]),
        (Some("other.test"), &[ACME_TLS]),
        (Some("hub.test"), &[]),
        (Some("hub.test"), &[b"h2"]),
        (Some("hub.test"), &[ACME_TLS, b"h2"]),
        (Some("hub.test"), &[b"h2", ACME_TLS]),
        (Some("hub.test"), &[ACME_TLS, ACME_TLS]),
    ] {
        assert!(offered(&challenges, name, protocols).await.is_none(), "{name:?} {protocols:?}");
    }
    drop(second);
    assert!(offered(&challenges, Some("hub.test"), &[ACME_TLS]).await.is_some(), "the first is still open");
    drop(first);
    assert!(offered(&challenges, Some("hub.test"), &[ACME_TLS]).await.is_none());
    assert!(challenges.read().tls_alpn.is_empty());
}

#[tokio::test]
async fn answers_of_other_processes_are_looked_for_last_and_for_configured_names_alone() {
    let challenges = Arc::new(Challenges::default());
    let folder = Arc::new(Folder::default());
    challenges.expect(["hub.test".to_owned(), "192.0.2.1".to_owned()], Some(folder.clone()));
    let asked = || folder.0.load(Ordering::SeqCst);
    let _own = challenges.open(http("hub.test", "own"));
    assert_eq!(challenges.http("hub.test", "own").await.as_deref(), Some("own.print"));
    assert_eq!(challenges.http("other.test", "theirs").await, None);
    assert_eq!(challenges.http("hub.test", "../theirs").await, None);
    assert!(offered(&challenges, Some("other.test"), &[ACME_TLS]).await.is_none());
    assert!(offered(&challenges, Some("hub.test"), &[b"h2"]).await.is_none());
    assert_eq!(asked(), 0);
    assert_eq!(challenges.http("hub.test", "theirs").await.as_deref(), Some("hub.test theirs"));
    assert!(offered(&challenges, Some("1.2.0.192.in-addr.arpa"), &[ACME_TLS]).await.is_some());
    assert_eq!(asked(), 2);

    challenges.expect([], Some(folder.clone()));
    assert_eq!(challenges.http("hub.test", "theirs").await, None);
    assert_eq!(asked(), 2);
}

/// A folder that hangs holds up nobody else, and no more threads than there are places.
#[tokio::test(start_paused = true)]
#[allow(clippy::await_holding_lock, reason = "nothing that is awaited takes it for good")]
async fn a_folder_that_hangs_is_given_up() {
    #[derive(Debug)]
    struct Hanging(AtomicBool, AtomicUsize);
    impl AnswersBeside for Hanging {
        fn http(&self, _name: &str, _token: &Token) -> Option<String> {
            self.1.fetch_add(1, Ordering::SeqCst);
            while self.0.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            None
        }

        fn tls_alpn(&self, _name: &str) -> Option<Digest> {
            None
        }
    }
    let folder = Arc::new(Hanging(AtomicBool::new(true), AtomicUsize::new(0)));
    let challenges = Arc::new(Challenges::default());
    challenges.expect(["hub.test".to_owned()], Some(folder.clone()));
    let asking = (0..3 * LOOKS).map(|_| {
        let challenges = Arc::clone(&challenges);
        tokio::spawn(async move { challenges.http("hub.test", "theirs").await })
    });
    let asking: Vec<_> = asking.collect();
    // Paused time does not pass by itself while a thread is busy.
    tokio::time::advance(LONGEST_LOOK * 2).await;
    for asked in asking {
        tokio::time::advance(LONGEST_LOOK * 2).await;
        assert_eq!(asked.await.unwrap(), None);
    }
    assert!(folder.1.load(Ordering::SeqCst) <= LOOKS);
    folder.0.store(false, Ordering::SeqCst);
}

#[test]
fn an_address_is_asked_for_by_its_reverse_name() {
    let v6 = "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    for (name, expected) in [
        ("1.2.0.192.in-addr.arpa", "192.0.2.1"),
        ("1.2.0.192.IN-ADDR.arpa.", "192.0.2.1"),
        (v6, "2001:db8::567:89ab"),
        ("Hub.Test.", "hub.test"),
        ("2.0.192.in-addr.arpa", "2.0.192.in-addr.arpa"),
        ("1.1.2.0.192.in-addr.arpa", "1.1.2.0.192.in-addr.arpa"),
        ("256.2.0.192.in-addr.arpa", "256.2.0.192.in-addr.arpa"),
        ("a.ip6.arpa", "a.ip6.arpa"),
        (".ip6.arpa", ".ip6.arpa"),
    ] {
        assert_eq!(identifier(name), expected);
    }
    assert_eq!(identifier(&v6.replace("b.a.", "ba.")), v6.replace("b.a.", "ba."));
}

#[test]
fn the_certificate_shows_one_name_and_the_digest_alone() {
    for (name, is_ip) in [("hub.test", false), ("192.0.2.1", true), ("2001:db8::1", true)] {
        let digest: Digest = std::array::from_fn(|index| index as u8);
        let key = proof::certificate(name, &digest).unwrap();
        let [der] = key.cert.as_slice() else { panic!("one certificate") };
        let (_, certificate) = X509Certificate::from_der(der).unwrap();
        assert_eq!(certificate.issuer(), certificate.subject());
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let [general] = names.value.general_names.as_slice() else { panic!("one name") };
        assert_eq!(matches!(general, GeneralName::IPAddress(_)), is_ip);
        assert_eq!(matches!(general, GeneralName::DNSName(dns) if *dns == name), !is_ip);
        let proof = certificate.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(proof.critical);
        assert_eq!(proof.value, [&[4, 32][..], &digest].concat());
        assert!(certificate.validity().is_valid());
    }
}
