//! A gate that has all that is counted, and a script that has nearly all of it counted.

use std::{fs, net::TcpStream, process::Command, thread};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    ALICE, BOB, Image, LDAP_JOHN, Login, Pki, Portcullis, Receiver, Registry, Skopeo, Slapd, Tls, client_config,
    eventually, exchange, forged, free_port, http_get, ldap_provider, run, service_secret,
};

pub(super) struct Scene {
    pub(super) gate: Portcullis,
    /// Two servers with one storage.
    registries: [Registry; 2],
    slapd: Slapd,
    /// Is told of what happens.
    receiver: Receiver,
    _pki: Pki,
    _secrets: TempDir,
}

impl Scene {
    pub(super) fn new() -> Self {
        let first = Registry::start();
        let second = Registry::setup().storage(first.storage()).start();
        let pki = Pki::new();
        let (slapd, secrets) = (Slapd::start(&pki), tempfile::tempdir().unwrap());
        let directory = ldap_provider(&[slapd.ldaps()], &pki.ca_file(), &service_secret(secrets.path()));
        // Nobody is there.
        let authority = format!("https://127.0.0.1:{}/dir", free_port());
        let acme = json!({
            "directory": authority, "agree_to_terms": true, "storage": "acme", "certificates": [{ "names": ["acme.test"] }],
        });
        let receiver = Receiver::start();
        let gone = format!("http://127.0.0.1:{}/", free_port());
        let events = json!({ "storage": "events", "endpoints": [
            { "name": "scanner", "url": receiver.url() },
            { "name": "gone", "url": gone, "queue": 1, "timeout": "1s" },
        ] });
        let servers = [&first.url, &second.url].map(|url| json!({ "url": url }));
        let health = json!({ "interval": "1s" });
        let gate = Portcullis::before_upstream(json!({ "servers": servers, "health": health }))
            .with(move |config| {
                config["identity"]["providers"].as_array_mut().unwrap().push(json!({ "ldap": directory }));
                config["tokens"]["refresh"] = json!({ "enabled": true });
                config["tls"]["acme"] = acme.clone();
                config["events"] = events.clone();
            })
            .start();
        Self { gate, registries: [first, second], slapd, receiver, _pki: pki, _secrets: secrets }
    }

    /// Everything, one after the other. What it returns keeps an upload under way.
    pub(super) fn load(&mut self) -> Tls {
        self.log_in();
        self.show_tokens();
        self.move_images();
        self.tell();
        self.be_refused();
        self.shake_hands();
        self.lose_servers();
        let held = self.hold_an_upload();
        self.reload();
        held
    }

    fn status(&self, login: Login, path: &str) -> u16 {
        self.gate.curl(path).user(login).send().status
    }

    fn log_in(&self) {
        assert_eq!([ALICE, ALICE, LDAP_JOHN].map(|login| self.status(login, "/v2/")), [200; 3]);
        assert_eq!(self.status(Login::new(ALICE.name, "wrong"), "/v2/"), 401);
        assert_eq!(self.status(Login::new("nobody", "wrong"), "/v2/"), 401);
    }

    fn show_tokens(&self) {
        let gate = &self.gate;
        let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
        let shown = |token: &str| gate.curl("/v2/team-a/app/tags/list").bearer(token).send().status;
        assert_eq!([shown(&token), shown(&token)], [404; 2], "there is nothing yet");
        assert_eq!(shown(&forged(gate, &token, |claims| claims["aud"] = json!("elsewhere"))), 401);
        assert_eq!(shown("nonsense"), 401);
        gate.refresh_token(ALICE);
    }

    fn move_images(&self) {
        let (gate, image) = (&self.gate, Image::new(1, &[100_000]));
        let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
        skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();
        let folder = tempfile::tempdir().unwrap();
        skopeo.copy(&gate.image("team-a/app"), &format!("oci:{}:v1", folder.path().display())).succeeded();
        let mount = format!("/v2/team-a/other/blobs/uploads/?mount={}&from=team-a/app", image.layer);
        assert_eq!(gate.curl(&mount).user(ALICE).method("POST").send().status, 201);
        for version in ["--http1.1", "--http2"] {
            let blob = gate.curl(&format!("/v2/team-a/app/blobs/{}", image.layer)).user(ALICE).argument(version).send();
            assert_eq!(blob.status, 200);
        }
    }

