//! HTTP/2 frames that cost a server more than their sender. Whoever sends them may be cut off; others are served, and
//! memory stays bounded.

use std::time::Duration;

use super::{
    Scene,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, PRIORITY, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, block, frame, remembered,
    },
};
use crate::support::ALICE;

/// KiB.
const MOST_MEMORY: u64 = 256 << 10;

struct Flood {
    scene: Scene,
    fields: Vec<(&'static str, String)>,
}

impl Flood {
    fn new() -> Self {
        let scene = Scene::new();
        let path = format!("/v2/team-a/app/blobs/{}", scene.public.layer);
        let fields = vec![
            (":method", "GET".to_owned()),
            (":scheme", "https".to_owned()),
            (":path", path),
            (":authority", scene.gate.host()),
            ("authorization", Scene::login()),
        ];
        Self { scene, fields }
    }

    fn fields(&self) -> Vec<(&str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Sends what `make` gives until the server closes or it was given `count` times.
    fn send(&self, http2: &mut Http2, count: usize, mut make: impl FnMut(&mut Http2, usize) -> Vec<u8>) {
        for number in 0..count {
            let bytes = make(http2, number);
            if !http2.send(&bytes) {
                return;
            }
        }
    }

    #[track_caller]
    fn others_are_served(&self, id: &str) {
        for protocol in ["--http2", "--http1.1"] {
            let answer = self.scene.gate.curl("/v2/team-a/app/tags/list").user(ALICE).argument(protocol).send();
            assert_eq!(answer.status, 200, "{id} {protocol}");
        }
        let memory = self.scene.gate.peak_memory();
        assert!(memory < MOST_MEMORY, "{id}: {memory} KiB");
    }
}

#[test]
fn s27_streams_that_are_reset_at_once() {
    let flood = Flood::new();
    let mut http2 = Http2::connect(&flood.scene.gate);
    let block = block(&flood.fields());
    flood.send(&mut http2, 3000, |http2, _| {
        let stream = http2.next_stream();
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        bytes
    });
    flood.others_are_served("S27 rapid reset");
    let asked = flood.scene.registry.acted().len();
    assert!(asked < 2000, "S27: the registry was asked {asked} times");
}

#[test]
fn s27_streams_that_the_server_must_reset() {
    let flood = Flood::new();
    let mut http2 = Http2::connect(&flood.scene.gate);
    let block = block(&flood.fields());
    // A window that grows by nothing is an error of the stream (RFC 9113 §6.9): the server resets it.
    flood.send(&mut http2, 3000, |http2, _| {
        let stream = http2.next_stream();
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
        bytes
    });
    flood.others_are_served("S27 MadeYouReset");
}

#[test]
fn s27_a_head_without_an_end() {
    let flood = Flood::new();
    let mut http2 = Http2::connect(&flood.scene.gate);
    let stream = http2.next_stream();
    http2.send(&frame(HEADERS, END_STREAM, stream, &block(&flood.fields())));
    let filling = "f".repeat(8000);
    let piece = block(&[("x-filling", &filling)]);
    let mut sent = 0;
    flood.send(&mut http2, 20_000, |_, _| {
        sent += 1;
        frame(CONTINUATION, 0, stream, &piece)
    });
    assert!(sent < 20_000, "S27: 160 MB of one head were read");
    flood.others_are_served("S27 CONTINUATION");

    let mut http2 = Http2::connect(&flood.scene.gate);
    let stream = http2.next_stream();
    http2.send(&frame(HEADERS, END_STREAM, stream, &block(&flood.fields())));
    let mut sent = 0;
    flood.send(&mut http2, 200_000, |_, _| {
        sent += 1;
        frame(CONTINUATION, 0, stream, &[])
    });
    assert!(sent < 200_000, "S27: empty ones were read without end");
    flood.others_are_served("S27 empty CONTINUATION");
}

#[test]
fn s27_frames_that_ask_for_an_answer_or_for_nothing() {
    let flood = Flood::new();
    let ping = frame(PING, 0, 0, &[7; 8]);
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    for (id, bytes) in [
        ("S27 PING", ping),
        ("S27 SETTINGS", settings),
        ("S27 PRIORITY", frame(PRIORITY, 0, 101, &[0, 0, 0, 0, 1])),
        ("S27 WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("S27 unknown", frame(0x42, 0, 0, &[0; 64])),
    ] {
        // Nothing of what the server answers is read.
        let mut http2 = Http2::connect(&flood.scene.gate);
        let many = bytes.repeat(100);
        flood.send(&mut http2, 500, |_, _| many.clone());
        flood.others_are_served(id);
    }
}

#[test]
fn s27_data_without_data() {
    let flood = Flood::new();
    let mut http2 = Http2::connect(&flood.scene.gate);
    let mut fields = flood.fields();
    fields[0].1 = "PUT";
    fields[2].1 = "/v2/team-a/app/manifests/empty";
    let stream = http2.open(&fields, 0);
    let many = frame(DATA, 0, stream, &[]).repeat(100);
    flood.send(&mut http2, 1000, |_, _| many.clone());
    flood.others_are_served("S27 empty DATA");
}

#[test]
fn s27_a_window_of_nothing() {
    let flood = Flood::new();
    // SETTINGS_INITIAL_WINDOW_SIZE
    let mut clients: Vec<Http2> = (0..20).map(|_| Http2::with_settings(&flood.scene.gate, &[(4, 0)])).collect();
    for http2 in &mut clients {
        for _ in 0..20 {
            http2.open(&flood.fields(), END_STREAM);
        }
        http2.drain(Duration::from_millis(20));
    }
    flood.others_are_served("S27 zero window");
}

#[test]
fn s27_a_small_block_of_large_headers() {
    let flood = Flood::new();
    let mut http2 = Http2::connect(&flood.scene.gate);
    // One entry of 4,000 bytes, then as many references to it as one frame takes.
    let mut bomb = block(&flood.fields());
    bomb.extend(remembered("x", &"b".repeat(3900)));
    bomb.extend(vec![0xbe; 12_000]);
    flood.send(&mut http2, 200, |http2, _| {
        let stream = http2.next_stream();
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb)
    });
    flood.others_are_served("S27 HPACK bomb");
}
