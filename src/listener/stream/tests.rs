use std::net::Ipv4Addr;

use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::*;
use crate::{
    budget::{LARGEST_FRAME, SMALLEST_FRAME},
    config::MinVersion,
    tls::{
        CertStore, ServerTls, load,
        testing::{Folder, params, trusting_client},
    },
};

const SMALL_BUFFER: u32 = 16 * 1024;

/// A client and the stream a handler would get, over sockets with small kernel buffers.
async fn connected(alpn: &[&[u8]]) -> (client::TlsStream<TcpStream>, ClientStream) {
    let folder = Folder::new();
    let pair = folder.signed("a", &params(&["a.test"]), &PKCS_ECDSA_P256_SHA256);
    let store = Arc::new(CertStore::new(vec![load(&pair).unwrap()]));
    let acceptor =
        TlsAcceptor::from(ServerTls::new(store).unwrap().settings(MinVersion::Tls12).unwrap().of_client(&[]));
    let mut config = trusting_client(&[&rustls::version::TLS13]);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL_BUFFER).unwrap();
    let client = socket.connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let (server, peer) = accepted.unwrap();
    SockRef::from(&server).set_send_buffer_size(SMALL_BUFFER as usize).unwrap();
    let name = ServerName::try_from("a.test").unwrap();
    let (client, server) = tokio::join!(
        TlsConnector::from(Arc::new(config)).connect(name, client.unwrap()),
        acceptor.accept(BufferedTcp::new(server)),
    );
    let server = ClientStream::new(server.unwrap(), peer, Duration::from_millis(1));
    (client.unwrap(), server)
}

async fn read_what_comes(client: &mut client::TlsStream<TcpStream>, received: &mut Vec<u8>) {
    while let Ok(Ok(1..)) = timeout(Duration::from_millis(200), client.read_buf(received)).await {}
}

#[tokio::test]
async fn what_was_written_arrives_while_the_server_waits_to_read() {
    let (mut client, mut server) = connected(&[]).await;
    let _transfer = server.activity().moving(LARGEST_FRAME);
    let body: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    for piece in body.chunks(10_000) {
        server.write_all(piece).await.unwrap();
    }
    // Nobody flushes, so most of it is still in rustls.
    let mut received = Vec::new();
    read_what_comes(&mut client, &mut received).await;
    assert!(received.len() < body.len());

    let waiting = tokio::spawn(async move {
        let mut byte = [0];
        server.read_exact(&mut byte).await.unwrap();
        byte[0]
    });
    read_what_comes(&mut client, &mut received).await;
    assert!(received == body, "{} of {} bytes", received.len(), body.len());
    assert!(!waiting.is_finished());
    client.write_all(b"!").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(waiting.await.unwrap(), b'!');
}