    /// What was moved is told to one, and to one who is not there.
    fn tell(&self) {
        eventually("who is there is told", || !self.receiver.events().is_empty());
        let dropped = || self.gate.counted("portcullis_events_dropped_total", "gone") > 0.0;
        eventually("who is not there was told too much", dropped);
    }

    fn be_refused(&self) {
        let gate = &self.gate;
        assert_eq!(self.status(BOB, "/v2/team-a/app/tags/list"), 403);
        assert_eq!(self.status(ALICE, "/v2/team-a/app/nothing"), 404);
        assert_eq!(gate.curl("/v2/").send().status, 401);
        assert_eq!(gate.curl("/v2/").header("Host: elsewhere.test").send().status, 421);
        // The other ports.
        assert_eq!(http_get(gate.http_port(), "/v2/").unwrap().status, 308);
        assert!(exchange(gate.port(), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with(b"HTTP/1.1 400"));
    }

    fn shake_hands(&self) {
        let gate = &self.gate;
        let shared = client_config(gate.pki(), &["http/1.1"]);
        let visit = || {
            let mut client = Tls::configured(shared.clone(), gate.port(), "localhost").unwrap();
            client.send(format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", gate.host()));
            client.answer(false).unwrap();
            client.is_resumed()
        };
        assert_eq!([visit(), visit()], [false, true]);
        assert_eq!(gate.curl("/v2/").argument("--tls-max").argument("1.2").send().status, 401);
        let refused = |arguments: &[&str]| {
            let mut client = Command::new("openssl");
            client.arg("s_client").args(["-connect", &format!("127.0.0.1:{}", gate.port())]).args(arguments);
            assert!(!run(&mut client, "").success, "{arguments:?}");
        };
        refused(&["-verify_return_error"]);
        refused(&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
        assert!(Tls::offering(gate.pki(), gate.port(), "localhost", &["spdy/3"]).is_err());
        exchange(gate.port(), [0xff; 64]);
    }

    fn lose_servers(&mut self) {
        self.registries[1].kill();
        // Before the probes find out, requests do, and another server answers them.
        eventually("requests went elsewhere", || {
            assert_eq!(self.status(ALICE, "/v2/team-a/app/tags/list"), 200);
            self.gate.counted("portcullis_upstream_errors_total", "connect") > 0.0
        });
        let lost = || self.gate.counted("portcullis_upstream_up", &format!("{:?}", self.registries[1].url)) < 0.5;
        eventually("it loses its turn", lost);
        let probed = || self.gate.counted("portcullis_upstream_probes_total", "outcome=\"bad\"") > 0.0;
        eventually("a probe finds it so", probed);
        self.slapd.process().kill();
        eventually("the directory is left out", || {
            assert_eq!(self.status(Login::new(LDAP_JOHN.name, "another"), "/v2/"), 503);
            self.gate.counted("portcullis_ldap_up", "") < 0.5
        });
    }

    fn hold_an_upload(&self) -> Tls {
        let gate = &self.gate;
        let token = gate.token(Some(ALICE), "repository:team-a/app:pull,push");
        let opened = gate.curl("/v2/team-a/app/blobs/uploads/").user(ALICE).method("POST").send();
        let path = opened.header("location").unwrap().replace(&gate.url(""), "");
        let mut client = Tls::connect(gate.pki(), gate.port(), "localhost");
        client.send(format!(
            "PATCH {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: 10\r\n\r\nhello",
            gate.host()
        ));
        eventually("it is under way", || gate.counted("portcullis_requests_in_flight", "") > 0.0);
        client
    }

    fn reload(&mut self) {
        let gate = &mut self.gate;
        // There is one connection, and no place for another.
        gate.reload_with(|config| {
            config["limits"]["connections"] = json!(1);
            config["limits"]["buffers"] = json!("64MiB");
        });
        let (port, waits) = (gate.port(), || gate.counted("portcullis_connection_limit_reached_total", "") > 0.0);
        let waiting = thread::spawn(move || TcpStream::connect(("127.0.0.1", port)));
        eventually("a connection waits", waits);
        waiting.join().unwrap().unwrap();
        gate.reload_with(|config| config["limits"]["connections"] = json!(100));
        fs::remove_file(gate.htpasswd()).unwrap();
        fs::create_dir(gate.htpasswd()).unwrap();
        gate.reload_with(|config| config["access"]["grants"][0]["actions"] = json!(["fly"]));
        assert!(gate.counted("portcullis_config_reload_success", "") < 0.5);
        eventually("the file is missed", || gate.counted("portcullis_password_file_readable", "") < 0.5);
    }
}
