use tokio::sync::watch;

use super::*;

fn any_v6(port: u16) -> SocketAddr {
    format!("[::]:{port}").parse().unwrap()
}

async fn accept_one(sockets: &mut Sockets, to: SocketAddr) -> Accepted {
    let (_keep, mut shutdown) = watch::channel(false);
    let client = tokio::spawn(TcpStream::connect(to));
    let accepted = sockets.next(&Arc::new(Admission::new(1, 1)), &mut shutdown).await.unwrap();
    client.await.unwrap().unwrap();
    accepted
}

#[tokio::test]
async fn the_ipv6_wildcard_takes_ipv4_and_shows_plain_addresses() {
    let mut sockets = Sockets::bind(&[any_v6(0)]).unwrap();
    let port = sockets.local_addresses()[0].port();
    let accepted = accept_one(&mut sockets, SocketAddr::from(([127, 0, 0, 1], port))).await;
    assert!(accepted.peer.is_ipv4(), "{}", accepted.peer);
    tune(&accepted.tcp).unwrap();
    assert!(accepted.tcp.nodelay().unwrap());
    assert!(SockRef::from(&accepted.tcp).keepalive().unwrap());
}

#[tokio::test]
async fn both_wildcards_may_share_a_port() {
    let free = Sockets::bind(&[any_v6(0)]).unwrap().local_addresses()[0].port();
    let mut sockets = Sockets::bind(&[any_v6(free), any_v4(free)]).unwrap();
    accept_one(&mut sockets, SocketAddr::from(([127, 0, 0, 1], free))).await;
}

#[tokio::test]
async fn every_socket_has_its_turn() {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut sockets = Sockets::bind(&[loopback, loopback]).unwrap();
    for address in sockets.local_addresses() {
        let accepted = accept_one(&mut sockets, address).await;
        assert_eq!(accepted.tcp.local_addr().unwrap(), address);
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = Sockets::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).unwrap();
    let address = taken.local_addresses()[0];
    let error = Sockets::bind(&[address]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn nothing_to_listen_on_waits_for_the_stop() {
    let mut sockets = Sockets::bind(&[]).unwrap();
    let (stop, mut shutdown) = watch::channel(false);
    let admission = Arc::new(Admission::new(1, 1));
    let waiting = tokio::spawn(async move { sockets.next(&admission, &mut shutdown).await.is_none() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    stop.send(true).unwrap();
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn an_answer_survives_an_unread_request() {
    let mut sockets = Sockets::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).unwrap();
    let address = sockets.local_addresses()[0];
    let client = tokio::spawn(async move {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&[b'x'; 100_000]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let (_keep, mut shutdown) = watch::channel(false);
    let mut accepted = sockets.next(&Arc::new(Admission::new(1, 1)), &mut shutdown).await.unwrap();
    accepted.tcp.write_all(b"too much").await.unwrap();
    linger(&mut accepted.tcp).await;
    drop(accepted);
    assert_eq!(client.await.unwrap(), "too much");
}