#[tokio::test]
async fn small_writes_go_out_together_and_none_is_lost() {
    let (mut client, mut server) = connected(&[]).await;
    let taken = |server: &ClientStream| server.activity().taken();
    let (head, body) = (vec![1; 300], vec![2; 1024]);
    let before = taken(&server);
    server.write_all(&head).await.unwrap();
    assert_eq!(taken(&server), before, "it waits for what follows");
    server.write_all(&body).await.unwrap();
    server.flush().await.unwrap();
    // One record: its header, the type within, and the tag (RFC 8446, section 5.2).
    assert_eq!(taken(&server) - before, (head.len() + body.len() + 5 + 1 + 16) as u64);
    assert_eq!(server.gathered.capacity(), 0, "an idle connection holds nothing");
    let mut received = vec![0; head.len() + body.len()];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(received, [head, body].concat());

    // Of all sizes, one after another, with what does not fit behind what was gathered; the client reads slowly.
    let sizes = [1, 4095, 1, 4096, 5, 4096, 4097, 3, 70_000, 17, 0, 8000, 2048, 2048, 1, 300_000, 9];
    let pieces: Vec<Vec<u8>> = sizes.iter().zip(1..).map(|(size, number)| vec![number; *size]).collect();
    let all = pieces.concat();
    let sender = tokio::spawn(async move {
        for (index, piece) in pieces.iter().enumerate() {
            if index % 3 == 0 {
                let mut slices = [IoSlice::new(piece), IoSlice::new(&[99])];
                let mut left = &mut slices[..];
                while left.iter().any(|slice| !slice.is_empty()) {
                    let count = server.write_vectored(left).await.unwrap();
                    assert_ne!(count, 0);
                    IoSlice::advance_slices(&mut left, count);
                }
            } else {
                server.write_all(piece).await.unwrap();
            }
        }
        AsyncWriteExt::shutdown(&mut server).await.unwrap();
    });
    let mut received = Vec::new();
    while let Ok(1..) = client.read_buf(&mut received).await {
        tokio::task::yield_now().await;
    }
    sender.await.unwrap();
    let tails = received.iter().filter(|byte| **byte == 99).count();
    assert_eq!(tails, sizes.len().div_ceil(3), "each once");
    received.retain(|byte| *byte != 99);
    assert!(received == all, "{} of {} bytes", received.len(), all.len());
}

/// What HTTP/2's engine does: a frame and a flush, over and over.
async fn frame(server: &mut ClientStream, frame: &[u8]) {
    server.write_all(frame).await.unwrap();
    server.flush().await.unwrap();
}

#[tokio::test]
async fn frames_go_out_together_at_the_connections_next_turn() {
    let (mut client, mut server) = connected(&[b"h2"]).await;
    let activity = server.activity();
    let _transfer = activity.moving(LARGEST_FRAME);
    let before = activity.taken();
    for number in 0..3 {
        frame(&mut server, &[number; 2000]).await;
    }
    assert_eq!(activity.taken(), before, "more may follow");
    let mut scratch = [0; 16];
    assert!(timeout(Duration::from_millis(50), server.read(&mut scratch)).await.is_err());
    let mut received = vec![9; 6000];
    client.read_exact(&mut received).await.unwrap();
    assert!(received == [[0; 2000], [1; 2000], [2; 2000]].concat());

    // A client that does not read has a batch wait as ciphertext, and the frame that came on top of it.
    let mut written = 0;
    while timeout(Duration::from_millis(200), frame(&mut server, &[7; 16 * 1024])).await.is_ok() {
        written += 16 * 1024;
    }
    let held = written - usize::try_from(activity.taken() - before).unwrap();
    assert!(held <= BATCH + 16 * 1024, "{held}");
    let mut received = Vec::new();
    let reading = async {
        while received.len() < written {
            client.read_buf(&mut received).await.unwrap();
        }
    };
    tokio::select! {
        () = reading => {}
        _ = server.read(&mut scratch) => panic!("nothing was sent"),
    }
    assert!(received.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn one_read_takes_as_many_records_as_have_come() {
    let (mut client, mut server) = connected(&[]).await;
    for number in 0..8 {
        client.write_all(&[number; 500]).await.unwrap();
        client.flush().await.unwrap();
    }
    time::sleep(Duration::from_millis(50)).await;
    let mut into = vec![0; 64 * 1024];
    assert_eq!(server.read(&mut into).await.unwrap(), 4000);
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut into).await.unwrap(), 0, "the end comes by itself");
}

#[tokio::test]
async fn tls_holds_no_more_than_the_smallest_frame_of_the_transfers() {
    let (_client, mut server) = connected(&[]).await;
    let activity = server.activity();
    // Until the client's and our socket are full and TLS holds what it may.
    let mut fill = async || {
        let mut written = 0;
        while let Ok(count) = timeout(Duration::from_millis(200), server.write(&[0; 8 * 1024])).await {
            written += count.unwrap();
        }
        written
    };
    let idle = fill().await;
    let large = activity.moving(LARGEST_FRAME);
    let held = fill().await;
    assert!((LARGEST_FRAME - SMALLEST_FRAME..LARGEST_FRAME).contains(&held), "{held}, after {idle}");
    let small = activity.moving(SMALLEST_FRAME);
    assert_eq!((fill().await, activity.frame()), (0, SMALLEST_FRAME));
    drop(large);
    assert_eq!(activity.frame(), SMALLEST_FRAME);
    drop(small);
    let _large = activity.moving(LARGEST_FRAME);
    assert_eq!(activity.frame(), LARGEST_FRAME);
}

