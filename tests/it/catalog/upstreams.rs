//! Upstreams that are slow, endless, or have an order of their own.

use std::{thread, time::Duration};

use serde_json::json;

use super::{ask as page, link, names};
use crate::support::{ALICE, BOB, CI, Ear, Portcullis, Request, Signal, eventually};

/// Answers every request of a connection with the page that `list` makes of its `last`; true: more follows.
fn listing(list: impl Fn(&str) -> (Vec<String>, bool) + Send + Sync + 'static) -> Ear {
    Ear::following(move |caller| {
        while let Some(request) = caller.request() {
            let (names, follows) = list(&last(&request));
            let body = json!({ "repositories": names }).to_string();
            let link = if follows { "Link: </v2/_catalog?n=1>; rel=\"next\"\r\n" } else { "" };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{link}\r\n", body.len());
            if !caller.say(head + &body) {
                return;
            }
        }
    })
}

fn last(request: &Request) -> String {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let last = query.split('&').find_map(|pair| pair.strip_prefix("last=")).unwrap_or_default();
    last.replace("%2F", "/").replace("%5F", "_")
}

fn gate_before(ear: &Ear) -> Portcullis {
    let grants = json!([
        { "name": "a and c", "repositories": ["a/**", "c/**"], "actions": ["pull"], "to": ["user:alice", "user:bob"] },
        { "name": "wild", "repositories": ["*/visible"], "actions": ["pull"], "to": ["user:ci"] },
    ]);
    Portcullis::before_url(&ear.url()).with(move |config| config["access"]["grants"] = grants.clone()).start()
}

#[test]
fn one_walk_for_all_who_ask_the_same() {
    let open = Signal::default();
    let ear = listing({
        let open = open.clone();
        move |_| {
            assert!(open.wait());
            // Names enough for the page and the next one: nobody has to read on.
            ((0..300).map(|number| format!("a/{number:03}")).collect(), true)
        }
    });
    let gate = gate_before(&ear);
    let gate = &gate;
    thread::scope(|scope| {
        let asking: Vec<_> = [ALICE, BOB, ALICE, BOB, ALICE]
            .map(|login| scope.spawn(move || page(gate, login, "/v2/_catalog?n=2")))
            .into();
        eventually("the registry is asked", || !ear.heard().is_empty());
        open.raise();
        for asked in asking {
            assert_eq!(names(&asked.join().unwrap()), ["a/000", "a/001"]);
        }
    });
    assert_eq!(ear.heard().len(), 1, "{:?}", ear.heard());
}

#[test]
fn one_caller_takes_one_place() {
    let open = Signal::default();
    let ear = listing({
        let open = open.clone();
        move |_| {
            assert!(open.wait());
            (vec!["c/z".to_owned()], false)
        }
    });
    let gate = gate_before(&ear);
    let ask = &|login, last| names(&page(&gate, login, &format!("/v2/_catalog?last={last}")));
    let asked =
        || ear.heard().iter().filter_map(|head| Some(head.split_once("last=")?.1.get(..3)?.to_owned())).collect();
    thread::scope(|scope| {
        let many = ["a%2F1", "a%2F2", "a%2F3", "a%2F4", "a%2F5"].map(|last| scope.spawn(move || ask(ALICE, last)));
        eventually("the registry is asked", || !ear.heard().is_empty());
        thread::sleep(Duration::from_millis(500));
        let other = scope.spawn(|| ask(BOB, "b"));
        eventually("the other caller's turn comes", || ear.heard().len() > 1);
        let lasts: Vec<String> = asked();
        open.raise();
        assert!(lasts.len() == 2 && lasts[0].starts_with("a%2") && lasts[1].starts_with("b~"), "{lasts:?}");
        assert_eq!(names_of(other), ["c/z"]);
        for one in many {
            assert_eq!(names_of(one), ["c/z"]);
        }
    });
}

fn names_of(asked: thread::ScopedJoinHandle<'_, Vec<String>>) -> Vec<String> {
    asked.join().unwrap()
}

