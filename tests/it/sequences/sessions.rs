//! Whole sessions of clients that are in no package of Debian, as their sources have them: from the first request, which
//! carries no credentials, to the last, with tokens asked for in each one's own way.

use super::*;

/// How a client goes about it.
struct Habits {
    name: &'static str,
    agent: &'static str,
    /// Asks `/v2/` before all else, and for a token before it is challenged for a repository.
    pings: bool,
    token: fn(&Session<'_>) -> Response,
    upload: Upload,
}

enum Upload {
    /// POST, a chunked PATCH, PUT.
    Streamed,
    /// POST, a PATCH with a range, PUT.
    Ranged,
    /// POST, PUT.
    Whole,
}

/// kaniko, ko and cosign are the same code as crane; helm as oras; nerdctl as containerd.
const CLIENTS: [Habits; 5] = [
    Habits {
        name: "crane",
        agent: "crane/v0.20.6 go-containerregistry/v0.20.6",
        pings: true,
        token: |session| session.by_query(&[]),
        upload: Upload::Streamed,
    },
    Habits {
        name: "regctl",
        agent: "regclient/regctl (v0.8.3)",
        pings: false,
        token: |session| {
            // Anything but 200 makes it ask the other way, with a user or without.
            let form = session.by_form("regclient/regctl (v0.8.3)");
            let account = session.login.map(|login| format!("account={}", login.name));
            let more = ["client_id=regclient%2Fregctl+%28v0.8.3%29", "offline_token=true"].map(str::to_owned);
            if form.status == 200 { form } else { session.by_query(&[&more[..], account.as_slice()].concat()) }
        },
        upload: Upload::Ranged,
    },
    Habits {
        name: "oras",
        agent: "oras/1.2.3+Homebrew",
        pings: false,
        token: |session| session.by_query(&[]),
        upload: Upload::Whole,
    },
    Habits {
        name: "containerd",
        agent: "containerd/2.1.4",
        pings: false,
        token: |session| session.by_form_with_a_secret("containerd-client", &[400, 401, 404, 405]),
        upload: Upload::Whole,
    },
    Habits {
        name: "BuildKit",
        agent: "buildkit/v0.23",
        pings: false,
        token: |session| session.by_form_with_a_secret("buildkit-client", &[401, 404, 405]),
        upload: Upload::Whole,
    },
];

/// A client at work on one repository.
struct Session<'a> {
    scene: &'a Scene,
    habits: &'a Habits,
    repository: &'a str,
    login: Option<Login>,
    /// Of the challenge.
    realm: String,
    service: String,
    scopes: Vec<String>,
    token: Option<String>,
    /// How often a request was answered with 401.
    challenged: usize,
}

impl<'a> Session<'a> {
    fn new(scene: &'a Scene, habits: &'a Habits, repository: &'a str, login: Option<Login>) -> Self {
        let (realm, service) = Default::default();
        Self { scene, habits, repository, login, realm, service, scopes: Vec::new(), token: None, challenged: 0 }
    }

    /// One request, and once more where it is challenged and a token is to be had.
    fn ask(&mut self, method: &str, path: &str, more: impl Fn(Curl) -> Curl) -> Response {
        let answer = self.send(method, path, &more);
        if answer.status != 401 {
            return answer;
        }
        self.challenged += 1;
        self.read(answer.challenge());
        let fetched = (self.habits.token)(self);
        if fetched.status != 200 {
            return fetched;
        }
        self.token = Some(fetched.json()["access_token"].as_str().unwrap().to_owned());
        self.send(method, path, &more)
    }

    fn send(&self, method: &str, path: &str, more: impl Fn(Curl) -> Curl) -> Response {
        let curl = self.scene.gate.curl(path).method(method).header(&format!("User-Agent: {}", self.habits.agent));
        let curl = match &self.token {
            Some(token) => curl.bearer(token),
            None => curl,
        };
        more(curl).send()
    }

    /// Remembers where tokens are, and what for. The scopes of a challenge are one word to crane, several to others.
    fn read(&mut self, challenge: &str) {
        let parameter = |name: &str| {
            let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
            Some(rest.split('"').next().unwrap().to_owned())
        };
        self.realm = parameter("realm").unwrap();
        self.service = parameter("service").unwrap();
        assert!(self.realm.starts_with(&self.scene.gate.url("/")), "another origin: {}", self.realm);
        if let Some(scope) = parameter("scope")
            && !self.scopes.contains(&scope)
        {
            self.scopes.insert(0, scope);
        }
    }

