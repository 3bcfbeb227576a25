//! What a process holds at one moment.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use super::scene::Scene;

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// In KiB.
    pub(super) resident: u64,
    pub(super) threads: u64,
    /// Of any kind.
    descriptors: usize,
    /// Connections with upstream servers, which are kept for the next request.
    upstreams: usize,
    pub(super) listening: usize,
}

impl Held {
    /// By the process that serves now. The kernel tells of sockets in pieces, while others come and go: what is said twice
    /// in a row is so.
    pub(super) fn by(scene: &Scene) -> Self {
        let mut last = Self::at_a_glance(scene);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(50));
            let next = Self::at_a_glance(scene);
            if (next.descriptors, next.upstreams) == (last.descriptors, last.upstreams) {
                return next;
            }
            last = next;
        }
        last
    }

    fn at_a_glance(scene: &Scene) -> Self {
        let proc = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", scene.gate.pid())).unwrap();
        let status = proc("status");
        let of = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let folder = fs::read_dir(format!("/proc/{}/fd", scene.gate.pid())).unwrap();
        let open: Vec<_> = folder.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect();
        let told = proc("net/tcp");
        let sockets: BTreeMap<String, Socket> =
            told.lines().filter_map(Socket::parse).map(|socket| (socket.inode.clone(), socket)).collect();
        let own = |socket: &&Socket| open.iter().any(|link| *link.as_os_str() == *format!("socket:[{}]", socket.inode));
        let servers = scene.servers();
        let own: Vec<&Socket> = sockets.values().filter(own).collect();
        Self {
            resident: of("VmRSS:"),
            threads: of("Threads:"),
            descriptors: open.len(),
            upstreams: own.iter().filter(|socket| servers.contains(&socket.peer)).count(),
            listening: own.iter().filter(|socket| socket.listens).count(),
        }
    }

    /// Descriptors but for those whose number is a matter of the last seconds' load.
    pub(super) fn beside_upstreams(&self) -> usize {
        self.descriptors - self.upstreams
    }
}

/// A line of /proc/net/tcp.
struct Socket {
    peer: u16,
    listens: bool,
    inode: String,
}

impl Socket {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = words.get(2)?.split_once(':')?;
        let peer = u16::from_str_radix(port, 16).ok()?;
        Some(Self { peer, listens: *words.get(3)? == "0A", inode: (*words.get(9)?).to_owned() })
    }
}
