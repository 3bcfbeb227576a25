//! A gate with two users who hold every kind of credential, and what it answers to each.

use std::{fs, rc::Rc, thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis::token::Keys;
use serde_json::{Value, json};

use super::{
    events::{Cause, Event, Fate, Fates},
    providers::Provider,
};
use crate::support::{
    ALICE, Asked, BOB, Deploy, Http2, Login, Portcullis, Registry, Response, access, claims, digest, eventually, form,
};

/// The token service at first.
pub(super) const SERVICE: &str = "localhost";
const BLOB: &[u8] = b"a blob";

/// The ids of alice's long-lived tokens.
pub(super) struct Ids {
    pub(super) refresh: String,
    pub(super) deploy: String,
}

/// All that a user holds.
pub(super) struct Wallet {
    login: Login,
    repository: &'static str,
    by_password: String,
    by_refresh: String,
    by_deploy: String,
    refresh: String,
    deploy: Deploy,
}

pub(super) struct Scene {
    pub(super) provider: Rc<dyn Provider>,
    pub(super) gate: Portcullis,
    http: Http2,
    wallets: [Wallet; 2],
    ids: Ids,
    /// The configuration at first.
    original: Value,
    service: &'static str,
    _registry: Registry,
}

impl Scene {
    pub(super) fn new(provider: Rc<dyn Provider>) -> Self {
        let registry = Registry::start();
        let providers = provider.configuration();
        let gate = Portcullis::before(&registry)
            .with(move |config| {
                config["identity"]["providers"] = providers.clone();
                config["tokens"]["refresh"] = json!({ "enabled": true });
            })
            .start();
        let wallets = [(ALICE, "team-a/app"), (BOB, "home/bob/app")].map(|(login, repository)| {
            put_blob(&gate, login, repository);
            Wallet::new(&gate, login, repository)
        });
        let [alice, _] = &wallets;
        let id = claims(&alice.refresh)["jti"].as_str().unwrap().to_owned();
        let ids = Ids { refresh: id, deploy: alice.deploy.id.clone() };
        let original = serde_json::from_slice(&fs::read(gate.configuration()).unwrap()).unwrap();
        // A reload makes no key.
        Keys::load_or_create(&[gate.dir().join("new.key")]).unwrap();
        let http = Http2::connect(&gate);
        Self { provider, gate, http, wallets, ids, original, service: SERVICE, _registry: registry }
    }

    pub(super) fn happen(&mut self, event: &Event) {
        match event.cause {
            Cause::Reload(change) => self.gate.reload_with(|config| change(config, &self.ids)),
            Cause::Provider(changes) => {
                for change in changes {
                    self.seen(|| self.provider.change(*change));
                }
            }
        }
        self.service = event.service;
    }

    pub(super) fn undo(&mut self, event: &Event) {
        match event.cause {
            Cause::Reload(_) => self.gate.reload_with(|config| config.clone_from(&self.original)),
            Cause::Provider(_) => self.seen(|| self.provider.restore()),
        }
        self.service = SERVICE;
    }

    /// Changes the password files and waits until the gate has seen it.
    pub(super) fn seen(&self, change: impl FnOnce()) {
        let told = |log: &str| log.lines().filter(|line| line.contains("the password file")).count();
        let before = told(&self.gate.log());
        change();
        eventually("the change is seen", || told(&self.gate.log()) > before);
        // It is told of a moment before it is in force.
        thread::sleep(Duration::from_millis(50));
    }

    /// Panics unless each credential of alice and of bob is answered by its fate, to the letter.
    #[track_caller]
    pub(super) fn check(&self, when: &str, fates: [Fates; 2]) {
        let probes: Vec<Vec<Probe>> = self.wallets.iter().map(Wallet::probes).collect();
        let asked: Vec<_> = probes.iter().flatten().map(|probe| probe.asked.clone()).collect();
        let mut answers = self.http.ask_all(&asked).into_iter();
        let mut wrong = String::new();
        for ((wallet, probes), fates) in self.wallets.iter().zip(&probes).zip(fates) {
            for probe in probes {
                let told = wallet.told(probe, &answers.next().unwrap().unwrap());
                let expected = self.expected(wallet, probe, fates[probe.credential]);
                if told != expected {
                    let what = probe.what();
                    wrong += &format!("\n{}, {what}\n  answer:   {told}\n  expected: {expected}", wallet.login.name);
                }
            }
        }
        assert!(wrong.is_empty(), "{when}: {wrong}");
    }

    /// The answer to a probe.
    fn expected(&self, wallet: &Wallet, probe: &Probe, fate: Fate) -> String {
        let Wallet { repository, .. } = wallet;
        match (probe.question, fate) {
            (Question::Token, Fate::Works) => format!("200 {repository}:pull,push"),
            (Question::Token, Fate::Pulls) => format!("200 {repository}:pull"),
            (Question::Token, Fate::Denied) => "200 nothing".to_owned(),
            (Question::Token, Fate::Dead) => r#"401 UNAUTHORIZED Basic realm="Registry""#.to_owned(),
            (Question::Token, Fate::Off) => "404 UNSUPPORTED".to_owned(),
            (Question::Base, Fate::Works | Fate::Pulls | Fate::Denied) => "200".to_owned(),
            (Question::Pull, Fate::Works | Fate::Pulls) => "200".to_owned(),
            (Question::Push, Fate::Works) => "400 MANIFEST_INVALID".to_owned(),
            (Question::Pull, Fate::Denied) | (Question::Push, Fate::Denied | Fate::Pulls) => "403 DENIED".to_owned(),
            (Question::Base, Fate::Dead) => self.challenge(None, probe),
            (Question::Pull, Fate::Dead) => self.challenge(Some(format!("repository:{repository}:pull")), probe),
            (Question::Push, Fate::Dead) => self.challenge(Some(format!("repository:{repository}:pull,push")), probe),
            (Question::Base | Question::Pull | Question::Push, Fate::Off) => panic!("only refresh tokens can be off"),
        }
    }

    fn challenge(&self, scope: Option<String>, probe: &Probe) -> String {
        // The realm stays what was dialled, whichever host comes first.
        let mut text =
            format!(r#"401 UNAUTHORIZED Bearer realm="{}",service="{}""#, self.gate.url("/token"), self.service);
        if let Some(scope) = scope {
            text += &format!(r#",scope="{scope}""#);
        }
        if probe.bearer { text + r#",error="invalid_token""# } else { text }
    }
}

/// What is asked with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Base,
    Pull,
    Push,
    Token,
}

/// A question with one of the credentials.
struct Probe {
    credential: usize,
    question: Question,
    bearer: bool,
    asked: Asked<'static>,
}

impl Probe {
    fn what(&self) -> String {
        const NAMES: [&str; 6] = [
            "access token by password",
            "access token by refresh token",
            "access token by deploy token",
            "refresh token",
            "deploy token",
            "password",
        ];
        format!("{}: {} {}", NAMES[self.credential], self.asked.method, self.asked.path)
    }
}

impl Wallet {
    fn new(gate: &Portcullis, login: Login, repository: &'static str) -> Self {
        let scope = format!("repository:{repository}:pull,push");
        let refresh = gate.refresh_token(login);
        let exchanged = gate
            .curl("/token")
            .form(&[("grant_type", "refresh_token"), ("refresh_token", &refresh), ("scope", &scope)])
            .send();
        assert_eq!(exchanged.status, 200, "{}", exchanged.text());
        let deploy = gate.deploy_token(login.name, &[&format!("{repository}:pull,push")]);
        Self {
            login,
            repository,
            by_password: gate.token(Some(login), &scope),
            by_refresh: exchanged.json()["access_token"].as_str().unwrap().to_owned(),
            by_deploy: gate.token(Some(deploy.login), &scope),
            refresh,
            deploy,
        }
    }

    /// Every question that makes sense with every credential.
    fn probes(&self) -> Vec<Probe> {
        let mut probes = Vec::new();
        for (credential, token) in [&self.by_password, &self.by_refresh, &self.by_deploy].into_iter().enumerate() {
            probes.extend(self.at_the_registry(credential, true, &format!("Bearer {token}")));
        }
        let scope = format!("repository:{}:pull,push", self.repository);
        let post = |credential, pairs: &[(&str, &str)]| Probe {
            credential,
            question: Question::Token,
            bearer: false,
            asked: Asked {
                method: "POST",
                path: "/token".to_owned(),
                headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
                body: Some(form(&[pairs, &[("scope", &scope)]].concat()).leak().as_bytes()),
            },
        };
        probes.push(post(3, &[("grant_type", "refresh_token"), ("refresh_token", &self.refresh)]));
        for (credential, login) in [(4, self.deploy.login), (5, self.login)] {
            let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", login.name, login.password)));
            probes.extend(self.at_the_registry(credential, false, &basic));
            let get = Asked {
                method: "GET",
                path: format!("/token?account={}&scope={scope}", login.name),
                headers: vec![("authorization", basic)],
                body: None,
            };
            probes.push(Probe { credential, question: Question::Token, bearer: false, asked: get });
            let pairs = [("grant_type", "password"), ("username", login.name), ("password", login.password)];
            probes.push(post(credential, &pairs));
        }
        probes
    }

    fn at_the_registry(&self, credential: usize, bearer: bool, authorization: &str) -> [Probe; 3] {
        let Self { repository, .. } = self;
        [
            (Question::Base, "GET", "/v2/".to_owned()),
            (Question::Pull, "GET", format!("/v2/{repository}/blobs/{}", digest(BLOB))),
            // The registry looks at it and keeps nothing: a thousand upload sessions would take their time.
            (Question::Push, "PUT", format!("/v2/{repository}/manifests/v1")),
        ]
        .map(|(question, method, path)| {
            let headers = vec![("authorization", authorization.to_owned())];
            let body = (question == Question::Push).then_some(&b"{}"[..]);
            Probe { credential, question, bearer, asked: Asked { method, path, headers, body } }
        })
    }

    /// An answer in short: status, code, challenge; what a token carries.
    fn told(&self, probe: &Probe, answer: &Response) -> String {
        match answer.status {
            200 if probe.question == Question::Token => {
                let body = answer.json();
                let refresh = body.get("refresh_token").and_then(Value::as_str);
                let same = (probe.credential == 3).then_some(self.refresh.as_str());
                assert_eq!(refresh, same, "{}: the same refresh token for its bearer alone", probe.what());
                let access = access(body["token"].as_str().unwrap());
                format!("200 {}", if access.is_empty() { "nothing".to_owned() } else { access.join(" ") })
            }
            200 => {
                assert!(probe.question == Question::Base || answer.body == BLOB, "{}", probe.what());
                "200".to_owned()
            }
            401 => format!("401 {} {}", answer.code(), answer.challenge()),
            status => {
                assert_eq!(answer.header("www-authenticate"), None, "{}", probe.what());
                format!("{status} {}", answer.code())
            }
        }
    }
}

fn put_blob(gate: &Portcullis, login: Login, repository: &str) {
    let file = gate.dir().join("blob");
    fs::write(&file, BLOB).unwrap();
    let path = format!("/v2/{repository}/blobs/uploads/");
    let opened = gate.curl(&path).user(login).method("POST").send();
    assert_eq!(opened.status, 202, "{}", opened.text());
    let session = opened.header("location").unwrap().replace(&gate.url(""), "");
    let end = format!("{session}&digest={}", digest(BLOB));
    assert_eq!(gate.curl(&end).user(login).method("PUT").body_file(&file).send().status, 201);
}
