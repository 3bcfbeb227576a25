//! Upstreams that do everything wrong. For each: no false success, 502 or 504 where nothing was sent yet, and the next
//! request is served as if nothing had been.

use super::{PROTOCOLS, answer, fetch, impatient_before, milliseconds, pattern, tag};
use crate::support::{Caller, Ear};

/// What a client may see.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// This status, with an error of ours.
    Refused(u16),
    /// No whole answer, or 502 or 504 where it was not begun.
    Broken,
    /// This answer.
    Whole(u16, &'static str),
}

struct Case {
    name: &'static str,
    act: fn(&mut Caller),
    seen: Seen,
}

fn say(caller: &mut Caller, head: &str, bytes: usize) {
    caller.say(format!("HTTP/1.1 200 OK\r\n{head}\r\n"));
    caller.say(pattern(bytes));
}

const CASES: &[Case] = &[
    Case { name: "truncate-0", act: |caller| say(caller, "Content-Length: 1000000\r\n", 0), seen: Seen::Broken },
    Case { name: "truncate-1000", act: |caller| say(caller, "Content-Length: 1000000\r\n", 1000), seen: Seen::Broken },
    Case {
        name: "truncate-999999",
        act: |caller| say(caller, "Content-Length: 1000000\r\n", 999_999),
        seen: Seen::Broken,
    },
    Case {
        name: "rst-1000",
        act: |caller| {
            say(caller, "Content-Length: 1000000\r\n", 1000);
            std::thread::sleep(milliseconds(50));
            caller.reset();
        },
        seen: Seen::Broken,
    },
    Case { name: "rst-at-once", act: |caller| caller.reset(), seen: Seen::Refused(502) },
    Case {
        name: "truncated-chunk",
        act: |caller| {
            say(caller, "Transfer-Encoding: chunked\r\n", 0);
            caller.say("3e8\r\nabc");
        },
        seen: Seen::Broken,
    },
    Case {
        name: "no-last-chunk",
        act: |caller| {
            say(caller, "Transfer-Encoding: chunked\r\n", 0);
            caller.say("3\r\nabc\r\n");
        },
        seen: Seen::Broken,
    },
    Case {
        name: "chunk-without-a-size",
        act: |caller| {
            say(caller, "Transfer-Encoding: chunked\r\n", 0);
            caller.say("3\r\nabc\r\nxyz\r\nabc\r\n0\r\n\r\n");
            caller.until_closed();
        },
        seen: Seen::Broken,
    },
    Case {
        name: "chunk-of-more-than-can-be",
        act: |caller| {
            say(caller, "Transfer-Encoding: chunked\r\n", 0);
            caller.say("ffffffffffffffffff\r\nabc\r\n0\r\n\r\n");
            caller.until_closed();
        },
        seen: Seen::Broken,
    },
    Case {
        name: "chunk-longer-than-it-says",
        act: |caller| {
            say(caller, "Transfer-Encoding: chunked\r\n", 0);
            caller.say("3\r\nabcdef\r\n0\r\n\r\n");
            caller.until_closed();
        },
        seen: Seen::Broken,
    },
    Case {
        name: "stall-0",
        act: |caller| {
            say(caller, "Content-Length: 1000000\r\n", 0);
            caller.until_closed();
        },
        seen: Seen::Broken,
    },
    Case {
        name: "stall-1000",
        act: |caller| {
            say(caller, "Content-Length: 1000000\r\n", 1000);
            caller.until_closed();
        },
        seen: Seen::Broken,
    },
    Case {
        name: "stall-before-the-last-chunk",
        act: |caller| {
            say(caller, "Transfer-Encoding: chunked\r\n", 0);
            caller.say("3\r\nabc\r\n");
            caller.until_closed();
        },
        seen: Seen::Broken,
    },
    Case {
        name: "slow-header",
        act: |caller| {
            caller.until_closed();
        },
        seen: Seen::Refused(504),
    },
    Case {
        name: "half-a-header",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nContent-Le");
            caller.until_closed();
        },
        seen: Seen::Refused(504),
    },
    Case {
        name: "half-a-header-and-the-end",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nContent-Le");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "header-drop-by-drop-for-ever",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nX: ");
            while caller.say("y") {
                std::thread::sleep(milliseconds(50));
            }
        },
        seen: Seen::Refused(504),
    },
    Case {
        name: "drip",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n");
            for byte in "drop by drop".bytes() {
                std::thread::sleep(milliseconds(80));
                caller.say([byte]);
            }
        },
        seen: Seen::Whole(200, "drop by drop"),
    },
    Case { name: "no-response", act: |_| (), seen: Seen::Refused(502) },
    Case {
        name: "garbage",
        act: |caller| {
            caller.say(b"\x00\xff not http at all\r\n\r\n");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "http-0.9",
        act: |caller| {
            caller.say("<html>hello</html>");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "http-2",
        act: |caller| {
            caller.say(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "two-lengths",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "two-lengths-in-one",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2, 5\r\n\r\nhello");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "negative-length",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "length-with-a-sign",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "length-and-chunks",
        act: |caller| {
            caller.say(
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!",
            );
            caller.until_closed();
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "chunks-and-length",
        act: |caller| {
            caller.say(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!",
            );
            caller.until_closed();
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "big-header",
        act: |caller| {
            caller.say(format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\nContent-Length: 2\r\n\r\nok", "a".repeat(2 << 20)));
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "many-headers",
        act: |caller| {
            caller.say(format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "X: y\r\n".repeat(10_000)));
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "header-with-nul",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nETag: a\0b\r\nContent-Length: 2\r\n\r\nok");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "status-of-four-digits",
        act: |caller| {
            caller.say("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "status-of-no-meaning",
        act: |caller| {
            caller.say("HTTP/1.1 042 OK\r\nContent-Length: 2\r\n\r\nok");
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "interim-answers-first",
        act: |caller| {
            caller.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            caller.say(answer(b"final"));
        },
        seen: Seen::Whole(200, "final"),
    },
    Case {
        name: "interim-answers-and-nothing-more",
        act: |caller| {
            caller.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            caller.until_closed();
        },
        seen: Seen::Refused(504),
    },
    Case {
        name: "switching-protocols-unasked",
        act: |caller| {
            caller.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nEVIL");
            caller.until_closed();
        },
        seen: Seen::Refused(502),
    },
    Case {
        name: "body-on-304",
        act: |caller| {
            caller.say("HTTP/1.1 304 Not Modified\r\nContent-Length: 43\r\n\r\n");
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL");
            caller.until_closed();
        },
        seen: Seen::Whole(304, ""),
    },
    Case {
        name: "body-on-204",
        act: |caller| {
            caller.say("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nEVIL");
            caller.until_closed();
        },
        seen: Seen::Whole(204, ""),
    },
    Case {
        name: "body-on-416",
        act: |caller| {
            // A whole answer, after which the connection may be used again.
            caller.say("HTTP/1.1 416 Range\r\nContent-Length: 4\r\n\r\nEVIL");
        },
        seen: Seen::Whole(416, ""),
    },
    Case {
        name: "more-than-the-length",
        act: |caller| {
            caller.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}EVIL");
            caller.until_closed();
        },
        seen: Seen::Whole(200, "{}"),
    },
    Case {
        name: "two-answers",
        act: |caller| {
            caller.say(answer(b"{}"));
            caller.say(answer(b"EVIL"));
            caller.until_closed();
        },
        seen: Seen::Whole(200, "{}"),
    },
    Case {
        name: "more-than-the-chunks",
        act: |caller| {
            say(caller, "Transfer-Encoding: chunked\r\n", 0);
            caller.say("2\r\n{}\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL");
            caller.until_closed();
        },
        seen: Seen::Whole(200, "{}"),
    },
    Case {
        name: "an-error-of-its-own",
        act: |caller| {
            caller.say("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
        },
        seen: Seen::Whole(503, "busy"),
    },
];

#[test]
fn row_hostile_upstreams() {
    let ear = Ear::following(|caller| {
        while let Some(request) = caller.request() {
            let name = request.target.rsplit('/').next().unwrap_or_default();
            let Some(case) = CASES.iter().find(|case| case.name == name) else {
                caller.say(answer(b"right"));
                continue;
            };
            (case.act)(caller);
            if case.name != "body-on-416" {
                return;
            }
        }
    });
    let gate = impatient_before(&ear);
    for Case { name, seen, .. } in CASES {
        for protocol in PROTOCOLS {
            let got = fetch(&gate, protocol, &tag(name));
            let shown = format!(
                "{name} {protocol}: {:?}",
                got.as_ref().map(|(status, body)| {
                    (status, String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned())
                })
            );
            match (seen, &got) {
                (Seen::Refused(wanted), Ok((status, body))) => {
                    assert_eq!(wanted, status, "{shown}");
                    assert!(String::from_utf8_lossy(body).contains("UNAVAILABLE"), "{shown}");
                }
                (Seen::Broken, Ok((status, _))) => assert!(matches!(status, 502 | 504), "{shown}"),
                // `--max-time` is no end by the gate.
                (Seen::Broken, Err(error)) => assert!(!error.contains("curl: (28)"), "{shown}"),
                (Seen::Whole(status, text), Ok(answer)) => {
                    assert_eq!(*answer, (*status, text.as_bytes().to_vec()), "{shown}");
                }
                (Seen::Refused(_) | Seen::Whole(..), Err(_)) => panic!("{shown}"),
            }
            for protocol in PROTOCOLS {
                let next = fetch(&gate, protocol, &tag("v1"));
                assert_eq!(next, Ok((200, b"right".to_vec())), "after {shown}");
            }
        }
    }
    assert_eq!(gate.admin("/healthz").status, 200);
    assert_eq!(super::gauge(&gate, "portcullis_requests_in_flight"), 0);
}

/// A HEAD whose answer has a body, on a connection that would be kept.
#[test]
fn row_hostile_upstream_with_a_body_on_head() {
    let ear = Ear::following(|caller| {
        while let Some(request) = caller.request() {
            if request.method == "HEAD" {
                caller.say(
                    "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL",
                );
            } else {
                caller.say(answer(b"right"));
            }
        }
    });
    let gate = impatient_before(&ear);
    for protocol in PROTOCOLS {
        let head = gate.curl(&tag("v1")).user(crate::support::ALICE).method("HEAD").argument(protocol).send();
        assert_eq!(head.status, 200, "{protocol}");
        for _ in 0..2 {
            assert_eq!(fetch(&gate, protocol, &tag("v1")), Ok((200, b"right".to_vec())), "{protocol}");
        }
    }
}
