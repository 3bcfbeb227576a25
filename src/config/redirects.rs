//! `upstream.redirects` and `upstream.redirect_hosts`: what becomes of a blob's redirect to object storage.

use ipnet::IpNet;

use super::{
    Origin,
    reader::{Field, Section},
    yaml::Value,
};

/// What becomes of a blob's redirect to object storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// It is followed to `redirect_hosts`; one to elsewhere is 502.
    Follow,
    /// The client gets it, wherever it leads.
    Pass,
}

/// Object storage that redirects may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectHost {
    pub origin: Origin,
    /// Where its name may lead, and nowhere else. Empty: to public addresses; a host that is an address leads to itself.
    pub addresses: Vec<IpNet>,
}

/// No origin is there twice.
pub(super) fn read(upstream: &Section<'_>) -> (Redirects, Vec<RedirectHost>) {
    let redirects =
        upstream.word("redirects", &[("follow", Redirects::Follow), ("pass", Redirects::Pass)], Redirects::Follow);
    let Some(field) = upstream.nullable("redirect_hosts") else { return (redirects, Vec::new()) };
    let mut hosts: Vec<RedirectHost> = Vec::new();
    for field in field.list().unwrap_or_default() {
        let Some(host) = read_host(&field) else { continue };
        if hosts.iter().any(|known| known.origin == host.origin) {
            field.error(format_args!("{} is given twice", host.origin));
        }
        hosts.push(host);
    }
    if redirects == Redirects::Pass && !hosts.is_empty() {
        field.warning_at_key("has no effect with redirects: pass, which hands every redirect to the client");
    }
    (redirects, hosts)
}

fn read_host(field: &Field<'_>) -> Option<RedirectHost> {
    match field.value() {
        Value::Map(_) => {
            let section = field.section()?;
            let origin = section
                .required("origin", "write \"https://storage.internal:9000\"")
                .and_then(|field| read_origin(&field));
            let addresses = section.nullable("addresses").map(|field| read_addresses(&field, origin.as_ref()));
            section.finish();
            Some(RedirectHost { origin: origin?, addresses: addresses.unwrap_or_default() })
        }
        Value::Text(_) => Some(RedirectHost { origin: read_origin(field)?, addresses: Vec::new() }),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::List(_) => field.mismatch(
            "an origin (\"https://bucket.s3.example.com\") or { origin: \"https://…\", addresses: [\"10.0.0.0/8\"] }",
        ),
    }
}

fn read_origin(field: &Field<'_>) -> Option<Origin> {
    let text = field.text()?;
    let origin = match Origin::split(text) {
        Ok(split) if split.rest.is_empty() || split.rest == "/" => split.origin,
        Ok(_) => {
            field.error("an origin has no path, query or fragment: write scheme, host and port alone");
            return None;
        }
        Err(reason) => {
            field.error(format_args!("not an origin, {reason}: write \"https://bucket.s3.example.com\""));
            return None;
        }
    };
    if !origin.tls {
        field.warning(format_args!(
            "{origin} is asked without TLS: whoever is on the way can read blobs and the signatures that fetch them"
        ));
    }
    Some(origin)
}

fn read_addresses(field: &Field<'_>, origin: Option<&Origin>) -> Vec<IpNet> {
    const WHY: &str = "write the networks that the host may be in, or leave the key out for public addresses alone";
    if origin.is_some_and(|origin| origin.host.parse::<std::net::IpAddr>().is_ok()) {
        field.error_at_key("the host is an address already: leave this out");
    }
    field.filled_list(WHY).iter().filter_map(Field::network).collect()
}