    /// GET, with Basic where there is a login.
    fn by_query(&self, more: &[String]) -> Response {
        let mut query = more.to_vec();
        query.push(format!("service={}", escaped(&self.service)));
        query.extend(self.scopes.iter().map(|scope| format!("scope={}", escaped(scope))));
        let request = self.token_request(&format!("?{}", query.join("&")));
        match self.login {
            Some(login) => request.user(login).send(),
            None => request.send(),
        }
    }

    /// POST, as OAuth2 has it: all scopes in one value; without a grant type where there is no login.
    fn by_form(&self, client: &str) -> Response {
        let mut form = vec![
            format!("client_id={}", escaped(client)),
            format!("scope={}", escaped(&self.scopes.join(" "))),
            format!("service={}", escaped(&self.service)),
        ];
        if let Some(login) = self.login {
            let (name, password) = (escaped(login.name), escaped(login.password));
            form.push(format!("grant_type=password&username={name}&password={password}"));
        }
        let request = self.token_request("").header("Content-Type: application/x-www-form-urlencoded; charset=utf-8");
        request.argument("--data").argument(form.join("&")).send()
    }

    /// POST where there is a login. What says that there is no POST makes it GET instead, anything else is an end.
    fn by_form_with_a_secret(&self, client: &str, no_post: &[u16]) -> Response {
        if self.login.is_none() {
            return self.by_query(&[]);
        }
        let answer = self.by_form(client);
        assert!(matches!(answer.status, 200 | 401), "{}: {}", answer.status, answer.text());
        if no_post.contains(&answer.status) { self.by_query(&[]) } else { answer }
    }

    fn token_request(&self, query: &str) -> Curl {
        let curl = Curl::new(format!("{}{query}", self.realm)).trusting(self.scene.gate.pki().ca_file());
        curl.header(&format!("User-Agent: {}", self.habits.agent))
    }

    /// The answer that ended it: that to the manifest, or the first that is a refusal.
    fn push(&mut self) -> Response {
        if let Some(refused) = self.ping("push,pull") {
            return refused;
        }
        let image = &self.scene.image;
        for digest in [image.layer.clone(), image.config()] {
            let there = self.ask("HEAD", &self.path(&format!("blobs/{digest}")), |curl| curl);
            if there.status == 200 {
                continue;
            }
            let opened = self.ask("POST", &self.path("blobs/uploads/"), |curl| curl);
            if opened.status != 202 {
                return opened;
            }
            self.upload(&opened, &digest);
        }
        let file = image.manifest();
        self.ask("HEAD", &self.path("manifests/v1"), |curl| curl);
        self.ask("PUT", &self.path("manifests/v1"), |curl| {
            let curl = curl.header("Content-Type: application/vnd.oci.image.manifest.v1+json");
            curl.argument("--data-binary").argument(format!("@{}", file.display()))
        })
    }

    fn upload(&mut self, opened: &Response, digest: &str) {
        let file = self.scene.image.blob(digest);
        let mut session = self.scene.next(opened, 202);
        let range = format!("Content-Range: 0-{}", fs::metadata(&file).unwrap().len() - 1);
        let sent = match self.habits.upload {
            Upload::Streamed => Some(self.ask("PATCH", &session, |curl| curl.chunked_file(&file).method("PATCH"))),
            Upload::Ranged => Some(self.ask("PATCH", &session, |curl| curl.header(&range).body_file(&file))),
            Upload::Whole => None,
        };
        if let Some(sent) = &sent {
            session = self.scene.next(sent, 202);
        }
        let put = self.ask("PUT", &finish(&session, digest), |curl| match sent {
            Some(_) => curl.header("Content-Length: 0"),
            None => curl.body_file(&file),
        });
        assert_eq!(put.status, 201, "{} {}", self.habits.name, put.text());
    }

