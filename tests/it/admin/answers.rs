//! Who gets what: content, headers, methods, and browsers that were led here.

use std::net::TcpStream;

use super::{BROWSER, ask, silent, status_line};
use crate::support::{Portcullis, Registry};

#[test]
fn a_browser_gets_a_page_and_programs_get_json() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let page = ask(&gate, "GET /status", &format!("Host: 127.0.0.1\r\n{BROWSER}"));
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().starts_with("<!doctype html>"), "{}", page.text());
    assert!(page.body.len() < 50_000, "{}", page.body.len());
    for foreign in ["src=", "http-equiv=\"refresh\" content=\"0", "@import", "url("] {
        assert!(!page.text().contains(foreign), "{foreign}");
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("connect-src 'self'"), "{policy}");

    for (line, accept, json) in [
        ("GET /status", "*/*", true),
        ("GET /status", "application/json", true),
        ("GET /status?format=json", "text/html", true),
        ("GET /status?format=html", "*/*", false),
    ] {
        let answer = ask(&gate, line, &format!("Host: localhost\r\nAccept: {accept}"));
        let expected = if json { "application/json" } else { "text/html; charset=utf-8" };
        assert_eq!(answer.header("content-type"), Some(expected), "{line} {accept}");
        assert_eq!(answer.header("vary"), Some("accept"));
    }
    let root = ask(&gate, "GET /", &format!("Host: localhost\r\n{BROWSER}"));
    assert_eq!((root.status, root.header("location")), (303, Some("status")));
}

#[test]
fn every_answer_keeps_to_itself() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for (line, status) in [
        ("GET /", 200),
        ("GET /healthz", 200),
        ("GET /readyz", 200),
        ("GET /metrics", 200),
        ("GET /status", 200),
        ("GET /status/", 404),
        ("GET /nothing", 404),
        ("GET /status/../metrics", 404),
        ("POST /status", 405),
        ("DELETE /healthz", 405),
        ("OPTIONS /status", 405),
    ] {
        let answer = ask(&gate, line, "Host: localhost\r\nOrigin: http://localhost");
        assert_eq!(answer.status, status, "{line}");
        assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{line}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{line}");
        }
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
        if status == 404 {
            assert_eq!(answer.text(), "here are /healthz, /readyz, /metrics and /status\n");
        }
    }
    for path in ["/status", "/status?format=html", "/metrics", "/readyz"] {
        let answer = ask(&gate, &format!("HEAD {path}"), "Host: localhost");
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!(answer.status == 200 && answer.body.is_empty() && length > 3, "{path}");
    }
}

/// A page that made its own name resolve to this address is of the same origin for the browser; `Host` tells.
#[test]
fn a_page_of_another_site_reads_nothing() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    for path in ["/status", "/metrics", "/readyz"] {
        for host in ["evil.example:9090", "127.0.0.1.evil.example"] {
            let answer = ask(&gate, &format!("GET {path}"), &format!("Host: {host}\r\n{BROWSER}"));
            assert_eq!(answer.status, 421, "{path} {host}");
            assert!(answer.text().contains("ssh -L"), "{}", answer.text());
            // Prometheus and the like are often given a name.
            assert_eq!(ask(&gate, &format!("GET {path}"), &format!("Host: {host}")).status, 200, "{path} {host}");
        }
        let framed = "Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors";
        assert_eq!(ask(&gate, &format!("GET {path}"), framed).status, 403, "{path}");
    }
    for host in
        ["localhost:9090", "gate:9090", "[::1]", "10.0.0.7:1", "registry.test", "portcullis.hub.svc.cluster.local"]
    {
        assert_eq!(ask(&gate, "GET /status", &format!("Host: {host}\r\n{BROWSER}")).status, 200, "{host}");
    }
    let link = format!(
        "Host: localhost\r\n{BROWSER}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"
    );
    assert_eq!(ask(&gate, "GET /status", &link).status, 200, "a person follows a link");
}

/// Whoever holds connections and asks nothing keeps no probe out, and whoever was there last is served still.
#[test]
fn those_who_hold_connections_keep_nobody_out() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let held: Vec<TcpStream> = (0..200).map(|_| silent(&gate)).collect();
    for path in ["/healthz", "/readyz", "/status"] {
        assert_eq!(gate.admin(path).status, 200, "{path}");
    }
    let mut last = held.into_iter().next_back().unwrap();
    assert_eq!(status_line(&mut last, "/healthz"), "HTTP/1.1 200 OK");
}
