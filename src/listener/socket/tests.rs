use super::*;

fn any_v6(port: u16) -> SocketAddr {
    format!("[::]:{port}").parse().unwrap()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn bind(addresses: &[SocketAddr]) -> io::Result<Sockets> {
    Sockets::bind(addresses, &Sockets::default(), &[])
}

fn port(sockets: &Sockets) -> u16 {
    sockets.local_addresses()[0].port()
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = bind(&[loopback(0)]).unwrap();
    let address = taken.local_addresses()[0];
    let error = bind(&[address]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn both_wildcards_may_share_a_port() {
    let free = port(&bind(&[any_v6(0)]).unwrap());
    assert_eq!(bind(&[any_v6(free), any_v4(free)]).unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_asked_for_again_is_kept() {
    let before = bind(&[loopback(0), any_v6(0)]).unwrap();
    let after = Sockets::bind(&[any_v6(0)], &before, &[&before]).unwrap();
    assert_eq!(after.local_addresses(), before.local_addresses()[1..]);
    assert!(Arc::ptr_eq(&after.0[0], &before.0[1]));
    let both = Sockets::bind(&[any_v6(0), any_v6(0)], &before, &[&before]).unwrap();
    assert!(Arc::ptr_eq(&both.0[0], &before.0[1]) && !Arc::ptr_eq(&both.0[1], &before.0[1]));
}

#[tokio::test]
async fn an_address_may_overlap_with_what_it_replaces_and_with_nobody_elses() {
    let free = port(&bind(&[any_v6(0)]).unwrap());
    let steps = [vec![any_v6(free)], vec![any_v4(free)], vec![loopback(free)], vec![any_v6(free), any_v4(free)]];
    let mut sockets = Sockets::default();
    for addresses in steps {
        let next = Sockets::bind(&addresses, &sockets, &[&sockets]).unwrap();
        assert_eq!(next.local_addresses(), addresses);
        sockets = next;
        for address in [any_v6(free), any_v4(free)] {
            assert_eq!(bind(&[address]).unwrap_err().kind(), ErrorKind::AddrInUse, "{address}");
        }
    }
}

#[tokio::test]
async fn who_waits_at_a_socket_that_goes_is_not_lost() {
    let before = bind(&[loopback(0), loopback(0)]).unwrap();
    let [first, second] = before.local_addresses()[..] else { panic!() };
    let mut clients = Vec::new();
    for address in [first, first, second] {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let after = Sockets(vec![Arc::clone(&before.0[1])]);
    let waiting = before.waiting_where_gone(&after);
    let peers: Vec<_> = waiting.iter().map(|(_, peer)| *peer).collect();
    assert_eq!(peers, [clients[0].local_addr().unwrap(), clients[1].local_addr().unwrap()]);
    let (mut server, _) = waiting.into_iter().next().unwrap();
    server.write_all(b"hello").await.unwrap();
    clients[0].read_exact(&mut [0; 5]).await.unwrap();
    assert!(before.waiting_where_gone(&before).is_empty());
}

#[tokio::test]
async fn another_process_may_listen_on_the_same() {
    let before = bind(&[loopback(0)]).unwrap();
    let handed = before.handed().map(|HandedSocket { address, only_v6, descriptor }| HandedSocket {
        address,
        only_v6,
        descriptor: descriptor.try_clone_to_owned().unwrap(),
    });
    let taken = Sockets::taken(handed.collect::<Vec<_>>()).unwrap();
    let after = Sockets::bind(&[loopback(0)], &taken, &[&taken]).unwrap();
    assert_eq!(after.local_addresses(), before.local_addresses());
    drop((before, taken));
    let _client = TcpStream::connect(after.local_addresses()[0]).await.unwrap();
    assert_eq!(after.waiting_where_gone(&Sockets::default()).len(), 1);
}

#[tokio::test]
async fn an_answer_survives_an_unread_request() {
    let sockets = bind(&[loopback(0)]).unwrap();
    let address = sockets.local_addresses()[0];
    let client = tokio::spawn(async move {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&[b'x'; 100_000]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let (mut accepted, _) = std::future::poll_fn(|cx| sockets.poll_accept(0, cx)).await.unwrap();
    tune(&accepted).unwrap();
    assert!(accepted.nodelay().unwrap() && SockRef::from(&accepted).keepalive().unwrap());
    accepted.write_all(b"too much").await.unwrap();
    linger(&mut accepted).await;
    drop(accepted);
    assert_eq!(client.await.unwrap(), "too much");
}
