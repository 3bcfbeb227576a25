//! curl, and answers in general.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;

use super::{Login, Place, process::missing};

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// `HTTP/1.1` or `HTTP/2`.
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Parses a head with its status line.
    pub(crate) fn parse_head(head: &str) -> Self {
        let mut lines = head.lines();
        let mut status_line = lines.next().unwrap_or_default().split(' ');
        let version = status_line.next().unwrap_or_default().to_owned();
        let status = status_line.next().and_then(|word| word.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        Self {
            status: status.unwrap_or_else(|| panic!("not an answer: {head:?}")),
            version,
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
            body: Vec::new(),
        }
    }

    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The only challenge of a 401.
    #[track_caller]
    pub(crate) fn challenge(&self) -> &str {
        assert_eq!(self.status, 401, "{}", self.text());
        let mut challenges = self.headers.iter().filter(|(name, _)| name == "www-authenticate");
        let (_, only) = challenges.next().expect("a challenge");
        assert!(challenges.next().is_none(), "{:?}", self.headers);
        only
    }

    /// The first code of an error body of the registry API.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// One request. Every name it dials is 127.0.0.1, or the address of its place; redirects are not followed.
#[derive(Clone, Debug)]
pub(crate) struct Curl {
    url: String,
    ca: Option<PathBuf>,
    place: Place,
    arguments: Vec<OsString>,
}

impl Curl {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ca: None, place: Place::here(), arguments: Vec::new() }
    }

    /// Trusts this CA alone.
    pub(crate) fn trusting(mut self, ca: impl Into<PathBuf>) -> Self {
        self.ca = Some(ca.into());
        self
    }

    /// Runs there.
    pub(crate) fn at(mut self, place: &Place) -> Self {
        self.place = place.clone();
        self
    }

    pub(crate) fn method(self, method: &str) -> Self {
        if method == "HEAD" { self.argument("--head") } else { self.argument("--request").argument(method) }
    }

    /// Basic credentials, sent at once.
    pub(crate) fn user(self, login: Login) -> Self {
        self.argument("--user").argument(format!("{}:{}", login.name, login.password))
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header(&format!("Authorization: Bearer {token}"))
    }

    pub(crate) fn header(self, line: &str) -> Self {
        self.argument("--header").argument(line)
    }

    /// A body of known length, as octets.
    pub(crate) fn body_file(self, file: &Path) -> Self {
        let mut argument = OsString::from("@");
        argument.push(file);
        self.header("Content-Type: application/octet-stream").argument("--data-binary").argument(argument)
    }

    /// A body in chunks, as docker sends a layer.
    pub(crate) fn chunked_file(self, file: &Path) -> Self {
        self.header("Transfer-Encoding: chunked").argument("--upload-file").argument(file)
    }

    /// A form, by POST.
    pub(crate) fn form(self, pairs: &[(&str, &str)]) -> Self {
        self.argument("--data").argument(super::form(pairs))
    }

    pub(crate) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Panics where no answer comes.
    pub(crate) fn send(&self) -> Response {
        self.attempt().unwrap_or_else(|error| panic!("{}: {error}", self.url))
    }

    /// `Err` with what curl says where no answer comes.
    pub(crate) fn attempt(&self) -> Result<Response, String> {
        let dir = TempDir::new().unwrap();
        let (head, body) = (dir.path().join("head"), dir.path().join("body"));
        let mut command = self.place.command("curl");
        command.env("HOME", dir.path());
        command.args(["--silent", "--show-error", "--max-time", "60", "--path-as-is", "--globoff", "--noproxy", "*"]);
        // `*` covers every name: what a URL says is checked against certificates, not against a name service.
        command.args(["--connect-to", &format!("::{}:{}", self.place.address, self.port())]);
        command.arg("--dump-header").arg(&head).arg("--output").arg(&body);
        if let Some(ca) = &self.ca {
            command.arg("--cacert").arg(ca).args(["--capath", "/nonexistent"]);
        }
        command.args(&self.arguments).arg(&self.url).stdin(Stdio::null());
        let output = command.output().unwrap_or_else(|error| missing(&command, &error));
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let heads = String::from_utf8_lossy(&std::fs::read(&head).unwrap()).into_owned();
        // The last one: an interim answer (100) has a head of its own.
        let last = heads.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
        let mut response = Response::parse_head(last);
        // With --head curl writes the head as the body.
        if !self.arguments.iter().any(|argument| argument == "--head") {
            response.body = std::fs::read(&body).unwrap_or_default();
        }
        Ok(response)
    }

    fn port(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let authority = rest.split('/').next().unwrap_or_default();
        let port = authority
            .rsplit_once(':')
            .map(|(_, port)| port)
            .filter(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
        port.unwrap_or(if scheme == "https" { "443" } else { "80" }).to_owned()
    }
}
