//! Many clients that stop reading.

use super::{MIB, before, blob, get, http1, milliseconds, read_head};
use crate::support::{Ear, Portcullis, eventually};

const CLIENTS: usize = 32;

/// Blobs without end.
fn endless() -> Ear {
    Ear::following(|caller| {
        if caller.request().is_some() {
            caller.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40));
            let piece = vec![b'x'; 64 * 1024];
            while caller.say(&piece) {}
        }
    })
}

#[test]
fn row_memory_of_clients_that_stop_reading() {
    let ear = endless();
    let gate = before(&ear);
    // One that reads, so that what a first request costs is not counted.
    let mut client = http1(&gate);
    client.send(get(&gate, &blob()));
    read_head(&mut client);
    super::read_some(&mut client, 8 * MIB);
    drop(client);
    eventually("it is gone", || ear.open() == 0);

    let begun = gate.peak_memory();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = http1(&gate);
            client.send(get(&gate, &blob()));
            client
        })
        .collect();
    eventually("all are served", || ear.open() == CLIENTS);
    std::thread::sleep(milliseconds(1500));
    let grown = gate.peak_memory() - begun;
    assert!(grown < CLIENTS as u64 * 1024, "{} KiB for each", grown / CLIENTS as u64);
    drop(clients);
    eventually("all are given up", || ear.open() == 0);
}

#[test]
fn trap_07_clients_that_stop_reading_are_ended() {
    let ear = endless();
    let gate = Portcullis::before_url(&ear.url())
        .with(|config| config["limits"] = serde_json::json!({ "body_idle": "800ms" }))
        .start();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = http1(&gate);
            client.send(get(&gate, &blob()));
            client
        })
        .collect();
    eventually("all are served", || ear.connections() == CLIENTS);
    eventually("all are given up", || ear.open() == 0);
    eventually("all are closed", || super::gauge(&gate, "portcullis_connections") == 0);
    drop(clients);
}
