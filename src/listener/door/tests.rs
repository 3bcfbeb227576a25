use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::*;
use crate::{
    config::Limits,
    listener::{Listening, Places},
};

const LIMITS: Limits = Limits {
    connections: 1,
    connections_per_client: 1,
    handshake: Duration::from_secs(5),
    request_head: Duration::from_secs(5),
    idle: Duration::from_secs(5),
    body_idle: Duration::from_secs(5),
    buffers: 512 << 20,
    manifest: 0,
    upload: None,
    failed_logins: None,
};

fn places(addresses: &[&str]) -> Places {
    let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let https = Sockets::bind(&addresses, &Sockets::default(), &[]).unwrap();
    Places { https, ..Places::default() }
}

fn door(places: Places) -> (Listening, Door) {
    let listening = Listening::new(places, Terms::testing(LIMITS));
    let door = Door::new(listening.subscribe(), Live::https);
    (listening, door)
}

#[tokio::test]
async fn the_ipv6_wildcard_takes_ipv4_and_shows_plain_addresses() {
    let places = places(&["[::]:0"]);
    let port = places.https.local_addresses()[0].port();
    let (_listening, mut door) = door(places);
    let _client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, peer) = door.next().await.unwrap();
    assert!(peer.is_ipv4(), "{peer}");
}

#[tokio::test]
async fn every_socket_has_its_turn() {
    let places = places(&["127.0.0.1:0", "127.0.0.1:0"]);
    let addresses = places.https.local_addresses();
    let (_listening, mut door) = door(places);
    for address in addresses {
        let _client = TcpStream::connect(address).await.unwrap();
        let (tcp, _) = door.next().await.unwrap();
        assert_eq!(tcp.local_addr().unwrap(), address);
    }
}

#[tokio::test]
async fn it_follows_what_is_listened_on_and_loses_nobody() {
    let first = places(&["127.0.0.1:0"]);
    let second = places(&["127.0.0.1:0"]);
    let addresses = [first.https.local_addresses()[0], second.https.local_addresses()[0]];
    let (listening, mut door) = door(first);
    let client = TcpStream::connect(addresses[0]).await.unwrap();
    listening.install(second, Terms::testing(LIMITS));
    let (_, peer) = door.next().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    let gone = async { while TcpStream::connect(addresses[0]).await.is_ok() {} };
    timeout(Duration::from_secs(1), gone).await.unwrap();
    let _client = TcpStream::connect(addresses[1]).await.unwrap();
    assert!(door.next().await.is_some());
}

#[tokio::test]
async fn nothing_to_listen_on_waits_for_the_end() {
    let (listening, mut door) = door(Places::default());
    assert!(timeout(Duration::from_millis(20), door.next()).await.is_err());
    listening.close();
    assert!(door.next().await.is_none());
    listening.install(places(&["127.0.0.1:0"]), Terms::testing(LIMITS));
    assert!(door.next().await.is_none(), "the end is for good");
}

#[tokio::test]
async fn the_admin_address_stays_to_the_end_unless_another_process_has_it() {
    let admin = places(&["127.0.0.1:0"]).https;
    let address = admin.local_addresses()[0];
    let listening = Listening::new(Places { admin, ..Places::default() }, Terms::testing(LIMITS));
    let mut door = Door::new(listening.subscribe(), Live::admin);
    listening.close();
    let _client = TcpStream::connect(address).await.unwrap();
    assert!(door.next().await.is_some());
    listening.leave();
    assert!(door.next().await.is_none());
}

#[tokio::test]
async fn limits_follow_too() {
    let places = places(&["127.0.0.1:0"]);
    let address = places.https.local_addresses()[0];
    let (listening, door) = door(places);
    let mut reception = Reception::new(door, |terms| Share {
        connections: terms.limits.connections,
        per_client: 9,
        exempt: Vec::new(),
        balancers: Vec::new(),
    });
    let _clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let _first = reception.next().await.unwrap();
    assert!(timeout(Duration::from_millis(20), reception.next()).await.is_err());
    listening.install(listening.places(), Terms::testing(Limits { connections: 2, ..LIMITS }));
    assert_eq!(reception.next().await.unwrap().terms.limits.connections, 2);
}

/// A reception that takes 127.0.0.1 for a balancer and lets each client in once.
struct Behind {
    _listening: Listening,
    reception: Reception,
    address: SocketAddr,
}

impl Behind {
    fn new() -> Self {
        let places = places(&["127.0.0.1:0"]);
        let address = places.https.local_addresses()[0];
        let limits = Limits { connections: 10, ..LIMITS };
        let terms = Terms { balancers: vec!["127.0.0.1/32".parse().unwrap()], ..Terms::testing(limits) };
        let listening = Listening::new(places, terms);
        let reception = Reception::new(Door::new(listening.subscribe(), Live::https), |terms| Share {
            connections: terms.limits.connections,
            per_client: terms.limits.connections_per_client,
            exempt: Vec::new(),
            balancers: terms.balancers.clone(),
        });
        Self { _listening: listening, reception, address }
    }

    /// Connects, sends, and may close. Who that is then.
    async fn after(&mut self, sent: &[u8], closes: bool) -> (TcpStream, Option<Arrived>) {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(sent).await.unwrap();
        if closes {
            client.shutdown().await.unwrap();
        }
        let deadline = Instant::now() + Duration::from_millis(300);
        let arrived = self.reception.next().await.unwrap().identify(deadline).await;
        (client, arrived)
    }
}

#[tokio::test]
async fn behind_a_balancer_the_client_is_who_the_header_names() {
    let mut behind = Behind::new();
    let (_client, first) = behind.after(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nhello", false).await;
    let mut first = first.unwrap();
    assert_eq!(first.peer, "192.0.2.7:4711".parse().unwrap());
    assert_eq!(first.tcp.first_byte().await.unwrap(), Some(b'h'));
    assert_eq!(first.tcp.unread(), b"hello", "what follows is still there");
    let (_client, second) = behind.after(b"PROXY TCP4 192.0.2.7 10.0.0.1 4712 443\r\n", false).await;
    assert!(second.is_none(), "it has its share");
    let (_client, other) = behind.after(b"PROXY TCP4 192.0.2.8 10.0.0.1 4712 443\r\n", false).await;
    assert!(other.is_some(), "the balancer is not one client");
    drop(first);
    let (_client, again) = behind.after(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4712 443\r\n", false).await;
    assert_eq!(again.unwrap().peer.ip().to_string(), "192.0.2.7");
}

#[tokio::test]
async fn a_balancer_may_speak_for_itself() {
    let mut behind = Behind::new();
    let mut held = Vec::new();
    for header in [b"PROXY UNKNOWN\r\n".as_slice(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"PROXY UNKNOWN\r\n"] {
        let (client, arrived) = behind.after(header, false).await;
        assert_eq!(arrived.as_ref().unwrap().peer, client.local_addr().unwrap());
        held.push((client, arrived));
    }
}

#[tokio::test]
async fn without_a_header_nobody_comes_in_from_a_balancer() {
    let mut behind = Behind::new();
    for (sent, closes) in [
        (b"".as_slice(), false),
        (b"", true),
        (b"\x16\x03\x01", false),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false),
        (b"PROXY TCP4 192.0.2.7", false),
        (b"PROXY TCP4 192.0.2.7", true),
        (b"PROXY TCP4 everybody 10.0.0.1 4711 443\r\n", false),
    ] {
        let (_client, arrived) = behind.after(sent, closes).await;
        assert!(arrived.is_none(), "{sent:?} {closes}");
    }
}
