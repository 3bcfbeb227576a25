//! Clients that write whatever they can into what is logged about them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Line, lines};
use crate::support::{Asked, Dice, Http2, Portcullis, Registry, Tls, eventually, form};

/// In every password, token and query that is sent.
const SECRET: &str = "GEHEIM";

const ACCESS: [&str; 11] = [
    "timestamp",
    "level",
    "log",
    "request_id",
    "client",
    "registry",
    "status",
    "bytes_in",
    "bytes_out",
    "route",
    "duration_ms",
];
const MAY_BE: [&str; 28] = [
    "event",
    "outcome",
    "trace",
    "peer",
    "user",
    "claimed",
    "presented",
    "provider",
    "token",
    "access_token",
    "host",
    "method",
    "repository",
    "reference",
    "digest",
    "from",
    "asked",
    "granted",
    "action",
    "grant",
    "subject",
    "near",
    "refused",
    "failure",
    "aborted",
    "upstream",
    "user_agent",
    "protocol",
];

/// Bytes that mean to end a line or a field, to be taken for one, or to hide.
fn evil(dice: &mut Dice) -> Vec<u8> {
    const PIECES: [&[u8]; 20] = [
        b"\"",
        b"\\",
        b"\\n",
        b"\",\"user\":\"root",
        b" user=\"root\" ",
        b"{",
        b"}",
        b"%0a",
        b"%22",
        b"\t",
        b"\x1b[2J",
        b"\x7f",
        b"\xff\xfe",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xe2\x80\xae",
        b"\xef\xbb\xbf",
        b"\xc3\xa4",
        b"name",
        b"\x01\x02",
    ];
    (0..dice.between(1, 6)).flat_map(|_| dice.one_of(&PIECES).to_vec()).collect()
}

/// The same without what ends an HTTP/1.1 line.
fn target(dice: &mut Dice) -> Vec<u8> {
    let paths: [&[u8]; 8] = [
        b"/v2/",
        b"/v2/team-a/",
        b"/v2/_catalog",
        b"/token",
        b"/v2/team-a/app/manifests/",
        b"/",
        b"/v2/x/blobs/uploads/",
        b"/ui/",
    ];
    let mut target = dice.one_of(&paths).to_vec();
    if dice.between(0, 3) > 0 {
        target.extend(evil(dice));
    }
    target.extend(b"?scope=repository:");
    target.extend(evil(dice));
    target.extend(format!(":pull&service=localhost&{SECRET}=1").bytes());
    target.retain(|byte| !byte.is_ascii_whitespace());
    target
}

fn basic(dice: &mut Dice) -> Vec<u8> {
    let mut login = evil(dice);
    login.extend(format!(":{SECRET}").bytes());
    [b"Basic ".to_vec(), STANDARD.encode(login).into_bytes()].concat()
}

