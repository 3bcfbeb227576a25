//! What a client does, and whether an answer fits a configuration that was in force while it was asked for.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    client::{Answered, Ask, Broken, Client},
    figures::Figures,
    scene::{Held, Scene},
    timeline::Timeline,
    variant::{CAROL, SECOND, SMALL, Variant},
};
use crate::support::{ALICE, BOB, Dice, Login, Response, claims, digest};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The part of a second in which a slow reader takes most of a large blob.
const SLOWLY: u64 = 4 << 20;

/// What a client does, in one request or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    PullManifest,
    PullBlob,
    PullSlowly,
    Tags,
    Catalog,
    /// What is granted or not.
    PullShared,
    /// What lives here or there.
    PullMoved,
    /// As a member of a group, or not.
    PullAsGuest,
    /// By a token, asked for and used.
    PullByToken,
    /// By a deploy token that may be revoked.
    PullByDeployToken,
    /// With each of two passwords.
    LogIn,
    /// With a password that nobody has.
    LogInWrongly,
    /// With a token made from a password that may have changed since.
    KeepLoggedIn,
    OpenWhereClosed,
    /// A whole image.
    Push,
    PushLargeManifest,
    /// At a host that is served or not; for clients that connect anew.
    AskSecond,
}

/// As often as they are listed.
pub(super) const ALL: [Act; 22] = [
    Act::PullManifest,
    Act::PullBlob,
    Act::PullManifest,
    Act::PullBlob,
    Act::PullSlowly,
    Act::Tags,
    Act::Catalog,
    Act::PullShared,
    Act::PullShared,
    Act::PullMoved,
    Act::PullMoved,
    Act::PullAsGuest,
    Act::PullByToken,
    Act::PullByDeployToken,
    Act::LogIn,
    Act::LogIn,
    Act::LogInWrongly,
    Act::KeepLoggedIn,
    Act::OpenWhereClosed,
    Act::Push,
    Act::PushLargeManifest,
    Act::AskSecond,
];

/// Those whose answers no configuration changes.
pub(super) const STEADY: [Act; 7] =
    [Act::PullManifest, Act::PullBlob, Act::PullSlowly, Act::Tags, Act::PullManifest, Act::Push, Act::PullSlowly];

/// One client that judges all it is told.
pub(super) struct Actor<'a> {
    pub(super) number: usize,
    pub(super) client: Client<'a>,
    pub(super) scene: &'a Scene,
    pub(super) timeline: &'a Timeline,
    pub(super) figures: &'a Figures,
    pub(super) dice: Dice,
    /// A token of carol's, by password.
    pub(super) kept: [Option<String>; 2],
}

