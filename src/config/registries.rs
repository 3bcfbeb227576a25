//! `registries`: what is served, and for whom it is taken.

use std::collections::HashMap;

use super::{
    Host, Upstream, advice,
    problem::Place,
    reader::{Field, Section},
};

#[derive(Clone, Debug)]
pub struct Registry {
    /// At least one; the first names the registry in logs, metrics and as the default token service. No host is in two
    /// registries.
    pub hosts: Vec<Host>,
    pub upstream: Upstream,
}

/// Reads `registries` of the whole file; at least one.
pub(super) fn read_all(root: &Section<'_>) -> Vec<Registry> {
    const HINT: &str = "write at least one with its hosts and its upstream";
    let fields = root.required("registries", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
    let mut seen = HashMap::new();
    fields.iter().filter_map(|field| read(field.section()?, &mut seen)).collect()
}

fn read(section: Section<'_>, seen: &mut HashMap<Host, Place>) -> Option<Registry> {
    const HINT: &str = "write the names that clients dial, like [\"registry.example.com\"]";
    let hosts = section.required("hosts", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
    let hosts = hosts.iter().filter_map(|field| read_host(field, seen)).collect();
    let upstream =
        Upstream::read(section.required_section("upstream", "write servers: [{ url: \"http://registry:5000\" }]"));
    section.word("read_only_uploads", &[("finish", ()), ("refuse", ())], ());
    section.section("cors").finish();
    section.finish();
    Some(Registry { hosts, upstream: upstream? })
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