#[tokio::test]
async fn a_failed_flush_ends_the_read() {
    let (client, mut server) = connected(&[]).await;
    let _transfer = server.activity().moving(LARGEST_FRAME);
    server.write_all(&[0; 200_000]).await.unwrap();
    // With unread bytes in its buffer the client's close is a reset.
    drop(client);
    let read = timeout(Duration::from_secs(5), server.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(Err(_) | Ok(0))), "{read:?}");
}

#[tokio::test]
async fn one_read_takes_several_records() {
    let (mut client, mut server) = connected(&[]).await;
    let sender = tokio::spawn(async move {
        client.write_all(&[7; 160_000]).await.unwrap();
        client.flush().await.unwrap();
        client
    });
    let _client = sender.await.unwrap();
    let mut frame = vec![0; 256 * 1024];
    let (mut total, mut largest) = (0, 0);
    while total < 160_000 {
        let count = server.read(&mut frame).await.unwrap();
        assert_ne!(count, 0);
        (total, largest) = (total + count, largest.max(count));
    }
    // A TLS record holds 16 KiB at most.
    assert!(largest > 32 * 1024, "{largest}");
}

#[tokio::test]
async fn closing_does_not_wait_for_a_client_that_does_not_read() {
    let (_client, mut server) = connected(&[]).await;
    let _transfer = server.activity().moving(LARGEST_FRAME);
    server.write_all(&[0; 250_000]).await.unwrap();
    // As pingora's sessions do it.
    let closed = timeout(LONGEST_SHUTDOWN * 2, AsyncWriteExt::shutdown(&mut server)).await;
    assert_eq!(closed.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    // The limit is for the whole, not for each attempt.
    let again = timeout(LONGEST_SHUTDOWN / 2, Shutdown::shutdown(&mut server)).await;
    assert!(again.is_ok());
}

#[tokio::test]
async fn closing_sends_the_alert() {
    let (mut client, mut server) = connected(&[]).await;
    server.write_all(b"bye").await.unwrap();
    Shutdown::shutdown(&mut server).await;
    let mut received = String::new();
    // Without the alert this would be an UnexpectedEof.
    client.read_to_string(&mut received).await.unwrap();
    assert_eq!(received, "bye");
}

#[tokio::test]
async fn tells_pingora_who_and_how() {
    for (offered, expected) in
        [(&[b"h2".as_slice(), b"http/1.1"][..], ALPN::H2), (&[b"http/1.1"], ALPN::H1), (&[], ALPN::H1)]
    {
        let (client, server) = connected(offered).await;
        let peer = client.get_ref().0.local_addr().unwrap();
        assert_eq!(server.selected_alpn_proto(), Some(expected));
        let session = server.get_ssl_digest().unwrap();
        assert_eq!(session.version, "TLSv1.3");
        assert!(session.cipher.starts_with("TLS13_AES"), "{}", session.cipher);
        let socket = server.get_socket_digest().unwrap();
        assert_eq!(socket.peer_addr().unwrap().as_inet(), Some(&peer));
        assert_eq!(
            socket.local_addr().unwrap().as_inet().unwrap().port(),
            client.get_ref().0.peer_addr().unwrap().port()
        );
        assert_eq!(server.get_timing_digest().len(), 1);
        assert!(server.id() > 2);
        assert_eq!(format!("{server:?}"), format!("ClientStream {{ peer: {peer}, .. }}"));
    }
}
