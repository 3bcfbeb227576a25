//! Servers that end, hang, or cannot be trusted.

use std::{fs, thread, time::Duration};

use serde_json::json;

use super::{Scene, asked, status};
use crate::support::{
    CI, Ear, Http2, LDAP_ALICE, LDAP_BOB, LDAP_JOHN, LDAP_JUERGEN, Login, Pki, Portcullis, Registry, Slapd, Slapped,
    eventually, ldap_provider, service_secret,
};

/// Two servers, behind a password file.
struct Pair {
    slapds: [Slapd; 2],
    gate: Portcullis,
    _pki: Pki,
    _secrets: tempfile::TempDir,
    _registry: Registry,
}

impl Pair {
    fn new() -> Self {
        let pki = Pki::new();
        let slapds = [Slapd::start(&pki), Slapd::start(&pki)];
        let secrets = tempfile::tempdir().unwrap();
        let urls = [slapds[0].ldaps(), slapds[1].ldaps()];
        let mut provider = ldap_provider(&urls, &pki.ca_file(), &service_secret(secrets.path()));
        provider["timeout"] = json!("1s");
        let registry = Registry::start();
        let gate = Portcullis::before(&registry)
            .with(move |config| {
                config["identity"]["providers"].as_array_mut().unwrap().push(json!({ "ldap": provider }));
                // Every login asks.
                config["identity"]["cache"] = json!("0s");
            })
            .start();
        Self { slapds, gate, _pki: pki, _secrets: secrets, _registry: registry }
    }

    fn up(&self, slapd: usize) -> f64 {
        self.gate.counted("portcullis_ldap_up", &format!("server=\"{}\"", self.slapds[slapd].ldaps()))
    }
}

fn login(gate: &Portcullis, login: Login) -> u16 {
    status(gate, login, "/v2/")
}

#[test]
fn another_server_takes_over_and_both_come_back() {
    let mut pair = Pair::new();
    let gate = &pair.gate;
    assert_eq!(login(gate, LDAP_JOHN), 200);

    // In the middle of logins the first one dies: nobody gets a wrong answer.
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..15 {
                    assert_eq!(login(gate, LDAP_JUERGEN), 200);
                    assert_eq!(login(gate, Login::new("jürgen", "wrong")), 401);
                }
            });
        }
        thread::sleep(Duration::from_millis(300));
        pair.slapds[0].process().kill();
    });
    assert_eq!((pair.up(0), pair.up(1)), (0.0, 1.0));

    // Both are gone: that is no wrong password, and no matter to users of the file.
    pair.slapds[1].process().kill();
    eventually("the outage is told", || login(&pair.gate, LDAP_JOHN) == 503);
    for who in [LDAP_JOHN, Login::new("jürgen", "wrong"), Login::new("nobody", "x")] {
        assert_eq!(login(&pair.gate, who), 503, "{}", who.name);
    }
    let refused = pair.gate.curl("/v2/").user(LDAP_JOHN).send();
    assert!(refused.header("retry-after").is_some() && refused.header("www-authenticate").is_none());
    assert_eq!(login(&pair.gate, CI), 200);
    assert_eq!(login(&pair.gate, Login::new("ci", "wrong")), 401);

    pair.slapds[1].start_again();
    eventually("the second one is asked again", || login(&pair.gate, LDAP_JOHN) == 200);
    pair.slapds[0].start_again();
    eventually("the first one is asked again", || {
        assert_eq!(login(&pair.gate, LDAP_JOHN), 200);
        pair.up(0) > 0.0
    });
    let told = pair.gate.log();
    let left_out = told.matches("a directory server is left out").count();
    assert!((2..=4).contains(&left_out), "{left_out} lines for two servers:\n{told}");
    assert_eq!(told.matches("an identity provider cannot answer").count(), 1, "{told}");
}

/// It takes connections and says nothing.
#[test]
fn a_server_that_hangs() {
    let mut pair = Pair::new();
    assert_eq!(login(&pair.gate, LDAP_JOHN), 200);
    pair.slapds[0].process().signal("STOP");
    assert_eq!(login(&pair.gate, LDAP_JOHN), 200, "the other one gets its share of the time");
    assert_eq!(login(&pair.gate, Login::new("jürgen", "wrong")), 401);
    pair.slapds[1].process().signal("STOP");
    eventually("the outage is told", || login(&pair.gate, LDAP_JOHN) == 503);
    assert_eq!(login(&pair.gate, CI), 200);
    for slapd in &mut pair.slapds {
        slapd.process().signal("CONT");
    }
    eventually("they answer again", || login(&pair.gate, LDAP_JOHN) == 200);
}