#[test]
fn what_a_client_that_left_asked_for_is_there_for_the_next() {
    let open = Signal::default();
    let ear = listing({
        let open = open.clone();
        move |_| {
            assert!(open.wait());
            (vec!["a/x".to_owned()], false)
        }
    });
    let gate = gate_before(&ear);
    // A first login takes a while.
    page(&gate, ALICE, "/v2/_catalog?n=0");
    let left = gate.curl("/v2/_catalog").user(ALICE).argument("--max-time").argument("1").attempt();
    assert!(left.is_err(), "{left:?}");
    assert_eq!(ear.heard().len(), 1, "{:?}", ear.heard());
    open.raise();
    assert_eq!(names(&page(&gate, BOB, "/v2/_catalog")), ["a/x"]);
    assert_eq!(ear.heard().len(), 1, "{:?}", ear.heard());
}

#[test]
fn what_takes_too_long_goes_on_at_the_next_request() {
    // One name a page, and only the 301st may be seen.
    let ear = listing(|last| {
        let number = last.get(1..5).map_or(0, |digits| digits.parse::<usize>().unwrap() + 1);
        let name = if number == 300 { "visible" } else { "hidden" };
        (vec![format!("s{number:04}/{name}")], number < 400)
    });
    let gate = gate_before(&ear);
    let of_the_walk = |ear: &Ear| -> usize {
        ear.heard().iter().filter(|line| !line.contains("last=") || line.contains("last=s")).count()
    };
    let mut asked = 0;
    for _ in 0..2 {
        let unfinished = page(&gate, CI, "/v2/_catalog");
        assert_eq!(unfinished.status, 503, "{}", unfinished.text());
        assert_eq!(unfinished.code(), "UNAVAILABLE");
        assert!(unfinished.header("retry-after").is_some());
        let more = of_the_walk(&ear) - asked;
        assert!((100..150).contains(&more), "{more}");
        asked += more;
        // Another's cheap questions, more than are remembered, push nothing out.
        for number in 0..20 {
            for last in [format!("zzz{number}"), format!("a%2F{number}")] {
                assert_eq!(page(&gate, BOB, &format!("/v2/_catalog?last={last}")).status, 200, "{last}");
            }
        }
    }
    // Something can be shown now, and whether more follows is not known yet.
    let found = page(&gate, CI, "/v2/_catalog");
    assert_eq!(names(&found), ["s0300/visible"]);
    let rest = link(&found).map(|next| page(&gate, CI, &next));
    assert!(rest.is_none_or(|rest| names(&rest).is_empty() && link(&rest).is_none()));
    assert_eq!(of_the_walk(&ear), 401, "each page once: {:?}", ear.heard().last());
}

#[test]
fn an_order_of_its_own_loses_nothing() {
    // No range can be sought where names come as they like; `last` is found by its place in the list.
    let all = ["b/1", "c/2", "a/3", "b/4", "a/1", "c/1", "a/2"].map(str::to_owned);
    let ear = listing(move |last| {
        let begin = all.iter().position(|name| *name == last).map_or(0, |at| at + 1);
        let rest = all.get(begin..).unwrap_or_default();
        (rest.iter().take(3).cloned().collect(), rest.len() > 3)
    });
    let gate = gate_before(&ear);
    let (mut target, mut shown) = ("/v2/_catalog?n=2".to_owned(), Vec::new());
    loop {
        let page = page(&gate, ALICE, &target);
        shown.extend(names(&page));
        match link(&page) {
            Some(next) => target = next,
            None => break,
        }
    }
    assert_eq!(shown, ["c/2", "a/3", "a/1", "c/1", "a/2"]);
}

#[test]
fn an_upstream_that_turns_in_circles_is_left() {
    for names in [&["a/x"][..], &["a/x", "b/y"], &[]] {
        let ear = listing(move |_| (names.iter().map(|&name| name.to_owned()).collect(), true));
        let gate = gate_before(&ear);
        let shown: Vec<String> = super::names(&page(&gate, ALICE, "/v2/_catalog"));
        assert_eq!(shown, names.iter().filter(|name| name.starts_with("a/")).copied().collect::<Vec<_>>());
        assert!(ear.heard().len() < 12, "{:?}", ear.heard());
    }
}

#[test]
fn an_upstream_without_a_catalog_is_a_bad_gateway() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
    ] {
        let ear = Ear::answering(answer);
        let gate = gate_before(&ear);
        assert_eq!(page(&gate, ALICE, "/v2/_catalog").status, 502, "{answer}");
    }
}
