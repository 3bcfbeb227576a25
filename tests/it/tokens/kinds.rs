//! Kinds of token, each good for one thing alone, and at one registry alone.

use serde_json::{Value, json};

use crate::support::{ALICE, Curl, Login, Portcullis, Registry, claims, forged, forged_as};

const SCOPE: &str = "repository:team-a/x:pull";

/// Where a token could be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Bearer,
    Password,
    PasswordAtTheTokenEndpoint,
    PasswordInAForm,
    RefreshTokenInAForm,
}

use Place::{Bearer, Password, PasswordAtTheTokenEndpoint, PasswordInAForm, RefreshTokenInAForm};

const PLACES: [Place; 5] = [Bearer, Password, PasswordAtTheTokenEndpoint, PasswordInAForm, RefreshTokenInAForm];
const ACCESS: &[Place] = &[Bearer];
const REFRESH: &[Place] = &[RefreshTokenInAForm];
const DEPLOY: &[Place] = &[Password, PasswordAtTheTokenEndpoint, PasswordInAForm];

fn start(registry: &Registry) -> Portcullis {
    Portcullis::before(registry)
        .with_second("two.test", registry)
        .with(|config| config["tokens"]["refresh"] = json!({ "enabled": true }))
        .start()
}

/// `None`: taken; else the answer's challenge.
fn refusal(gate: &Portcullis, host: &str, place: Place, name: &'static str, token: &str) -> Option<String> {
    let at = |path: &str| Curl::new(gate.url_of(host, path)).trusting(gate.pki().ca_file());
    let login = Login::new(name, token.to_owned().leak());
    let answer = match place {
        Bearer => at("/v2/").bearer(token),
        Password => at("/v2/").user(login),
        PasswordAtTheTokenEndpoint => at("/token").user(login),
        PasswordInAForm => at("/token").form(&[("grant_type", "password"), ("username", name), ("password", token)]),
        RefreshTokenInAForm => at("/token").form(&[("grant_type", "refresh_token"), ("refresh_token", token)]),
    }
    .send();
    assert!(matches!(answer.status, 200 | 401), "{place:?}: {} {}", answer.status, answer.text());
    assert!(answer.status == 200 || !answer.text().contains("token\":"), "{place:?}");
    (answer.status == 401).then(|| answer.challenge().to_owned())
}

/// Panics unless the token is taken at these places and nowhere else.
#[track_caller]
fn assert_good_at(gate: &Portcullis, what: &str, host: &str, name: &'static str, token: &str, places: &[Place]) {
    for place in PLACES {
        let refusal = refusal(gate, host, place, name, token);
        assert_eq!(refusal.is_none(), places.contains(&place), "{what} at {place:?} of {host}");
        let Some(challenge) = refusal else { continue };
        let error = challenge.contains(r#"error="invalid_token""#);
        assert_eq!(error, place == Bearer, "{what} at {place:?} of {host}: {challenge}");
    }
}

/// J29, J30, J32.
#[test]
fn each_kind_is_good_for_one_thing_at_one_registry() {
    let registry = Registry::start();
    let gate = start(&registry);
    let access = gate.token(Some(ALICE), SCOPE);
    let refresh = gate.refresh_token(ALICE);
    let deploy = {
        let mut command = crate::support::portcullis();
        command.args(["token", "issue", "-c"]).arg(gate.configuration());
        let output =
            command.args(["--user", "alice", "--registry", "localhost", "--grant", "**:pull"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    for (what, token, places) in
        [("J29 J32 access", &access, ACCESS), ("J32 refresh", &refresh, REFRESH), ("J32 deploy", &deploy, DEPLOY)]
    {
        assert_good_at(&gate, what, "localhost", "alice", token, places);
        // The same keys, the same users: J30.
        assert_good_at(&gate, what, "two.test", "alice", token, &[]);
    }
    // J29: whatever name comes with it. A deploy token is its user's alone.
    for name in ["<token>", "oauth2accesstoken", "", "bob", "Alice", "alice "] {
        for (what, token, places) in
            [("access", &access, ACCESS), ("refresh", &refresh, REFRESH), ("deploy", &deploy, &[])]
        {
            assert_good_at(&gate, &format!("J29 {what} of {name}"), "localhost", name, token, places);
        }
    }
    assert_eq!(gate.curl("/token").bearer(&access).send().status, 401, "no token renews itself");
}

/// J32: signed with our own key, so that nothing but kind, audience and claims keeps them apart.
#[test]
fn no_kind_passes_for_another() {
    let registry = Registry::start();
    let gate =
        Portcullis::before(&registry).with(|config| config["tokens"]["refresh"] = json!({ "enabled": true })).start();
    let access = gate.token(Some(ALICE), SCOPE);
    let refresh = gate.refresh_token(ALICE);
    let deploy = gate.deploy_token("alice", &["team-a/**:pull,push"]).login.password;
    let kinds = [
        ("access", access.as_str(), "at+jwt", "localhost", ACCESS),
        ("refresh", &refresh, "refresh+jwt", "localhost/refresh", REFRESH),
        ("deploy", deploy, "deploy+jwt", "localhost/deploy", DEPLOY),
    ];
    for (what, token, typ, audience, places) in kinds {
        // The control: made anew in the same way, it is what it was.
        assert_good_at(&gate, what, "localhost", "alice", &forged(&gate, token, |_| ()), places);
        for (other, _, other_typ, other_audience, _) in kinds.into_iter().filter(|kind| kind.2 != typ) {
            let aud = |claims: &mut Value| claims["aud"] = json!(other_audience);
            for (part, forged) in [
                ("typ", forged_as(&gate, token, other_typ, |_| ())),
                ("aud", forged(&gate, token, aud)),
                // Even both together: a kind has claims of its own.
                ("typ and aud", forged_as(&gate, token, other_typ, aud)),
            ] {
                assert_good_at(
                    &gate,
                    &format!("{what} with the {part} of {other}"),
                    "localhost",
                    "alice",
                    &forged,
                    &[],
                );
            }
        }
        for typ in ["JWT", "", &typ.to_uppercase()] {
            let forged = forged_as(&gate, token, typ, |_| ());
            assert_good_at(&gate, &format!("{what} as {typ:?}"), "localhost", "alice", &forged, &[]);
        }
        // One audience is enough, and it is the whole one: J11, J12.
        let several = forged(&gate, token, |claims| claims["aud"] = json!(["x", audience]));
        assert_good_at(&gate, what, "localhost", "alice", &several, places);
        for wrong in ["localhost/", "localhost/other", "two.test", "other.test/refresh", "other.test/deploy"] {
            let forged = forged(&gate, token, |claims| claims["aud"] = json!(wrong));
            assert_good_at(&gate, &format!("J11 {what} for {wrong}"), "localhost", "alice", &forged, &[]);
        }
        // A name that the proof is not of: J31.
        for (claim, value) in [("sub", "bob"), ("sub", "nobody"), ("via", "ldap"), ("prf", "x")] {
            let forged = forged(&gate, token, |claims| claims[claim] = json!(value));
            assert_good_at(&gate, &format!("{what} with another {claim}"), "localhost", "alice", &forged, &[]);
            assert_good_at(&gate, &format!("{what} with another {claim}"), "localhost", "bob", &forged, &[]);
        }
    }
    assert!(claims(&access).get("grant").is_none() && claims(deploy).get("access").is_none());
}