/// L11, L12: what cannot be trusted is never asked, and that is no wrong password.
#[test]
fn what_cannot_be_trusted_is_not_asked() {
    let mut scene = Scene::new(|_, _| {});
    assert_eq!(login(&scene.gate, LDAP_BOB), 200);

    let other = Pki::new();
    fs::copy(other.ca_file(), scene.secrets.path().join("other.crt")).unwrap();
    let wrong = scene.secrets.path().join("other.crt");
    scene.reload(|provider| provider["ca_file"] = json!(wrong));
    assert_eq!(login(&scene.gate, LDAP_BOB), 503);
    assert!(scene.gate.log().contains("BadSignature: see ca_file"), "{}", scene.gate.log());

    // A certificate for another name.
    let (ca, port) = (scene.pki.ca_file(), scene.slapd.ldaps().rsplit(':').next().unwrap().to_owned());
    scene.reload(|provider| {
        provider["ca_file"] = json!(ca);
        provider["urls"] = json!([format!("ldaps://localhost:{port}")]);
    });
    assert_eq!(login(&scene.gate, LDAP_BOB), 503);
    assert!(scene.gate.log().contains("write the name that is in the certificate"), "{}", scene.gate.log());

    // One without TLS, which refuses StartTLS: nothing else is sent.
    let bare = Slapd::start_with(&scene.pki, Slapped { without_tls: true, ..Slapped::default() });
    let url = bare.ldap();
    let asked = bare.log().matches("BIND dn=\"cn=portcullis").count();
    scene.reload(|provider| {
        provider["urls"] = json!([url]);
        provider["starttls"] = json!(true);
    });
    assert_eq!(login(&scene.gate, LDAP_BOB), 503);
    let log = bare.log();
    assert_eq!(log.matches("BIND dn=\"cn=portcullis").count(), asked, "{log}");
    assert!(!log.contains("SRCH base=\"ou=people"), "{log}");

    // One that speaks something else, before and behind StartTLS.
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00garbage",
    ] {
        let answer = answer.to_vec();
        let ear = Ear::following(move |caller| {
            caller.exactly(31);
            caller.say(&answer);
            caller.until_closed();
        });
        let url = ear.url().replace("http://", "ldap://");
        scene.reload(|provider| provider["urls"] = json!([url]));
        assert_eq!(login(&scene.gate, LDAP_BOB), 503);
    }

    // Mended, it serves at once.
    let url = scene.slapd.ldap();
    scene.reload(|provider| provider["urls"] = json!([url]));
    assert_eq!(login(&scene.gate, LDAP_ALICE), 200);
}

/// A directory that takes its time for each password, and many who want to log in: they wait for their turn, however
/// long one question may take, and a server that is busy is none that fails.
#[test]
fn a_rush_waits_for_its_turn() {
    // crypt with 60,000 rounds.
    const HASH: &str = "$6$rounds=60000$saltsalt$3b4hgKJ10fysxHtqr9E0spwk1kYuY7AnuMbKhSc1p6ekL14jEzaeZgD21gj/F/rMSdOsS8jTkjhapjSDhIlNa.";
    let mut scene = Scene::new(|provider, _| {
        provider["pool"] = json!(1);
        provider["timeout"] = json!("1s");
    });
    scene.slapd.add(&format!(
        "dn: uid=slow,ou=people,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: slow\ncn: S\nsn: S\nuserPassword: {{CRYPT}}{HASH}\n"
    ));
    scene.gate.reload_with(|config| config["limits"]["failed_logins"] = json!(null));
    let logins: Vec<_> = (0..60)
        .map(|number| if number % 20 == 19 { b"slowpw".to_vec() } else { format!("guess {number}").into_bytes() })
        .map(|password| asked(b"slow", &password, "/v2/"))
        .collect();
    for (number, answer) in Http2::connect(&scene.gate).ask_all(&logins).into_iter().enumerate() {
        assert_eq!(answer.unwrap().status, if number % 20 == 19 { 200 } else { 401 }, "{number}");
    }
    assert!(!scene.gate.log().contains("left out"), "{}", scene.gate.log());
}
