//! Logins that fail too often: nothing is verified any more, for that name from there.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Curl, GateSetup, Login, Portcullis, Registry, Response, eventually};

/// So many may fail.
const COUNT: u64 = 3;

fn with_limit(setup: GateSetup, limit: Value) -> Portcullis {
    setup.with(move |config| config["limits"]["failed_logins"] = limit.clone()).start()
}

fn start(registry: &Registry) -> Portcullis {
    with_limit(Portcullis::before(registry), json!({ "count": COUNT, "per": "5m" }))
}

fn wrong(login: Login) -> Login {
    Login::new(login.name, "a guess")
}

fn from(curl: Curl, source: &str) -> Curl {
    curl.argument("--interface").argument(source)
}

/// A login from 127.0.0.1.
fn status(gate: &Portcullis, login: Login) -> u16 {
    gate.curl("/v2/").user(login).send().status
}

fn exhaust(gate: &Portcullis, login: Login) {
    for _ in 0..COUNT {
        assert_eq!(status(gate, wrong(login)), 401);
    }
}

#[track_caller]
fn assert_throttled(answer: &Response) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let seconds: u64 = answer.header("retry-after").expect("when to come back").parse().expect("whole seconds");
    assert!((1..=300).contains(&seconds), "{seconds}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("www-authenticate"), None);
}