    /// The answer that ended it: that to the last blob, or the first that is a refusal.
    fn pull(&mut self) -> Response {
        if let Some(refused) = self.ping("pull") {
            return refused;
        }
        let accept = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, */*";
        let manifest = self.ask("GET", &self.path("manifests/v1"), |curl| curl.header(accept));
        if manifest.status != 200 {
            return manifest;
        }
        assert_eq!(manifest.header("docker-content-digest"), Some(self.scene.image.digest.as_str()));
        self.ask("GET", &self.path(&format!("blobs/{}", self.scene.image.layer)), |curl| curl)
    }

    /// What crane does first. None where it may go on.
    fn ping(&mut self, actions: &str) -> Option<Response> {
        if !self.habits.pings || self.token.is_some() {
            return None;
        }
        self.scopes.push(format!("repository:{}:{actions}", self.repository));
        let pinged = self.ask("GET", "/v2/", |curl| curl);
        (pinged.status != 200).then_some(pinged)
    }

    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }
}

/// As Go writes a query or a form.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// T4, T7, T8, T11, T13, P3–P5: who may push and pull does, and is challenged no more often than the client needs.
#[test]
fn a_session_of_who_may() {
    for (seed, habits) in (120..).zip(&CLIENTS) {
        let scene = Scene::new(seed, 50_000);
        let mut session = Session::new(&scene, habits, "team-a/app", Some(ALICE));
        let pushed = session.push();
        assert_eq!(pushed.status, 201, "{} {}", habits.name, pushed.text());
        // With a token for pulling those who do not ping look, with one for pushing they send.
        assert_eq!(session.challenged, if habits.pings { 1 } else { 2 }, "{}", habits.name);
        let mut session = Session::new(&scene, habits, "team-a/app", Some(ALICE));
        let pulled = session.pull();
        assert!(pulled.status == 200 && pulled.body == scene.layer(), "{} {}", habits.name, pulled.status);
        assert_eq!(session.challenged, 1, "{}", habits.name);
    }
}

/// T17: who may not is refused, and told what; a wrong password is an end and never turns into nobody's token.
#[test]
fn a_session_of_who_may_not() {
    let scene = Scene::new(130, 1000);
    for habits in &CLIENTS {
        let name = habits.name;
        let denied = Session::new(&scene, habits, "team-b/app", Some(ALICE)).push();
        assert_eq!((denied.status, denied.code().as_str()), (403, "DENIED"), "{name}");
        assert!(denied.text().contains("push access to team-b/app is denied"), "{name} {}", denied.text());
        let denied = Session::new(&scene, habits, "team-b/app", Some(ALICE)).pull();
        assert!(denied.text().contains("pull access to team-b/app is denied"), "{name} {}", denied.text());

        let guess = Some(Login::new(ALICE.name, "a guess"));
        for refused in [
            Session::new(&scene, habits, "team-a/app", guess).push(),
            Session::new(&scene, habits, "team-a/app", guess).pull(),
        ] {
            assert_eq!(refused.status, 401, "{name}");
            assert!(refused.text().contains("wrong user name or password"), "{name} {}", refused.text());
        }
    }
    assert_eq!(scene.registry.acted(), []);
}

/// T17: without a login, what is public is pulled and nothing else.
#[test]
fn a_session_of_nobody() {
    let scene = Scene::new(131, 1000);
    scene.push(ADMIN, "library/base");
    scene.push(ADMIN, "team-a/app");
    let before = scene.registry.acted().len();
    for habits in &CLIENTS {
        let name = habits.name;
        let mut session = Session::new(&scene, habits, "library/base", None);
        let public = session.pull();
        assert!(public.status == 200 && public.body == scene.layer(), "{name} {}", public.text());
        assert_eq!(session.challenged, usize::from(habits.pings), "{name}");
        let private = Session::new(&scene, habits, "team-a/app", None).pull();
        assert_eq!(private.status, 401, "{name}");
        assert!(
            private.text().contains("authentication required for repository:team-a/app:pull"),
            "{}",
            private.text()
        );
        assert_eq!(Session::new(&scene, habits, "library/other", None).push().status, 401, "{name}");
    }
    let acted = scene.registry.acted();
    assert!(acted[before..].iter().all(|acted| acted.target.starts_with("/v2/library/")), "{acted:?}");
    assert!(acted[before..].iter().all(|acted| acted.method != "POST"), "{acted:?}");
}
