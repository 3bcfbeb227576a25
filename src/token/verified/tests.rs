use std::cell::Cell;

use serde_json::{Value, json};

use super::*;
use crate::token::claims::LONGEST;

const SERVICE: &str = "registry.example.com";

fn claims(change: impl FnOnce(&mut Value)) -> Claims {
    let mut claims =
        json!({ "iss": "", "sub": "alice", "aud": "", "exp": 2, "jti": "0", "via": "htpasswd", "prf": "x" });
    change(&mut claims);
    serde_json::from_value(claims).unwrap()
}

fn verified() -> Option<Verified> {
    Verified::new(claims(|_| ()))
}

/// Whether a token is remembered, without remembering it.
fn holds(tokens: &VerifiedTokens, kind: TokenKind, service: &str, token: &str) -> bool {
    tokens.get(kind, service, token, || Err(())).is_ok()
}

#[test]
fn what_is_remembered_is_not_verified_again() {
    let tokens = VerifiedTokens::new();
    let asked = Cell::new(0);
    let get = |good: bool| {
        let verify = || {
            asked.set(asked.get() + 1);
            verified().filter(|_| good).ok_or(())
        };
        tokens.get(TokenKind::Access, SERVICE, "a", verify).is_ok()
    };
    // A refusal is not remembered: it costs what it costs, and takes no room from anybody.
    assert_eq!((get(false), get(false), asked.get()), (false, false, 2));
    assert_eq!((get(true), asked.get()), (true, 3));
    assert_eq!((get(true), get(false), asked.get()), (true, true, 3));
    tokens.forget(TokenKind::Access, SERVICE, "a");
    assert_eq!((get(false), asked.get()), (false, 4));
}

#[test]
fn it_is_remembered_for_one_kind_and_one_service() {
    let tokens = VerifiedTokens::new();
    assert!(tokens.get(TokenKind::Deploy, "ab", "cd", || verified().ok_or(())).is_ok());
    for (kind, service, token, held) in [
        (TokenKind::Deploy, "ab", "cd", true),
        (TokenKind::Access, "ab", "cd", false),
        (TokenKind::Refresh, "ab", "cd", false),
        (TokenKind::Deploy, "abc", "d", false),
        (TokenKind::Deploy, "a", "bcd", false),
        (TokenKind::Deploy, "", "abcd", false),
        (TokenKind::Deploy, "ab", "ce", false),
        (TokenKind::Deploy, "ab", "c", false),
    ] {
        assert_eq!(holds(&tokens, kind, service, token), held, "{kind:?} {service} {token}");
    }
    tokens.forget(TokenKind::Access, "ab", "cd");
    assert!(holds(&tokens, TokenKind::Deploy, "ab", "cd"));
}

#[test]
fn all_of_a_token_counts() {
    let tokens = VerifiedTokens::new();
    let held = |token: &str| holds(&tokens, TokenKind::Access, SERVICE, token);
    let token = "abcdefgh".repeat(10);
    assert!(tokens.get(TokenKind::Access, SERVICE, &token, || verified().ok_or(())).is_ok());
    assert!(held(&token));
    for place in 0..token.len() {
        let mut other = token.clone();
        other.replace_range(place..=place, "x");
        assert!(!held(&other), "{place}");
        other.replace_range(..=place, "");
        assert!(!held(&other), "{place}");
    }
    assert!(!held(&format!("a{token}")) && !held(&format!("{token}a")));
}

#[test]
fn what_is_remembered_is_bounded() {
    let tokens = VerifiedTokens::new();
    let long = "x".repeat(LONGEST);
    let more_than_fit = CAPACITY / LONGEST as u64 + 1000;
    for number in 0..more_than_fit {
        let token = format!("{long}{number}");
        assert!(tokens.get(TokenKind::Access, SERVICE, &token, || verified().ok_or(())).is_ok());
    }
    tokens.0.run_pending_tasks();
    assert!(tokens.0.weighted_size() <= CAPACITY, "{}", tokens.0.weighted_size());
    assert!(tokens.0.entry_count() > 1000, "{}", tokens.0.entry_count());
}

#[test]
fn a_subject_is_whole_or_none() {
    let subject = |change: fn(&mut Value)| Verified::new(claims(change)).map(|verified| verified.subject.is_some());
    assert_eq!(subject(|_| ()), Some(true));
    assert_eq!(subject(|claims| *claims = json!({ "iss": "", "sub": "", "aud": "", "exp": 2 })), Some(false));
    let parts: [fn(&mut Value); 4] = [
        |claims| claims["sub"] = json!(""),
        |claims| claims["via"] = json!(null),
        |claims| claims["prf"] = json!(null),
        |claims| *claims = json!({ "iss": "", "sub": "alice", "aud": "", "exp": 2 }),
    ];
    for change in parts {
        assert_eq!(subject(change), None);
    }
}
