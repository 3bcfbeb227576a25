//! What is allowed but looks like a mistake: warnings.

use std::time::Duration;

use super::{
    AcmeChallenge, Config, Grant, Subject,
    problem::{Place, Report},
    reader::Field,
};
use crate::registry::{Action, Pattern};

/// Clients look for these words anywhere in a challenge and take the last one found for the scheme.
pub(super) fn scheme_words(field: &Field<'_>) {
    let Some(text) = field.text() else { return };
    let lower = text.to_lowercase();
    if let Some(word) = ["basic", "bearer"].into_iter().find(|word| lower.contains(word)) {
        field.warning(format_args!(
            "{text:?} holds the word {word:?}: some clients then take the challenge for one of another scheme"
        ));
    }
}

/// What one grant says by itself.
pub(super) fn grant(grant: &Grant, field: &Field<'_>) {
    let Grant { name, repositories, actions, to, .. } = grant;
    let writes = [Action::Push, Action::Delete].map(|action| actions.contains(action)).contains(&true);
    let anyone = to.contains(&Subject::Anyone);
    if writes && anyone {
        field.warning(format_args!("{name:?} lets anyone write, without a login"));
    }
    if writes
        && (anyone || to.contains(&Subject::Authenticated))
        && repositories.iter().any(|pattern| pattern.as_str() == "**")
    {
        field.warning(format_args!("{name:?} gives push or delete on every repository (\"**\") to everybody"));
    }
    if actions.contains(Action::Push) && !actions.contains(Action::Pull) {
        field.warning(format_args!("{name:?} gives push without pull: clients pull while they push"));
    }
    let personal = |pattern: &Pattern| pattern.as_str().split('/').any(|segment| segment == "$user");
    if anyone && repositories.iter().any(personal) {
        field.warning(format_args!(
            "{name:?} uses $user for anyone: without a login there is no user, and the pattern matches nothing"
        ));
    }
}

/// Grants that add nothing to another one. `fields` is the list the grants were read from.
pub(super) fn contained(grants: &[(Grant, Place)], fields: &[Field<'_>]) {
    /// Every pair is compared; beyond this the answer is not worth the time.
    const MOST: usize = 1000;
    if grants.len() > MOST {
        return;
    }
    for (index, (grant, place)) in grants.iter().enumerate() {
        let wider = grants.iter().enumerate().find(|(other, (wide, _))| {
            // Of two that say the same, the later one is redundant.
            *other != index && contains(wide, grant) && (*other < index || !contains(grant, wide))
        });
        if let (Some((_, (wide, _))), Some(field)) = (wider, fields.iter().find(|field| field.place() == *place)) {
            field.warning(format_args!(
                "{:?} adds nothing to {:?} in line {}, which contains it",
                grant.name, wide.name, wide.line
            ));
        }
    }
}

/// True only where everything that `narrow` allows is allowed by `wide` too.
fn contains(wide: &Grant, narrow: &Grant) -> bool {
    let covered = |patterns: &[Pattern], pattern: &Pattern| patterns.iter().any(|wide| wide.covers(pattern));
    wide.actions.is_superset(narrow.actions)
        && narrow.to.iter().all(|subject| wide.to.iter().any(|wide| includes(wide, subject)))
        && narrow.repositories.iter().all(|pattern| covered(&wide.repositories, pattern))
        && wide.except.iter().all(|pattern| covered(&narrow.except, pattern))
        && is_subset(&narrow.from, &wide.from, |wide, narrow| wide.contains(narrow))
        && is_subset(&narrow.registries, &wide.registries, |wide, narrow| wide == narrow)
}

fn includes(wide: &Subject, narrow: &Subject) -> bool {
    match wide {
        Subject::Anyone => true,
        Subject::Authenticated => *narrow != Subject::Anyone,
        Subject::User(_) | Subject::Group(_) => wide == narrow,
    }
}

/// Where an empty list means no restriction.
fn is_subset<T>(narrow: &[T], wide: &[T], contains: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty()
        || (!narrow.is_empty() && narrow.iter().all(|narrow| wide.iter().any(|wide| contains(wide, narrow))))
}

/// What the sections say together.
pub(super) fn whole(config: &Config, report: &Report<'_>) {
    let nowhere = Place::default();
    let body_idle: Duration = config.limits.body_idle;
    if let Some(acme) = &config.tls.acme
        && acme.challenge == AcmeChallenge::Http01
        && config.listen.http.is_empty()
    {
        const WHY: &str = "nothing here listens where http-01 asks: set listen.http, or another tls.acme.challenge";
        report.warning(nowhere, format_args!("tls.acme.challenge: {WHY}"));
    }
    for registry in &config.registries {
        let name = registry.hosts.first().map(ToString::to_string).unwrap_or_default();
        if registry.upstream.timeouts.idle >= body_idle {
            const WHY: &str = "else a stopped server is taken for a silent client";
            report.warning(
                nowhere,
                format_args!("{name}: upstream.timeouts.idle should be shorter than limits.body_idle: {WHY}"),
            );
        }
        let by_address = registry.hosts.iter().find(|host| host.is_ip());
        if let Some(address) = by_address.filter(|_| {
            !config.tls.certificates.is_empty()
                && !config.tls.certificates.iter().any(|certificate| certificate.default)
        }) {
            report.warning(
                nowhere,
                format_args!(
                    "clients that dial {address} send no server name: mark one certificate with default: true"
                ),
            );
        }
    }
}
