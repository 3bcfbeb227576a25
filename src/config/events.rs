//! `events`: whom the gate tells of what is pulled, pushed, mounted and deleted.

use std::{collections::HashMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{
    Host, Origin, Registry, Secret,
    access::{read_pattern, read_registry},
    others_may_read,
    reader::{Field, Section},
    upstream::read_secret_of,
};
use crate::registry::Pattern;

/// What docker-registry 2.8 says; 3.x says v2.
const MEDIA_TYPE: &str = "application/vnd.docker.distribution.events.v1+json";
const STORAGE: &str = "/var/lib/portcullis/events";
const LONGEST_NAME: usize = 64;
/// Events of one endpoint that can reasonably be kept.
const QUEUE: RangeInclusive<usize> = 1..=1_000_000;
const USUAL_QUEUE: usize = 10_000;
/// Events that go in one request; more would seldom be fewer bytes than a receiver takes.
const BATCH: RangeInclusive<usize> = 1..=1000;
const USUAL_BATCH: usize = 64;
/// A stop waits for an attempt under way.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The folder where undelivered events outlive the process; None: they end with it.
    pub storage: Option<PathBuf>,
    /// No two have the same name.
    pub endpoints: Vec<Endpoint>,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What logs and metrics call it, and by which its queue goes on through a reload: letters, digits, `.`, `_`, `-`.
    pub name: String,
    pub url: EndpointUrl,
    /// At least one.
    pub actions: EventActions,
    /// Empty: all. Without `$user`.
    pub repositories: Vec<Pattern>,
    /// Empty: all. Each is one of the configured hosts.
    pub registries: Vec<Host>,
    /// A manifest's events say what it refers to.
    pub references: bool,
    /// The `Content-Type` of what is posted.
    pub media_type: String,
    /// Signs what is posted.
    pub hmac_key: Option<Secret>,
    /// The value of `Authorization`.
    pub authorization: Option<Secret>,
    /// PEM roots; None: the system's.
    pub ca_file: Option<PathBuf>,
    /// For one attempt, from the connection to the head of the answer.
    pub timeout: Duration,
    /// The most events that wait.
    pub queue: usize,
    /// The most events in one request.
    pub batch: usize,
}

/// Where events are posted. What follows the host may be a secret and is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    pub origin: Origin,
    /// For the `Host` header.
    pub authority: String,
    /// Path and query.
    target: Secret,
}

impl EndpointUrl {
    pub fn reveal_target(&self) -> &str {
        self.target.reveal()
    }
}

