//! A way to a server that takes its time.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::Dice;

/// Passes on what either side sends, each piece after a delay, or up to a quarter more. It ends with the test.
pub(crate) struct SlowRelay {
    port: u16,
}

impl SlowRelay {
    /// To a port of this machine.
    pub(crate) fn to(server: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
                let ways = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
                for (way, (from, to)) in ways.into_iter().enumerate() {
                    let (from, to) = (from.unwrap(), to.unwrap());
                    to.set_nodelay(true).unwrap();
                    thread::spawn(move || pass(from, to, delay, Dice::new((number * 2 + way) as u64)));
                }
            }
        });
        Self { port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, delay: Duration, mut dice: Dice) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        thread::sleep(delay + delay / 400 * u32::try_from(dice.between(0, 101)).unwrap());
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
