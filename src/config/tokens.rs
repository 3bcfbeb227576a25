//! `tokens`: what the token endpoint issues.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use super::{
    advice,
    reader::{Field, Section},
};

#[derive(Clone, Debug)]
pub struct Tokens {
    /// None: each registry's first host.
    pub service: Option<String>,
    pub issuer: String,
    /// Starts with `/`; plain segments without escapes; never `/` or under `/v2`.
    pub path: String,
    /// At least 60 seconds: clients take a token without lifetime for one of 60 s.
    pub lifetime: Duration,
    /// At least one; the first signs, all verify.
    pub keys: Vec<PathBuf>,
    /// How long an upload session goes on after the token expired that opened it.
    pub upload_grace: Duration,
    /// The life of a refresh token; None: none are issued and none accepted.
    pub refresh: Option<Duration>,
    /// Ids of refresh and deploy tokens that are refused, and with them the access tokens made from them.
    pub revoked: HashSet<String>,
}

impl Tokens {
    /// `registries` is how many public registries there are.
    pub(super) fn read(section: Section<'_>, registries: usize) -> Self {
        let service = section.nullable("service");
        if let Some(field) = &service {
            advice::scheme_words(field);
            // The service is the audience of a token: with one for all, each registry would take the others' tokens.
            if registries > 1 {
                field.error(
                    "several registries need a service each: leave this out, and each is called by its first host",
                );
            }
        }
        let service = service.and_then(|field| field.header_text()).map(str::to_owned);
        let issuer = section.get("issuer").and_then(|field| field.header_text()).unwrap_or("portcullis").to_owned();
        let path = section.get("path").and_then(|field| read_path(&field)).unwrap_or_else(|| "/token".to_owned());
        let lifetime = section.duration("lifetime", Duration::from_secs(60), Duration::from_secs(15 * 60));
        let keys = match section.get("keys") {
            Some(field) => read_keys(&field),
            None => vec![section.default_file("keys", PathBuf::from("/var/lib/portcullis/token.key"))],
        };
        let upload_grace = section.duration("upload_grace", Duration::ZERO, Duration::from_secs(60 * 60));
        let refresh = read_refresh(section.section("refresh"));
        let revoked = section.list("revoked").iter().filter_map(read_id).collect();
        section.finish();
        Self { service, issuer, path, lifetime, keys, upload_grace, refresh, revoked }
    }
}

fn read_path(field: &Field<'_>) -> Option<String> {
    let path = field.text()?;
    let is_plain = |segment: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain)
    };
    let mut segments = path.strip_prefix('/').into_iter().flat_map(|rest| rest.split('/')).peekable();
    let first = segments.peek().copied().unwrap_or_default();
    if first.eq_ignore_ascii_case("v2") {
        field.error(format_args!("{path:?} belongs to the registry API: write a path outside /v2, like \"/token\""));
    } else if first.is_empty() || !segments.all(is_plain) {
        field.error(format_args!(
            "{path:?} is not a plain path: write \"/token\" or \"/auth/token\", of letters, digits, - . _ ~"
        ));
    }
    advice::scheme_words(field);
    Some(path.to_owned())
}

fn read_keys(field: &Field<'_>) -> Vec<PathBuf> {
    let mut keys = Vec::new();
    for field in
        field.filled_list("no token could be signed; write the path of a key file, which is made on first start")
    {
        let Some(path) = field.file() else { continue };
        if keys.contains(&path) {
            field.error("this key is given twice");
        }
        keys.push(path);
    }
    keys
}

fn read_refresh(section: Section<'_>) -> Option<Duration> {
    const DAY: u64 = 24 * 60 * 60;
    let enabled = section.flag("enabled", false);
    let lifetime = section.duration("lifetime", Duration::from_secs(60), Duration::from_secs(30 * DAY));
    section.finish();
    enabled.then_some(lifetime)
}

/// A token's id as the log and `token issue` show it.
fn read_id(field: &Field<'_>) -> Option<String> {
    const DIGITS: usize = 32;
    let id = field.text()?;
    let is_id = id.len() == DIGITS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id {
        field.error(format_args!(
            "{id:?} is not the id of a token: write the 32 letters that `token issue`, `token inspect` or the log show"
        ));
    }
    Some(id.to_owned())
}