impl Actor<'_> {
    pub(super) fn act(&mut self, act: Act) -> Result<(), Broken> {
        match act {
            Act::PullManifest => self.pull("manifest", Ask::new("GET", tag("team/app")), |_| true).map(drop),
            Act::PullBlob => self.blob(0),
            Act::PullSlowly => self.blob(SLOWLY),
            Act::Tags => self.tags(),
            Act::Catalog => self.catalog(),
            Act::PullShared => self.pull("shared", Ask::new("GET", tag("shared/app")), |now| now.shared).map(drop),
            Act::PullMoved => self.moved(),
            Act::PullAsGuest => self.as_guest(),
            Act::PullByToken => self.by_token(),
            Act::PullByDeployToken => self.by_deploy_token(),
            Act::LogIn => self.log_in(),
            Act::LogInWrongly => self.log_in_wrongly(),
            Act::KeepLoggedIn => self.keep_logged_in(),
            Act::OpenWhereClosed => self.open_where_closed(),
            Act::Push => self.push(),
            Act::PushLargeManifest => self.push_large_manifest(),
            Act::AskSecond => self.ask_second(),
        }
    }

    /// The answer where it fits something that was in force.
    fn ask(
        &mut self,
        what: &'static str,
        ask: &Ask,
        fits: impl Fn(&Variant, &Response) -> bool,
    ) -> Result<Response, Broken> {
        let answered = self.client.ask(ask).map_err(|broken| broken.during(what))?;
        self.figures.answered(what, &answered, ask.body.len());
        self.judge_certificate(&answered)?;
        let Answered { response, begin, end, .. } = answered;
        let now = self.timeline.between(begin, end);
        if now.iter().any(|variant| fits(variant, &response)) {
            return Ok(response);
        }
        let said: String = response.text().chars().take(300).collect();
        let Ask { method, path, .. } = ask;
        Err(format!("{what}: {method} {path}: {} {said}: fits nothing in force: {now:?}", response.status).into())
    }

    fn judge_certificate(&self, answered: &Answered) -> Result<(), Broken> {
        let (Some(shown), Some(begin)) = (&answered.shown, answered.connecting) else { return Ok(()) };
        let now = self.timeline.between(begin, answered.end);
        let known = now.iter().any(|variant| self.scene.parts.leaves[variant.leaf].der == *shown);
        if known { Ok(()) } else { Err(format!("a certificate that is not in force: {now:?}").into()) }
    }

    /// The manifest of the image, or a refusal where it is not allowed.
    fn pull(&mut self, what: &'static str, ask: Ask, allowed: impl Fn(&Variant) -> bool) -> Result<Response, Broken> {
        let scene = self.scene;
        self.ask(what, &as_user(ask, ALICE), |now, answer| match allowed(now) {
            true => is(answer, &scene.image),
            false => answer.status == 403,
        })
    }

    fn blob(&mut self, rate: u64) -> Result<(), Broken> {
        let scene = self.scene;
        let largest = scene.image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        let (digest, bytes) = if rate > 0 || self.dice.between(0, 8) == 0 {
            largest
        } else {
            let small: Vec<_> = scene.image.blobs.iter().filter(|(digest, _)| *digest != largest.0).collect();
            self.dice.one_of(&small)
        };
        let ask = as_user(Ask::new("GET", format!("/v2/team/app/blobs/{digest}")), ALICE).slowly(rate);
        let what = if rate > 0 { "slow blob" } else { "blob" };
        self.ask(what, &ask, |_, answer| answer.status == 200 && answer.body == *bytes).map(drop)
    }

    fn tags(&mut self) -> Result<(), Broken> {
        let ask = as_user(Ask::new("GET", "/v2/team/app/tags/list"), ALICE);
        let wanted = json!({ "name": "team/app", "tags": ["v1"] });
        self.ask("tags", &ask, |_, answer| answer.status == 200 && json_of(answer) == wanted).map(drop)
    }

    fn catalog(&mut self) -> Result<(), Broken> {
        let ask = as_user(Ask::new("GET", "/v2/_catalog"), ALICE);
        let fits = |now: &Variant, answer: &Response| {
            let listed = json_of(answer);
            let has = |name: &str| listed["repositories"].as_array().is_some_and(|all| all.contains(&json!(name)));
            answer.status == 200 && has("team/app") && has("moved/app") && has("shared/app") == now.shared
        };
        self.ask("catalog", &ask, fits).map(drop)
    }

    fn moved(&mut self) -> Result<(), Broken> {
        let scene = self.scene;
        let fits =
            |now: &Variant, answer: &Response| is(answer, if now.elsewhere { &scene.other } else { &scene.image });
        self.ask("moved", &as_user(Ask::new("GET", tag("moved/app")), ALICE), fits).map(drop)
    }

    fn as_guest(&mut self) -> Result<(), Broken> {
        let ask = as_user(Ask::new("GET", "/v2/team/app/tags/list"), BOB);
        self.ask("guest", &ask, |now, answer| answer.status == if now.guest { 200 } else { 403 }).map(drop)
    }

    fn by_token(&mut self) -> Result<(), Broken> {
        let ask = as_user(Ask::new("GET", "/token?service=localhost&scope=repository:shared/app:pull"), ALICE);
        let grants = |answer: &Response| claims(json_of(answer)["token"].as_str().unwrap())["access"] != json!([]);
        let token = self.ask("token", &ask, |now, answer| answer.status == 200 && grants(answer) == now.shared)?;
        let carries = grants(&token);
        let scene = self.scene;
        let ask = bearing(Ask::new("GET", tag("shared/app")), &token);
        let fits = |now: &Variant, answer: &Response| match (carries, now.shared) {
            (true, true) => is(answer, &scene.image),
            (false, true) => answer.status == 401,
            (_, false) => answer.status == 403,
        };
        self.ask("by token", &ask, fits).map(drop)
    }

    fn by_deploy_token(&mut self) -> Result<(), Broken> {
        let login = STANDARD.encode(format!("{}:{}", BOB.name, self.scene.token));
        let ask = Ask::new("GET", "/v2/team/app/tags/list").header("authorization", format!("Basic {login}"));
        let fits = |now: &Variant, answer: &Response| match (now.revoked, now.guest) {
            (true, _) => answer.status == 401,
            (false, guest) => answer.status == if guest { 200 } else { 403 },
        };
        self.ask("deploy token", &ask, fits).map(drop)
    }

    fn log_in(&mut self) -> Result<(), Broken> {
        let which = usize::from(self.dice.roll() & 0x100 == 0);
        let ask = as_user(Ask::new("GET", "/token?service=localhost"), CAROL[which]);
        let fits = |now: &Variant, answer: &Response| answer.status == if now.carol == which { 200 } else { 401 };
        let answer = self.ask("login", &ask, fits)?;
        if answer.status == 200 {
            self.kept[which] = json_of(&answer)["token"].as_str().map(str::to_owned);
        }
        Ok(())
    }

    fn log_in_wrongly(&mut self) -> Result<(), Broken> {
        let ask = as_user(Ask::new("GET", "/token?service=localhost"), Login::new(ALICE.name, "nobody's"));
        self.ask("wrong login", &ask, |_, answer| answer.status == 401).map(drop)
    }

    fn keep_logged_in(&mut self) -> Result<(), Broken> {
        let which = usize::from(self.dice.roll() & 0x100 == 0);
        let Some(token) = &self.kept[which] else { return self.log_in() };
        let ask = Ask::new("GET", "/v2/").header("authorization", format!("Bearer {token}"));
        let fits = |now: &Variant, answer: &Response| answer.status == if now.carol == which { 200 } else { 401 };
        self.ask("kept login", &ask, fits).map(drop)
    }

    fn open_where_closed(&mut self) -> Result<(), Broken> {
        let ask = as_user(Ask::new("POST", "/v2/closed/app/blobs/uploads/"), ALICE);
        let fits = |now: &Variant, answer: &Response| answer.status == if now.read_only { 403 } else { 202 };
        let answer = self.ask("open", &ask, fits)?;
        if answer.status == 403 {
            return Ok(());
        }
        let ask = as_user(Ask::new("DELETE", self.location(&answer)?), ALICE);
        self.ask("give up", &ask, |_, answer| answer.status == 204).map(drop)
    }

    fn push(&mut self) -> Result<(), Broken> {
        let repository = format!("pushed/{}", self.number);
        let size = usize::try_from(self.dice.between(1, 200 << 10)).unwrap();
        let layer = self.dice.bytes(size);
        let unique = format!("{{\"n\":{}}}", self.dice.roll()).into_bytes();
        let layer = self.push_blob(&repository, layer)?;
        let config = self.push_blob(&repository, unique)?;
        let manifest = manifest(&config, &layer, 0);
        let name = digest(&manifest);
        let path = format!("/v2/{repository}/manifests/{name}");
        let put = as_user(Ask::new("PUT", path.clone()), ALICE).header("content-type", MANIFEST).body(manifest.clone());
        self.ask("push manifest", &put, |_, answer| answer.status == 201)?;
        let get = as_user(Ask::new("GET", path), ALICE);
        self.ask("what was pushed", &get, |_, answer| answer.status == 200 && answer.body == manifest).map(drop)
    }

    /// Digest and size of what is there now.
    fn push_blob(&mut self, repository: &str, bytes: Vec<u8>) -> Result<(String, usize), Broken> {
        let open = as_user(Ask::new("POST", format!("/v2/{repository}/blobs/uploads/")), ALICE);
        let opened = self.ask("push open", &open, |_, answer| answer.status == 202)?;
        let (name, size) = (digest(&bytes), bytes.len());
        let patch = as_user(Ask::new("PATCH", self.location(&opened)?), ALICE).body(bytes);
        let patched = self.ask("push patch", &patch, |_, answer| answer.status == 202)?;
        let location = self.location(&patched)?;
        let put = as_user(Ask::new("PUT", with_digest(&location, &name)), ALICE);
        let done = self.ask("push put", &put, |_, answer| answer.status == 201)?;
        match done.header("docker-content-digest") {
            Some(said) if said == name => Ok((name, size)),
            said => Err(format!("push put: {said:?} instead of {name}").into()),
        }
    }

    fn push_large_manifest(&mut self) -> Result<(), Broken> {
        let repository = format!("pushed/{}", self.number);
        let config = self.push_blob(&repository, b"{}".to_vec())?;
        let manifest = manifest(&config, &config, SMALL);
        let path = format!("/v2/{repository}/manifests/large");
        let put = as_user(Ask::new("PUT", path), ALICE).header("content-type", MANIFEST).body(manifest);
        let fits = |now: &Variant, answer: &Response| answer.status == if now.small_manifests { 413 } else { 201 };
        self.ask("large manifest", &put, fits).map(drop)
    }

    fn ask_second(&mut self) -> Result<(), Broken> {
        let ask = as_user(Ask::new("GET", "/v2/"), ALICE).dialling(SECOND);
        let fits = |now: &Variant, answer: &Response| answer.status == if now.second { 200 } else { 421 };
        self.ask("second host", &ask, fits).map(drop)
    }

    /// The path of an answer's address.
    fn location(&self, answer: &Response) -> Result<String, Broken> {
        let location = answer.header("location").ok_or_else(|| "no location".to_owned())?;
        Ok(location.replace(&self.scene.gate.url(""), ""))
    }
}

fn tag(repository: &str) -> String {
    format!("/v2/{repository}/manifests/v1")
}

fn as_user(ask: Ask, login: Login) -> Ask {
    let login = STANDARD.encode(format!("{}:{}", login.name, login.password));
    ask.header("accept", MANIFEST).header("authorization", format!("Basic {login}"))
}

fn bearing(ask: Ask, token: &Response) -> Ask {
    let token = json_of(token)["token"].as_str().unwrap().to_owned();
    ask.header("accept", MANIFEST).header("authorization", format!("Bearer {token}"))
}

fn is(answer: &Response, image: &Held) -> bool {
    answer.status == 200 && answer.body == image.manifest
}

fn json_of(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn with_digest(location: &str, digest: &str) -> String {
    format!("{location}{}digest={digest}", if location.contains('?') { '&' } else { '?' })
}

/// With so many bytes besides.
fn manifest(config: &(String, usize), layer: &(String, usize), padding: usize) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.0, "size": layer.1 }],
        "annotations": { "padding": "x".repeat(padding) },
    });
    manifest.to_string().into_bytes()
}