#[test]
fn over_the_limit_nothing_is_verified_wherever_one_logs_in() {
    let registry = Registry::start();
    let gate = start(&registry);
    exhaust(&gate, ALICE);
    let form = |login: Login| {
        let pairs = [("grant_type", "password"), ("username", login.name), ("password", login.password)];
        gate.curl("/token").form(&pairs).send()
    };
    for login in [ALICE, wrong(ALICE), Login::new(" ALICE ", "x")] {
        for path in ["/v2/", "/token", "/v2/team-a/app/tags/list", "/v2/library/x/manifests/v1"] {
            let answer = gate.curl(path).user(login).send();
            assert_throttled(&answer);
            assert_eq!(answer.code(), "TOOMANYREQUESTS");
        }
        let answer = form(login);
        assert_throttled(&answer);
        assert_eq!(answer.code(), "TOOMANYREQUESTS");
        assert_throttled(&gate.curl("/v2/team-a/app/manifests/v1").method("HEAD").user(login).send());
    }
    assert_eq!(registry.acted(), []);
    assert_eq!(gate.counted("portcullis_authentications_total", "htpasswd"), 3.0, "the guesses alone were verified");
    assert_eq!(gate.counted("portcullis_logins_throttled_total", "of=\"name\""), 18.0);
    let log = gate.log();
    for kind in ["access", "audit"] {
        let of_kind = log.lines().filter(|line| line.contains(&format!(r#""log":"{kind}""#)));
        assert_eq!(of_kind.filter(|line| line.contains(r#""refused":"throttled""#)).count(), 18, "{kind}");
    }
    assert_eq!(log.matches("too many failed logins").count(), 1, "not for each");
    assert!(!log.contains("a guess"));
}

#[test]
fn nobody_else_is_locked_out() {
    let registry = Registry::start();
    let gate = start(&registry);
    let token = gate.token(Some(BOB), "repository:home/bob/app:pull");
    exhaust(&gate, ALICE);
    assert_eq!(status(&gate, ALICE), 429);
    assert_eq!(from(gate.curl("/v2/"), "127.0.0.2").user(ALICE).send().status, 200, "another network");
    assert_eq!(status(&gate, BOB), 200, "another name");
    assert_eq!(gate.curl("/v2/").send().status, 401, "no name");
    assert_eq!(gate.curl("/v2/home/bob/app/tags/list").bearer(&token).send().status, 404, "a token");
}

/// One machine with an old password behind the address of many.
#[test]
fn a_password_that_was_right_before_passes() {
    let registry = Registry::start();
    let gate = start(&registry);
    assert_eq!(status(&gate, ALICE), 200);
    exhaust(&gate, ALICE);
    assert_eq!(status(&gate, wrong(ALICE)), 429);
    assert_eq!(status(&gate, ALICE), 200, "remembered");
    gate.change_configuration(|config| config["identity"]["cache"] = json!("0s"));
    eventually("it is in force", || gate.status()["configuration"]["generation"] == 2);
    assert_eq!(status(&gate, ALICE), 200, "verified anew");
    assert_eq!(status(&gate, wrong(ALICE)), 429);
    assert_eq!(gate.counted("portcullis_authentications_total", "accepted"), 2.0);
}

/// H17: neither by being throttled nor by not being so can one tell who there is.
#[test]
fn every_name_is_throttled_alike() {
    let registry = Registry::start();
    let disabled = |config: &mut Value| config["identity"]["disabled_users"] = json!([BOB.name]);
    let gate = with_limit(Portcullis::before(&registry).with(disabled), json!({ "count": COUNT, "per": "1d" }));
    let answers = [ALICE, BOB, Login::new("nobody", "x")].map(|login| {
        exhaust(&gate, login);
        let answer = gate.curl("/v2/").user(login).send();
        let (status, text) = (answer.status, answer.text());
        let named = |name: &str| !["date", "retry-after", "x-request-id"].contains(&name);
        let headers: Vec<_> = answer.headers.into_iter().filter(|(name, _)| named(name)).collect();
        (status, headers, text.split(" again in ").next().unwrap().to_owned())
    });
    assert_eq!(answers[0].0, 429);
    assert_eq!(answers[1], answers[0]);
    assert_eq!(answers[2], answers[0]);
}

#[test]
fn the_next_login_is_possible_when_it_was_said_to_be() {
    let registry = Registry::start();
    let gate = with_limit(Portcullis::before(&registry), json!({ "count": 1, "per": "1s" }));
    loop {
        assert_eq!(status(&gate, wrong(ALICE)), 401);
        let answer = gate.curl("/v2/").user(ALICE).send();
        // On a busy machine the second may be over.
        if answer.status == 200 {
            gate.change_configuration(|config| {
                config["limits"]["failed_logins"]["per"] = json!("2s");
                config["identity"]["cache"] = json!("0s");
            });
            continue;
        }
        assert_throttled(&answer);
        let seconds = answer.header("retry-after").unwrap().parse().unwrap();
        thread::sleep(Duration::from_secs(seconds));
        assert_eq!(status(&gate, ALICE), 200);
        return;
    }
}

#[test]
fn behind_a_proxy_clients_are_told_apart() {
    let registry = Registry::start();
    let trusted = |config: &mut Value| config["listen"]["trusted_proxies"] = json!(["127.0.0.1/32"]);
    let gate = with_limit(Portcullis::before(&registry).with(trusted), json!({ "count": COUNT, "per": "5m" }));
    let login = |client: &str, login: Login| {
        let curl = gate.curl("/v2/").header(&format!("X-Forwarded-For: {client}"));
        curl.user(login).send().status
    };
    for client in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1:4711"] {
        assert_eq!(login(client, wrong(ALICE)), 401, "{client}");
    }
    assert_eq!(login("192.0.2.1", ALICE), 429);
    for host in 1..=COUNT {
        assert_eq!(login(&format!("2001:db8::{host}"), wrong(ALICE)), 401);
    }
    assert_eq!(login("2001:db8::ffff:1", ALICE), 429, "the same /64");
    assert_eq!(login("2001:db8:0:1::1", ALICE), 200, "another one");
}

#[test]
fn what_failed_counts_through_a_reload_and_the_limit_changes_live() {
    let registry = Registry::start();
    let mut gate = start(&registry);
    exhaust(&gate, ALICE);
    gate.reload_with(|config| config["log"] = json!({ "level": "debug" }));
    assert_eq!(status(&gate, ALICE), 429);
    gate.reload_with(|config| config["limits"]["failed_logins"]["count"] = json!(100));
    assert_eq!(status(&gate, wrong(ALICE)), 401);
    gate.reload_with(|config| config["limits"]["failed_logins"]["count"] = json!(1));
    assert_eq!(status(&gate, ALICE), 429);
    gate.reload_with(|config| config["limits"]["failed_logins"] = Value::Null);
    exhaust(&gate, ALICE);
    assert_eq!(status(&gate, ALICE), 200);
}

/// A token is no guess: a good one is taken, a refused one counts.
#[test]
fn refused_tokens_count_and_good_ones_pass() {
    let registry = Registry::start();
    let gate = start(&registry);
    let deploy = gate.deploy_token(ALICE.name, &["team-a/**:pull"]);
    let path = "/v2/team-a/app/tags/list";
    let bob = Login::new(BOB.name, deploy.login.password);
    for _ in 0..COUNT {
        assert_eq!(gate.curl(path).user(bob).send().status, 401);
    }
    assert_throttled(&gate.curl(path).user(bob).send());
    assert_throttled(&gate.curl(path).user(BOB).send());

    exhaust(&gate, ALICE);
    assert_throttled(&gate.curl(path).user(ALICE).send());
    assert_eq!(gate.curl(path).user(deploy.login).send().status, 404, "its repository is not there");
}
