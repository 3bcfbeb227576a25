//! `registries`: what is served, and for whom it is taken.

use std::collections::HashMap;

use super::{
    Beside, Host, Upstream,
    access::read_pattern,
    advice,
    problem::Place,
    reader::{Field, Section},
    yaml::Value,
};
use crate::registry::Pattern;

#[derive(Clone, Debug)]
pub struct Registry {
    /// At least one; the first names the registry in logs, metrics and as the default token service. No host is in two
    /// registries.
    pub hosts: Vec<Host>,
    /// Where everything lives that no route sends elsewhere.
    pub upstream: Upstream,
    /// Parts of the namespace that live elsewhere.
    pub routes: Vec<Routed>,
    pub read_only: ReadOnly,
    pub open_uploads: OpenUploads,
    pub beside: Beside,
}

/// Repositories with an upstream of their own.
#[derive(Clone, Debug)]
pub struct Routed {
    /// At least one. No pattern is in two routes of a registry.
    pub repositories: Vec<Pattern>,
    pub upstream: Upstream,
}

/// What of a registry nobody may write to, whatever the grants say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadOnly {
    #[default]
    Nothing,
    Everything,
    /// The repositories that one of these matches.
    Repositories(Vec<Pattern>),
}

/// What becomes of upload sessions that were open when their repository became read-only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenUploads {
    #[default]
    Finish,
    Refuse,
}

/// Reads `registries` of the whole file; at least one.
pub(super) fn read_all(root: &Section<'_>) -> Vec<Registry> {
    const HINT: &str = "write at least one with its hosts and its upstream";
    let fields = root.required("registries", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
    let mut seen = HashMap::new();
    fields.iter().for_each(Field::name);
    fields.iter().filter_map(|field| read(field.section()?, &mut seen)).collect()
}

fn read(section: Section<'_>, seen: &mut HashMap<Host, Place>) -> Option<Registry> {
    const HINT: &str = "write the names that clients dial, like [\"registry.example.com\"]";
    let hosts = section.required("hosts", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
    let hosts = hosts.iter().filter_map(|field| read_host(field, seen)).collect();
    let upstream =
        Upstream::read(section.required_section("upstream", "write servers: [{ url: \"http://registry:5000\" }]"));
    let routes = read_routes(&section);
    let read_only = section.get("read_only").map(|field| read_read_only(&field)).unwrap_or_default();
    let open_uploads = section.word(
        "read_only_uploads",
        &[("finish", OpenUploads::Finish), ("refuse", OpenUploads::Refuse)],
        OpenUploads::Finish,
    );
    let upstreams: Vec<&Upstream> = routes.iter().map(|routed| &routed.upstream).chain(&upstream).collect();
    let beside = Beside::read(&section, &upstreams);
    section.finish();
    Some(Registry { hosts, upstream: upstream?, routes, read_only, open_uploads, beside })
}

fn read_routes(registry: &Section<'_>) -> Vec<Routed> {
    const HINT: &str = "write patterns, like [\"mirror/**\"]";
    let mut taken: Vec<Pattern> = Vec::new();
    let mut routes = Vec::new();
    for field in registry.list("routes") {
        let Some(section) = field.section() else { continue };
        let fields = section.required("repositories", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
        let mut repositories = Vec::new();
        for field in &fields {
            let Some(pattern) = read_userless(field) else { continue };
            if taken.contains(&pattern) {
                field.error(format_args!("{:?} is given twice", pattern.as_str()));
            }
            taken.push(pattern.clone());
            repositories.push(pattern);
        }
        let upstream =
            Upstream::read(section.required_section("upstream", "write servers: [{ url: \"http://registry:5000\" }]"));
        section.finish();
        routes.extend(upstream.map(|upstream| Routed { repositories, upstream }));
    }
    routes
}

fn read_read_only(field: &Field<'_>) -> ReadOnly {
    match field.value() {
        Value::Bool(false) | Value::Null => ReadOnly::Nothing,
        Value::Bool(true) => ReadOnly::Everything,
        Value::List(_) => {
            let fields = field.list().unwrap_or_default();
            ReadOnly::Repositories(fields.iter().filter_map(read_userless).collect())
        }
        Value::Integer(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
            field.mismatch("true, false or a list of repository patterns").unwrap_or_default()
        }
    }
}

fn read_userless(field: &Field<'_>) -> Option<Pattern> {
    let pattern = read_pattern(field)?;
    if pattern.as_str().split('/').any(|segment| segment == "$user") {
        field.error("$user has no meaning here: write * for anybody's");
    }
    Some(pattern)
}

fn read_host(field: &Field<'_>, seen: &mut HashMap<Host, Place>) -> Option<Host> {
    let text = field.text()?;
    let Some(host) = Host::parse(text) else {
        field.error(format_args!(
            "{text:?} is not a host: write \"registry.example.com\" or an IP address, with :port only where needed"
        ));
        return None;
    };
    if let Some(first) = seen.insert(host.clone(), field.place()) {
        field.error(format_args!("{host} is given twice, first in line {}", first.line));
    }
    advice::scheme_words(field);
    Some(host)
}