/// One request over HTTP/1.1, whether it is one or not.
fn request(dice: &mut Dice) -> Vec<u8> {
    let methods: [&[u8]; 6] = [b"GET", b"HEAD", b"PUT", b"G\"ET", b"DELETE", b"AVERYLONGMETHODTHATISNONE"];
    let hosts: [&[u8]; 4] = [b"localhost", b"localhost", b"other.test", b"lo\"cal\xffhost"];
    let mut bytes = [dice.one_of(&methods), b" ", &target(dice), b" HTTP/1.1\r\nHost: ", dice.one_of(&hosts)].concat();
    for name in ["User-Agent", "X-Request-Id", "X-Forwarded-For", "Traceparent", "Tracestate", "Cookie", "Referer"] {
        bytes.extend(format!("\r\n{name}: {}", if name == "Cookie" { SECRET } else { "" }).bytes());
        if name != "X-Forwarded-For" || dice.between(0, 4) == 0 {
            bytes.extend(evil(dice).into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        } else {
            bytes.extend(b"192.0.2.7");
        }
    }
    match dice.between(0, 4) {
        0 => bytes.extend([b"\r\nAuthorization: ".to_vec(), basic(dice)].concat()),
        1 => bytes.extend(format!("\r\nAuthorization: Bearer {SECRET}.{SECRET}.x").bytes()),
        2 => bytes.extend(format!("\r\nAuthorization: {SECRET}").bytes()),
        _ => {}
    }
    bytes.extend(b"\r\nConnection: close\r\n\r\n");
    bytes
}

fn gate(registry: &Registry, format: &str) -> Portcullis {
    let log = json!({ "format": format, "level": "debug" });
    let setup = Portcullis::before(registry).with(move |config| config["log"] = log.clone());
    setup.with(|config| config["listen"]["trusted_proxies"] = json!(["127.0.0.0/8"])).start()
}

/// Sends so many; how many were answered.
fn attack(gate: &Portcullis, dice: &mut Dice, count: usize) -> usize {
    let over_http1 = (0..count).filter(|_| {
        let mut tls = Tls::connect(gate.pki(), gate.port(), "localhost");
        tls.send(request(dice));
        !tls.rest().is_empty()
    });
    let over_http1 = over_http1.count();
    let connection = Http2::connect(gate);
    let text = |dice: &mut Dice| {
        let bytes = evil(dice).into_iter().filter(|byte| *byte == b'\t' || !byte.is_ascii_control());
        String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
    };
    let over_http2 = (0..count).filter(|_| {
        let login = String::from_utf8(basic(dice)).unwrap();
        let headers = vec![("user-agent", text(dice)), ("x-request-id", text(dice)), ("authorization", login)];
        let (username, scope) = (text(dice), text(dice));
        let body =
            form(&[("grant_type", "password"), ("username", &username), ("password", SECRET), ("scope", &scope)]);
        let typed = ("content-type", "application/x-www-form-urlencoded".to_owned());
        let asked = if dice.between(0, 2) == 0 {
            Asked {
                method: "POST",
                path: format!("/token?x={SECRET}"),
                headers: [&headers[..2], &[typed]].concat(),
                body: Some(body.as_bytes()),
            }
        } else {
            Asked { method: "GET", path: format!("/v2/team-a/app/tags/list?last={SECRET}"), headers, body: None }
        };
        connection.ask(&asked).is_ok()
    });
    over_http1 + over_http2.count()
}

fn check(line: &Line) {
    let expected: &[&str] = match line["log"].as_str().unwrap() {
        "access" => &ACCESS,
        "audit" => &ACCESS[..9],
        "portcullis" => &["timestamp", "level", "log", "target"],
        other => panic!("no log of ours: {other}"),
    };
    assert!(expected.iter().all(|field| line.contains_key(*field)), "{line:?}");
    if line["log"] != "portcullis" {
        assert!(line.keys().all(|key| ACCESS.contains(&&**key) || MAY_BE.contains(&&**key)), "{line:?}");
        assert!(line["status"].is_u64() && line["bytes_out"].is_u64(), "{line:?}");
        assert!(line.values().filter_map(Value::as_str).all(|text| text.chars().count() <= 512), "{line:?}");
        assert_ne!(line.get("user"), Some(&json!("root")));
    }
}

#[test]
fn whatever_clients_send_each_line_is_json_with_its_fields() {
    let registry = Registry::start();
    let gate = gate(&registry, "json");
    let answered = attack(&gate, &mut Dice::new(0x1095), 150);
    let accessed = || lines(&gate.log()).iter().filter(|line| line["log"] == "access").count();
    eventually("each request has its line", || accessed() >= answered);
    let log = gate.log();
    let lines = lines(&log);
    lines.iter().for_each(check);
    let count = |log: &str| lines.iter().filter(|line| line["log"] == log).count();
    assert!(answered >= 250, "{answered}");
    assert_eq!(count("access"), answered, "no line but those of requests");
    assert!(count("audit") > 50, "{}", count("audit"));
    assert!(!log.contains(SECRET), "{:#?}", log.lines().find(|line| line.contains(SECRET)));
    let visible = |character: char| !character.is_control() && !"\u{2028}\u{2029}\u{202e}\u{feff}".contains(character);
    assert!(log.lines().all(|line| line.chars().all(visible)));
    assert!(lines.iter().any(|line| line.get("claimed").is_some_and(|name| name.as_str().unwrap().contains('"'))));
}

/// The rule that a reader of the text form goes by: a key, `=`, and a JSON value.
fn fields(line: &str) -> Vec<String> {
    let (_, mut rest) = line.split_once(": ").unwrap();
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=').unwrap_or_else(|| panic!("no field: {rest:?} of {line}"));
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
        assert!(values.next().unwrap().is_ok(), "{value}");
        let end = values.byte_offset();
        keys.push(key.to_owned());
        rest = value[end..].strip_prefix(' ').unwrap_or(&value[end..]);
    }
    keys
}

#[test]
fn whatever_clients_send_each_line_of_text_is_one_event() {
    let registry = Registry::start();
    let gate = gate(&registry, "text");
    let answered = attack(&gate, &mut Dice::new(0x7e87), 60);
    let of = |log: &str, name: &str| log.lines().filter(|line| line.contains(&format!(" INFO {name}: "))).count();
    eventually("each request has its line", || of(&gate.log(), "access") >= answered);
    let log = gate.log();
    assert_eq!(of(&log, "access"), answered);
    assert!(of(&log, "audit") > 20 && !log.contains(SECRET));
    for line in log.lines() {
        let stamp = line.split(' ').next().unwrap();
        assert!(stamp.len() == 27 && stamp.starts_with("20") && stamp.ends_with('Z'), "{line:?}");
        if line.contains(" INFO access: ") {
            let fields = fields(line);
            assert!(ACCESS[3..].iter().all(|field| fields.iter().filter(|key| key == field).count() == 1), "{line}");
        }
    }
}
