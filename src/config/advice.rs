//! What is allowed but looks like a mistake: warnings.

use std::time::Duration;

use super::{
    AcmeChallenge, Config,
    problem::{Place, Report},
    reader::Field,
};

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
