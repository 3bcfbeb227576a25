//! Requests in the neighbourhood of real ones, and far outside of it.

mod words;

use words::{INSERTIONS, METHODS, REPOSITORIES, SLASHES, SPELLINGS, WORDS};

use super::{PUBLIC_BLOB, SECRET_BLOB, digest_of as digest, manifest};

/// What a request tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// As clients ask.
    Plain,
    /// A secret repository, spelled otherwise.
    Spelling,
    /// A real path with random changes.
    Mutation,
    /// Keywords and names in any order.
    Words,
    /// `from` and `mount` in the query.
    Mount,
    /// `from` and `mount` in a urlencoded body.
    Form,
    /// `from` and `mount` in a multipart body.
    Multipart,
    /// Targets that are no paths.
    Absolute,
    /// Headers that name another path, method, host or user.
    Header,
    /// A second request in what may be the body of the first.
    Framing,
}

/// One request. `HOST` and `SESSION` in it stand for what differs between the two ways, `AGENT` for
/// how the logs name it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) class: Class,
    pub(super) method: &'static str,
    pub(super) target: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Case {
    /// Its bytes; a character is one byte.
    pub(super) fn bytes(&self, host: &str, session: &str, login: &str, agent: &str) -> Vec<u8> {
        let target = self.target.replace("SESSION", session);
        let mut text = format!("{} {target} HTTP/1.1\r\nHost: HOST\r\nUser-Agent: AGENT\r\n{login}", self.method);
        text += "Accept: application/vnd.oci.image.manifest.v1+json\r\n";
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !self.headers.iter().any(|(name, _)| *name == "Connection") {
            text += "Connection: close\r\n";
        }
        text += "\r\n";
        text += &self.body;
        text.replace("HOST", host)
            .replace("AGENT", agent)
            .chars()
            .map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?'))
            .collect()
    }
}

