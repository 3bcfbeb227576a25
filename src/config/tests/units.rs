use std::time::Duration;

use proptest::prelude::*;

use super::super::{
    Secret,
    units::{Printed, parse_duration, parse_network, parse_size},
};

#[test]
fn durations() {
    for (text, millis) in [
        ("250ms", 250),
        ("5s", 5_000),
        ("15m", 900_000),
        ("12h", 43_200_000),
        ("30d", 2_592_000_000),
        ("0s", 0),
        ("36500d", 3_153_600_000_000),
    ] {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    for text in [
        "",
        "5",
        "s",
        "5 s",
        "-5s",
        "+5s",
        "5S",
        "1.5s",
        "5s ",
        "1h30m",
        "36501d",
        "18446744073709551615h",
        "99999999999999999999s",
        "٣s",
        "5µs",
    ] {
        assert_eq!(parse_duration(text), None, "{text:?}");
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [("0", 0), ("65536", 65_536), ("64KiB", 65_536), ("4MiB", 4 << 20), ("20GiB", 20 << 30)] {
        assert_eq!(parse_size(text), Some(bytes), "{text}");
    }
    for text in [
        "",
        "KiB",
        "4MB",
        "4M",
        "4 MiB",
        "4mib",
        "-1",
        "+1",
        "1.5MiB",
        "18446744073709551615KiB",
        "99999999999999999999",
    ] {
        assert_eq!(parse_size(text), None, "{text:?}");
    }
}

#[test]
fn networks() {
    for (text, printed) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(parse_network(text).map(|network| network.to_string()).as_deref(), Some(printed), "{text}");
    }
    for text in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/255.0.0.0", "example.com", "::1%lo"] {
        assert_eq!(parse_network(text), None, "{text:?}");
    }
}

#[test]
fn secrets_are_read_without_their_line_end_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for content in ["hunter2", "hunter2\n", "hunter2\r\n"] {
        std::fs::write(&path, content).unwrap();
        let secret = Secret::read(&path).unwrap();
        assert_eq!(secret.reveal(), "hunter2");
        assert_eq!(format!("{secret:?}"), "***");
    }
    let large = vec![b'a'; 64 * 1024 + 1];
    for content in [b"".as_slice(), b"\n", b"hunter2\nhunter3\n", b"hunter\xff", b"hunter\x002", &large] {
        std::fs::write(&path, content).unwrap();
        let error = Secret::read(&path).unwrap_err().to_string();
        assert!(error.starts_with("it ") && !error.contains("hunter"), "{error}");
    }
    assert!(Secret::read(folder.path()).is_err());
    assert!(Secret::read(&folder.path().join("none")).is_err());
}

proptest! {
    #[test]
    fn any_text_is_judged_without_a_panic(text in "\\PC*") {
        let _judged = (parse_duration(&text), parse_size(&text), parse_network(&text));
    }

    #[test]
    fn durations_round_trip(number in 0u64..1_000_000_000, unit in 0usize..5) {
        let (name, millis) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)][unit];
        let duration = parse_duration(&format!("{number}{name}"));
        let exact = number.checked_mul(millis).map(Duration::from_millis).filter(|duration| duration.as_secs() <= 36_500 * 86_400);
        prop_assert_eq!(duration, exact);
        if let Some(duration) = duration {
            prop_assert_eq!(parse_duration(&Printed(duration).to_string()), Some(duration));
            prop_assert!(std::time::Instant::now().checked_add(duration).is_some());
        }
    }

    #[test]
    fn sizes_round_trip(number: u64, shift in 0usize..4) {
        let (name, bytes) = [("", 1u64), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)][shift];
        prop_assert_eq!(parse_size(&format!("{number}{name}")), number.checked_mul(bytes));
    }
}
