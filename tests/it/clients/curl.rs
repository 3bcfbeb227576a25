//! curl, with Basic credentials on every request, as scripts use it.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::{Client, story};
use crate::support::{Curl, Done, Image, Login, Portcullis, Response};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn curl_agrees() {
    story::<Script>(205);
}

struct Script {
    url: String,
    ca: std::path::PathBuf,
    login: Option<Login>,
    /// Blobs and manifests by digest, and which of them is the image.
    dir: TempDir,
    manifest: String,
    /// Where it pushed last, to mount from.
    pushed: Option<String>,
}

impl Client for Script {
    const WRONG_PASSWORD: &'static [&'static str] = &["unauthorized: wrong user name or password"];
    const PUSH_DENIED: &'static [&'static str] = &["denied: push access to library/other is denied"];
    const ALL_DENIED: &'static [&'static str] = &["denied: push access to team-b/app is denied"];
    const LOGIN_TO_PULL: &'static [&'static str] =
        &["unauthorized: authentication required for repository:team-a/app:pull"];
    const LOGIN_TO_PUSH: &'static [&'static str] = &["unauthorized: authentication required for repository:"];

    fn new(gate: &Portcullis) -> Self {
        let (url, ca) = (gate.url(""), gate.pki().ca_file());
        Self { url, ca, login: None, dir: tempfile::tempdir().unwrap(), manifest: String::new(), pushed: None }
    }

    fn take(&mut self, image: &Image) {
        for (digest, bytes) in image.blobs() {
            fs::write(self.dir.path().join(format!("sha256:{digest}")), bytes).unwrap();
        }
        self.manifest = image.digest.clone();
    }

    fn login(&mut self, login: Login) -> Done {
        self.login = Some(login);
        done(&self.curl("/v2/").send(), 200)
    }

    fn push(&mut self, repository: &str) -> Done {
        match self.push_all(repository) {
            Ok(answer) => {
                self.pushed = Some(repository.to_owned());
                answer
            }
            Err(refused) => refused,
        }
    }

    fn pull(&mut self, repository: &str) -> Done {
        self.dir = tempfile::tempdir().unwrap();
        self.pull_all(repository).unwrap_or_else(|refused| refused)
    }

    fn assert_holds(&self, image: &Image, _repository: &str) {
        assert_eq!(self.manifest, image.digest);
        for (digest, bytes) in image.blobs() {
            assert!(fs::read(self.dir.path().join(format!("sha256:{digest}"))).unwrap() == bytes, "{digest}");
        }
    }
}

impl Script {
    fn curl(&self, path: &str) -> Curl {
        let curl = Curl::new(format!("{}{path}", self.url)).trusting(&self.ca);
        match self.login {
            Some(login) => curl.user(login),
            None => curl,
        }
    }

    fn push_all(&self, repository: &str) -> Result<Done, Done> {
        let manifest = self.dir.path().join(&self.manifest);
        for digest in blobs(&fs::read(&manifest).unwrap()) {
            let from = self.pushed.as_ref().map_or(String::new(), |from| format!("?mount={digest}&from={from}"));
            let opened = self.curl(&format!("/v2/{repository}/blobs/uploads/{from}")).method("POST").send();
            if opened.status == 201 {
                continue;
            }
            let opened = expect(opened, 202)?;
            let session = opened.header("location").unwrap().trim_start_matches(&self.url).to_owned();
            let end = format!("{session}{}digest={digest}", if session.contains('?') { '&' } else { '?' });
            expect(self.curl(&end).method("PUT").body_file(&self.dir.path().join(&digest)).send(), 201)?;
        }
        let put = self.curl(&format!("/v2/{repository}/manifests/v1")).method("PUT");
        let body = format!("@{}", manifest.display());
        let put = put.header(&format!("Content-Type: {MANIFEST}")).argument("--data-binary").argument(body);
        Ok(done(&put.send(), 201))
    }

    fn pull_all(&mut self, repository: &str) -> Result<Done, Done> {
        let asked = self.curl(&format!("/v2/{repository}/manifests/v1")).header(&format!("Accept: {MANIFEST}"));
        let manifest = expect(asked.send(), 200)?;
        self.manifest = manifest.header("docker-content-digest").unwrap().to_owned();
        fs::write(self.dir.path().join(&self.manifest), &manifest.body).unwrap();
        for digest in blobs(&manifest.body) {
            let blob = expect(self.curl(&format!("/v2/{repository}/blobs/{digest}")).send(), 200)?;
            fs::write(self.dir.path().join(digest), blob.body).unwrap();
        }
        Ok(done(&manifest, 200))
    }
}

/// The configuration and the layers.
fn blobs(manifest: &[u8]) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    let all = std::iter::once(&manifest["config"]).chain(layers);
    all.map(|descriptor| descriptor["digest"].as_str().unwrap().to_owned()).collect()
}

fn expect(answer: Response, status: u16) -> Result<Response, Done> {
    if answer.status == status { Ok(answer) } else { Err(done(&answer, status)) }
}

/// What the registry API's errors say is what a script shows.
fn done(answer: &Response, status: u16) -> Done {
    let success = answer.status == status;
    let stderr =
        if success { String::new() } else { format!("{}: {}", answer.code(), answer.json()["errors"][0]["message"]) };
    Done { success, stdout: String::new(), stderr: stderr.replace('"', "") }
}