/// splitmix64.
pub(super) struct Generator(u64);

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn case(&mut self) -> Case {
        let mut case = match self.below(100) {
            0..12 => self.plain(),
            12..38 => self.target(Class::Spelling, |random| {
                let spelling = random.pick(&SPELLINGS);
                format!("/v2/{spelling}/{}", random.tail())
            }),
            38..54 => self.target(Class::Mutation, Self::mutated),
            54..62 => self.target(Class::Words, Self::words),
            62..72 => self.mount(),
            72..80 => self.form(),
            80..86 => self.multipart(),
            86..92 => self.target(Class::Absolute, Self::absolute),
            92..98 => self.header(),
            _ => return self.framing(),
        };
        if case.class != Class::Absolute && !case.target.contains('?') && self.percent(15) {
            case.target += &format!("?{}", self.pairs());
        }
        self.frame(case)
    }

    /// Says how long the body is.
    fn frame(&mut self, mut case: Case) -> Case {
        if !case.body.is_empty() && self.percent(20) {
            case.headers.push(("Transfer-Encoding", "chunked".into()));
            case.body = format!("{:x}\r\n{}\r\n0\r\n\r\n", case.body.len(), case.body);
        } else if !case.body.is_empty() || matches!(case.method, "POST" | "PUT" | "PATCH") {
            case.headers.push(("Content-Length", case.body.len().to_string()));
        }
        case
    }

    fn plain(&mut self) -> Case {
        let name = self.pick(&REPOSITORIES[7..]);
        let (public, absent) = (digest(PUBLIC_BLOB), digest("absent"));
        let (method, rest) = match self.below(12) {
            0 => ("HEAD", "manifests/v1".to_owned()),
            1 => ("GET", "manifests/v1".to_owned()),
            2 => ("GET", format!("blobs/{public}")),
            3 => ("HEAD", format!("blobs/{absent}")),
            4 => ("GET", "tags/list".to_owned()),
            5 => ("POST", "blobs/uploads/".to_owned()),
            6 => ("DELETE", format!("manifests/{absent}")),
            7 => ("GET", format!("referrers/{public}")),
            8 => ("POST", format!("blobs/uploads/?mount={public}&from=pub/app")),
            9 => ("POST", format!("blobs/uploads/?mount={public}&from=pub%2Fmanifests&origin=HOST")),
            10 => return Case::new(Class::Plain, "GET", "/v2/_catalog".into()),
            _ => ("PUT", "manifests/v2".to_owned()),
        };
        let mut case = Case::new(Class::Plain, method, format!("/v2/{name}/{rest}"));
        if method == "PUT" {
            case.headers.push(("Content-Type", "application/vnd.oci.image.manifest.v1+json".into()));
            case.body = manifest(PUBLIC_BLOB);
        }
        case
    }

    fn target(&mut self, class: Class, make: impl FnOnce(&mut Self) -> String) -> Case {
        let method = self.pick(&METHODS);
        let target = make(self).replace(['\r', '\n'], "");
        Case::new(class, method, target)
    }

    fn tail(&mut self) -> String {
        let digest = self.digest();
        match self.below(14) {
            0..3 => "manifests/v1".into(),
            3 => format!("manifests/{digest}"),
            4..6 => format!("blobs/{digest}"),
            6 => format!("blobs/{}", digest.replace(':', "%3A")),
            7 => "tags/list".into(),
            8 => "blobs/uploads/".into(),
            9 => "blobs/uploads".into(),
            10 => format!("referrers/{digest}"),
            11 => "blobs/uploads/SESSION".into(),
            12 => "tags/list/tags/list".into(),
            _ => "blobs/uploads/blobs/uploads/".into(),
        }
    }

    fn digest(&mut self) -> String {
        digest(self.pick(&[SECRET_BLOB, SECRET_BLOB, PUBLIC_BLOB, "absent"]))
    }

    fn words(&mut self) -> String {
        let count = 1 + self.below(8);
        let words: Vec<&str> = (0..count).map(|_| self.pick(&WORDS)).collect();
        let root = self.pick(&["/v2/", "/v2/", "/v2/secret/", "/v2/secret/", "/"]);
        let end = if self.percent(60) { format!("/{}", self.tail()) } else { String::new() };
        format!("{root}{}{end}", words.join("/"))
    }

    fn mutated(&mut self) -> String {
        let name = self.pick(&REPOSITORIES);
        let mut path: Vec<char> = format!("/v2/{name}/{}", self.tail()).chars().collect();
        for _ in 0..1 + self.below(3) {
            self.mutate(&mut path);
        }
        path.into_iter().collect()
    }

    fn mutate(&mut self, path: &mut Vec<char>) {
        if path.len() < 2 {
            return;
        }
        let at = 1 + self.below(path.len() - 1);
        let letter = path[at];
        let with: String = match self.below(7) {
            0 => format!("{}{letter}", self.pick(&INSERTIONS)),
            1 | 2 => format!("%{:02x}", u32::from(letter) & 0xff),
            3 => {
                if letter.is_lowercase() {
                    letter.to_uppercase().collect()
                } else {
                    letter.to_lowercase().collect()
                }
            }
            4 => String::new(),
            5 => {
                let slashes: Vec<usize> = (0..path.len()).filter(|at| path[*at] == '/').collect();
                let (slash, with) = (self.pick(&slashes), self.pick(&SLASHES));
                path.splice(slash..=slash, with.chars());
                return;
            }
            _ => format!("{letter}{}", self.pick(&WORDS)),
        };
        path.splice(at..=at, with.chars());
    }

    fn mount(&mut self) -> Case {
        let name = self.pick(&["pub/x", "pub/x", "pub/y", "pub/a/b/c", "secret/app"]);
        let slash = self.pick(&["/", "/", "/", "", "//"]);
        Case::new(Class::Mount, "POST", format!("/v2/{name}/blobs/uploads{slash}?{}", self.pairs()))
    }

    fn pairs(&mut self) -> String {
        let from = self.pick(&[
            "from", "from", "from", "from", "%66rom", "f%72om", "fr%6Fm", "From", "FROM", "from[]", "from%00", "+from",
            "%20from", "from%3d",
        ]);
        let mount = self.pick(&["mount", "mount", "mount", "mount", "%6dount", "mount%00", "Mount", "mount[]"]);
        let source = self.pick(&[
            "secret/app",
            "secret/app",
            "secret/app",
            "secret%2fapp",
            "secret%2Fapp",
            "%73ecret/app",
            "+secret/app",
            "secret/app+",
            "secret//app",
            "secret%252fapp",
            "pub/../secret/app",
            "pub%2f..%2fsecret/app",
            "secret/app%00",
            "SECRET/app",
            "pub/app",
        ]);
        let digest = self.digest();
        let digest = if self.percent(25) { digest.replace(':', "%3A") } else { digest };
        let mut pairs = vec![format!("{mount}={digest}"), format!("{from}={source}")];
        if self.percent(35) {
            let extra = self.pick(&[
                "from=pub/app",
                "from=pub/app",
                "from=",
                "from",
                "mount=",
                "ns=evil.test",
                "n=1",
                "last=a",
                "_method=GET",
                "_state=x",
                "x",
                "=y",
                "%zz=1",
            ]);
            pairs.insert(self.below(3), extra.to_owned());
        }
        if self.percent(30) {
            pairs.reverse();
        }
        pairs.join(self.pick(&["&", "&", "&", "&", "&", "&", ";", "&&", "%26", "&amp;"]))
    }

    fn uploads(&mut self, class: Class) -> Case {
        let method = self.pick(&["POST", "POST", "POST", "POST", "PUT", "PATCH", "GET", "DELETE"]);
        let name = self.pick(&["pub/x", "pub/y", "pub/z/z"]);
        let query = match self.below(8) {
            0 => "?from=pub/app".to_owned(),
            1 => format!("?mount={}&from=pub/app", digest(SECRET_BLOB)),
            2 => format!("?{}", self.pairs()),
            3 => format!("?digest={}", digest(SECRET_BLOB)),
            _ => String::new(),
        };
        Case::new(class, method, format!("/v2/{name}/blobs/uploads/{query}"))
    }

    fn form(&mut self) -> Case {
        let mut case = self.uploads(Class::Form);
        let form = self.pick(&[
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded; charset=utf-8",
            "Application/X-WWW-Form-URLencoded",
            "application/x-www-form-urlencoded;",
            "text/plain",
        ]);
        case.headers.push(("Content-Type", form.to_owned()));
        let other = ("Content-Type", "application/octet-stream".to_owned());
        match self.below(10) {
            0 => case.headers.push(other),
            1 => case.headers.insert(0, other),
            _ => {}
        }
        case.body = self.pairs();
        case
    }

    fn multipart(&mut self) -> Case {
        let mut case = self.uploads(Class::Multipart);
        let kind = self.pick(&[
            "multipart/form-data; boundary=B",
            "multipart/form-data; boundary=\"B\"",
            "Multipart/Form-Data; boundary=B",
            "multipart/mixed; boundary=B",
        ]);
        case.headers.push(("Content-Type", kind.to_owned()));
        let part = |name, value| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        case.body = part("mount", digest(SECRET_BLOB)) + &part("from", "secret/app".to_owned()) + "--B--\r\n";
        case
    }

    fn absolute(&mut self) -> String {
        if self.percent(10) {
            let odd = ["*", "v2/secret/app/manifests/v1", "?/v2/secret/app/manifests/v1", "#", "/v2", "HOST"];
            return self.pick(&odd).to_owned();
        }
        let scheme = self.pick(&["http://", "https://", "HTTP://", "//", "http:", "ftp://", "http:///"]);
        let authority = self.pick(&["HOST", "HOST", "evil.test", "pub@HOST", "HOST@evil.test", "127.0.0.1:1", ""]);
        let name = self.pick(&["secret/app", "secret/app", "secret%2fapp", "pub/app", "pub/../secret/app"]);
        format!("{scheme}{authority}/v2/{name}/{}", self.tail())
    }

    fn header(&mut self) -> Case {
        let method = self.pick(&["GET", "HEAD", "POST", "DELETE"]);
        let target = self.pick(&["/v2/pub/app/manifests/v1", "/v2/pub/x/blobs/uploads/", "/v2/secret%2fapp/tags/list"]);
        let mut case = Case::new(Class::Header, method, target.to_owned());
        let secret = "/v2/secret/app/manifests/v1";
        for _ in 0..1 + self.below(3) {
            let (name, value) = self.pick(&[
                ("X-Original-URL", secret),
                ("X-Rewrite-URL", secret),
                ("Content-Location", secret),
                ("Destination", secret),
                ("X-HTTP-Method-Override", "DELETE"),
                ("X-Forwarded-Prefix", "/v2/secret"),
                ("X-Forwarded-Host", "evil.test"),
                ("X-Forwarded-Proto", "gopher"),
                ("Forwarded", "host=evil.test;proto=ftp"),
                ("X-Forwarded-User", "admin"),
                ("X_Forwarded_User", "admin"),
                ("Upgrade", "h2c"),
                ("Connection", "close, Upgrade, HTTP2-Settings"),
                ("Connection", "close, Authorization"),
                ("Connection", "close, Host"),
                ("Range", "bytes=0-1"),
                ("TE", "trailers"),
                ("Expect", "100-continue"),
            ]);
            case.headers.push((name, value.to_owned()));
        }
        case
    }

    fn framing(&mut self) -> Case {
        let method = self.pick(&["POST", "GET", "PUT", "PATCH"]);
        let target = self.pick(&["/v2/pub/app/manifests/v1", "/v2/pub/x/blobs/uploads/"]);
        let mut case = Case::new(Class::Framing, method, target.to_owned());
        let inner = "GET /v2/secret/app/manifests/v1 HTTP/1.1\r\nHost: HOST\r\nUser-Agent: AGENT-inner\r\nConnection: close\r\n\r\n";
        let length = inner.len().to_string();
        let last = format!("0\r\n\r\n{inner}");
        let (headers, body): (&[(&'static str, &str)], String) = match self.below(7) {
            0 => (&[("Content-Length", "0")], inner.into()),
            1 => (&[("Content-Length", "5"), ("Transfer-Encoding", "chunked")], last),
            2 => (&[("Transfer-Encoding", "chunked")], last),
            3 => (&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")], last),
            4 => (&[("Content-Length", "0"), ("Content-Length", &length)], inner.into()),
            5 => (&[("Transfer-Encoding", "\u{b}chunked")], last),
            _ => (&[("Content-Length", "5"), ("Transfer-Encoding ", "chunked")], last),
        };
        case.headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        case.headers.push(("Connection", "keep-alive".into()));
        case.body = body;
        case
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

impl Case {
    fn new(class: Class, method: &'static str, target: String) -> Self {
        Self { class, method, target, headers: Vec::new(), body: String::new() }
    }
}