impl std::fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/***", self.origin)
    }
}

/// What happened to an image, or to a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventAction {
    Pull,
    Push,
    Mount,
    Delete,
}

impl EventAction {
    pub const ALL: [Self; 4] = [Self::Pull, Self::Push, Self::Mount, Self::Delete];

    /// As events and the configuration write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Mount => "mount",
            Self::Delete => "delete",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Pull => 1,
            Self::Push => 2,
            Self::Mount => 4,
            Self::Delete => 8,
        }
    }
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventActions(u8);

impl EventActions {
    pub fn contains(self, action: EventAction) -> bool {
        self.0 & action.bit() != 0
    }
}

impl FromIterator<EventAction> for EventActions {
    fn from_iter<I: IntoIterator<Item = EventAction>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |bits, action| bits | action.bit()))
    }
}

impl Events {
    pub(super) fn read(section: Section<'_>, registries: &[Registry]) -> Self {
        let hosts: Vec<&Host> = registries.iter().flat_map(|registry| &registry.hosts).collect();
        let storage = match section.get("storage") {
            Some(field) if field.is_null() => None,
            Some(field) => field.folder(),
            None => Some(PathBuf::from(STORAGE)),
        };
        let mut taken = HashMap::new();
        let mut endpoints = Vec::new();
        for field in section.list("endpoints") {
            field.name();
            let Some(section) = field.section() else { continue };
            endpoints.extend(read_endpoint(section, &hosts, &mut taken));
        }
        section.finish();
        Self { storage, endpoints }
    }
}

/// None, and reported, where the name or the URL is missing or wrong.
fn read_endpoint(section: Section<'_>, hosts: &[&Host], taken: &mut HashMap<String, usize>) -> Option<Endpoint> {
    let name = section.required("name", "write a name for logs and metrics, like \"scanner\"");
    let name = name.and_then(|field| read_name(&field, taken));
    let url_field = section.required("url", "write \"https://scanner.example.com/hook\"");
    let url = url_field.as_ref().and_then(read_url);
    let authorization = section.nullable("authorization_file");
    if let (Some(field), Some(url)) = (&url_field, &url) {
        check_transport(field, url, authorization.is_some());
    }
    let optional = |key, why| section.get(key).map(|field: Field<'_>| field.filled_list(why)).unwrap_or_default();
    let all = EventAction::ALL.map(|action| (action.as_str(), action));
    let actions = optional("actions", "leave the key out to be told of everything");
    let actions = actions.iter().filter_map(|field| field.word(&all)).collect::<EventActions>();
    let every = EventAction::ALL.into_iter().collect();
    let repositories = optional("repositories", "leave the key out for all repositories");
    let registries = optional("registries", "leave the key out for all registries");
    let ca_file = section.nullable("ca_file");
    if let (Some(field), Some(url)) = (&ca_file, &url)
        && !url.origin.tls
    {
        field.warning_at_key("has no effect: the url does not start with https://");
    }
    let timeout = section.duration("timeout", Duration::from_millis(10), Duration::from_secs(2));
    if let Some(field) = section.get("timeout").filter(|_| timeout > LONGEST_TIMEOUT) {
        field.error("at most 60s: a stop of the gate waits for an attempt under way");
    }
    let repositories = repositories.iter().filter_map(read_plain_pattern).collect();
    let registries = registries.iter().filter_map(|field| read_registry(field, hosts)).collect();
    let references = section.flag("references", false);
    let media_type = section.get("media_type").and_then(|field| read_media_type(&field));
    let hmac_key = section.nullable("hmac_key_file").and_then(|field| read_own_secret(&field));
    let authorization = authorization.and_then(|field| read_authorization(&field));
    let queue = section.integer("queue", QUEUE, USUAL_QUEUE);
    let batch = section.integer("batch", BATCH, USUAL_BATCH);
    section.finish();
    Some(Endpoint {
        name: name?,
        url: url?,
        actions: if actions == EventActions::default() { every } else { actions },
        repositories,
        registries,
        references,
        media_type: media_type.unwrap_or_else(|| MEDIA_TYPE.to_owned()),
        hmac_key,
        authorization,
        ca_file: ca_file.and_then(|field| field.file()),
        timeout,
        queue,
        batch,
    })
}

fn read_name(field: &Field<'_>, taken: &mut HashMap<String, usize>) -> Option<String> {
    let text = field.text()?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if text.len() > LONGEST_NAME || !text.chars().all(is_plain) {
        field.error("a name has letters, digits, \".\", \"_\" and \"-\", at most 64");
    }
    if let Some(line) = taken.insert(text.to_owned(), field.place().line) {
        field.error(format_args!("the name {text:?} is taken by the endpoint in line {line}"));
    }
    Some(text.to_owned())
}

/// Messages never quote the URL: it could hold a secret.
fn read_url(field: &Field<'_>) -> Option<EndpointUrl> {
    const FORM: &str = "write \"https://scanner.example.com/hook\"";
    let text = field.text()?;
    let split = match Origin::split(text) {
        Ok(split) => split,
        Err(problem) => {
            field.error(format_args!("{problem}: {FORM}, and credentials into authorization_file"));
            return None;
        }
    };
    let target = if split.rest.starts_with('/') { split.rest.to_owned() } else { format!("/{}", split.rest) };
    if target.contains('#') || target.parse::<http::uri::PathAndQuery>().is_err() {
        field.error(format_args!("the path cannot be read: {FORM}"));
        return None;
    }
    Some(EndpointUrl { authority: split.authority.to_owned(), target: Secret::new(target), origin: split.origin })
}

fn check_transport(field: &Field<'_>, url: &EndpointUrl, authorizes: bool) {
    let Origin { tls, host, .. } = &url.origin;
    let is_here = host == "localhost" || super::host::parse_ip(host).is_some_and(|address| address.is_loopback());
    match (tls, is_here, authorizes) {
        (true, _, _) | (false, true, _) => {}
        (false, false, true) => field.error("authorization_file would be readable on its way: write https://"),
        (false, false, false) => {
            field.warning("events are readable on their way, with names of users and images: write https://");
        }
    }
}

fn read_plain_pattern(field: &Field<'_>) -> Option<Pattern> {
    let pattern = read_pattern(field)?;
    if pattern.as_str().split('/').any(|segment| segment == "$user") {
        field.error("$user has no meaning here: write * for anybody's");
    }
    Some(pattern)
}

fn read_media_type(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let is_one = text.split('/').count() == 2 && text.chars().all(|letter| matches!(letter, ' '..='~'));
    if !is_one {
        field.error("write a media type, like \"application/vnd.docker.distribution.events.v2+json\"");
    }
    Some(text.to_owned())
}

fn read_authorization(field: &Field<'_>) -> Option<Secret> {
    let secret = read_own_secret(field)?;
    if !secret.reveal().contains(' ') || http::HeaderValue::from_str(secret.reveal()).is_err() {
        field.error("the file holds the whole value of the header, in one line: \"Bearer …\" or \"Basic …\"");
    }
    Some(secret)
}

fn read_own_secret(field: &Field<'_>) -> Option<Secret> {
    let (path, secret) = read_secret_of(field)?;
    if others_may_read(&path) {
        field.warning(format_args!("{} can be read by others than its owner; chmod 600 it", path.display()));
    }
    Some(secret)
}
