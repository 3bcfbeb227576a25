//! What is wrong, and what to do about it: the first thing that an operator wants to know.

use std::collections::BTreeMap;

use serde::Serialize;

use super::status::{RegistryStatus, ServerStatus, Status};

/// Failed requests in the last minute that are worth a word, as a part of all.
const FAILING_PART: f64 = 0.01;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Clients are refused, or will be soon.
    Error,
    /// Something is broken that clients do not notice yet.
    Warning,
    /// As somebody wanted it.
    Note,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    /// What it is about: `upstream`, `certificate`, `acme`, `configuration`, `identity`, `events`, `memory`, `traffic`,
    /// `process`.
    pub(super) about: &'static str,
    pub(super) what: String,
    /// What to do; empty where nothing is to be done.
    pub(super) advice: String,
}

/// What the worst of them comes to.
pub(super) fn worst(problems: &[Problem]) -> &'static str {
    match problems.iter().map(|problem| problem.severity).min() {
        Some(Severity::Error) => "failing",
        Some(Severity::Warning) => "degraded",
        Some(Severity::Note) | None => "ok",
    }
}

/// All that is wrong, the worst first. `missing` are the names that have a temporary certificate alone; `accepts` is true
/// while clients are let in.
pub(super) fn of(status: &Status<'_>, missing: &[String], accepts: bool) -> Vec<Problem> {
    let mut found = Found::default();
    found.process(status, accepts);
    status.registries.iter().for_each(|registry| found.registry(registry));
    found.certificates(status, missing);
    found.configuration(status);
    found.identity(status);
    found.events(status);
    found.traffic(status);
    found.0.sort_by_key(|problem| problem.severity);
    found.0
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, severity: Severity, about: &'static str, what: String, advice: impl Into<String>) {
        self.0.push(Problem { severity, about, what, advice: advice.into() });
    }

    fn process(&mut self, status: &Status<'_>, accepts: bool) {
        use Severity::Note;
        if !accepts {
            let what = "this process starts or stops: no new clients are wanted".to_owned();
            self.add(Note, "process", what, "");
        }
        if let Some(pid) = status.predecessor {
            let what = format!("the process before this one (pid {pid}) is still finishing its transfers");
            self.add(Note, "process", what, "");
        }
    }

    fn registry(&mut self, registry: &RegistryStatus<'_>) {
        let mut upstreams: BTreeMap<usize, Vec<&ServerStatus>> = BTreeMap::new();
        registry.servers.iter().for_each(|server| upstreams.entry(server.upstream).or_default().push(server));
        for servers in upstreams.values() {
            self.upstream(&registry.name, servers);
        }
        if let Some(extent) = registry.read_only.extent() {
            let open = registry.open_writes;
            let what = format!("{} {extent}; open writes: {open}", registry.name);
            self.add(Severity::Note, "upstream", what, "");
        }
    }

    fn upstream(&mut self, registry: &str, servers: &[&ServerStatus]) {
        const ADVICE: &str =
            "Check that the server runs and can be reached from here. It is tried again automatically.";
        let Some(first) = servers.first() else { return };
        let of = match first.purpose {
            "ui" => "the web UI".to_owned(),
            "notary" => "the Notary server".to_owned(),
            "route" => format!("a route ({})", first.url),
            _ => "the registry".to_owned(),
        };
        let down = || servers.iter().filter(|server| !server.up);
        let why = |server: &ServerStatus| format!("{}: {}", server.url, server.error.as_deref().unwrap_or("down"));
        let listed = down().map(|server| why(server)).collect::<Vec<_>>().join("; ");
        let has_primary = servers.iter().any(|server| server.up && server.role == "primary");
        match down().count() {
            0 => {}
            all if all == servers.len() => {
                let what = format!("{registry}: no server of {of} answers ({listed})");
                self.add(Severity::Error, "upstream", what, ADVICE);
            }
            _ if !has_primary => {
                let what = format!("{registry}: no primary of {of} answers: no pushes, and no pulls by tag ({listed})");
                self.add(Severity::Error, "upstream", what, ADVICE);
            }
            count => {
                let what = format!("{registry}: {count} of {} servers of {of} down ({listed})", servers.len());
                self.add(Severity::Warning, "upstream", what, format!("The others serve. {ADVICE}"));
            }
        }
    }

    fn certificates(&mut self, status: &Status<'_>, missing: &[String]) {
        use Severity::{Error, Warning};
        if !missing.is_empty() {
            let what = format!("a temporary self-signed certificate alone for {}", missing.join(", "));
            self.add(Error, "certificate", what, "Clients do not trust it: see below why there is no other one yet.");
        }
        for certificate in status.certificates.iter().filter(|certificate| certificate.source != "temporary") {
            let advice = match certificate.source.as_str() {
                "acme" => "It should have been renewed: see what is said of its orders.",
                _ => "Write the new certificate and key in place of the files; they are seen by themselves.",
            };
            let (severity, ends) = match certificate.standing.as_str() {
                "ended" => (Error, "has ended:"),
                "urgent" => (Error, "ends very soon:"),
                "soon" => (Warning, "ends soon:"),
                _ => continue,
            };
            let (names, end) = (certificate.names.join(", "), &certificate.not_after);
            self.add(severity, "certificate", format!("the certificate for {names} {ends} {end}"), advice);
        }
        for acme in &status.acme {
            let Some(error) = &acme.error else { continue };
            let next = acme.next_attempt.as_deref().unwrap_or("once the clock is right");
            let what = format!("no certificate was issued for {}: {error}", acme.names.join(", "));
            self.add(Warning, "acme", what, format!("The next attempt: {next}."));
        }
    }

    fn configuration(&mut self, status: &Status<'_>) {
        let configuration = &status.configuration;
        if let Some(error) = &configuration.error {
            let what = format!("the configuration that was read last is not in force: {error}");
            let advice =
                format!("What was in force before stays. Mend it, and see: portcullis check -c {}", configuration.file);
            self.add(Severity::Warning, "configuration", what, advice);
        }
        for unreadable in &configuration.unreadable {
            let what = format!("the password file {} cannot be read: {}", unreadable.file, unreadable.error);
            let advice = "What it said before is in force. Let the user that portcullis runs as read it.";
            self.add(Severity::Warning, "identity", what, advice);
        }
    }

    fn identity(&mut self, status: &Status<'_>) {
        let mut providers: BTreeMap<&str, (usize, Vec<String>)> = BTreeMap::new();
        for directory in &status.directories {
            let (all, down) = providers.entry(&directory.provider).or_default();
            *all += 1;
            down.extend(directory.error.as_ref().map(|error| format!("{}: {error}", directory.server)));
        }
        for (provider, (all, down)) in providers.into_iter().filter(|(_, (_, down))| !down.is_empty()) {
            let listed = down.join("; ");
            let advice = "It is tried again automatically. To see what it answers: portcullis login-test USER";
            if down.len() == all {
                let what = format!("{provider}: no directory server answers, so nobody can sign in by it ({listed})");
                self.add(Severity::Error, "identity", what, advice);
            } else {
                let what = format!("{provider}: {} of {all} directory servers left out ({listed})", down.len());
                self.add(Severity::Warning, "identity", what, advice);
            }
        }
    }

    fn events(&mut self, status: &Status<'_>) {
        for endpoint in &status.events {
            let (name, queued, limit) = (&endpoint.endpoint, endpoint.queued, endpoint.limit);
            let Some(since) = &endpoint.failing_since else { continue };
            let error = endpoint.error.as_deref().unwrap_or("it does not answer");
            let what = format!(
                "the event endpoint {name} has taken nothing since {since}: {error}; {queued} of {limit} events wait"
            );
            let advice = "It is tried again automatically. Once the queue is full the oldest events are dropped.";
            self.add(Severity::Warning, "events", what, advice);
        }
    }

    fn traffic(&mut self, status: &Status<'_>) {
        let buffers = &status.memory.buffers;
        if buffers.waiting > 0 {
            let what = format!("{} transfers wait for memory: limits.buffers is used up", buffers.waiting);
            self.add(Severity::Warning, "memory", what, "Raise limits.buffers, or add another gate.");
        }
        let rates = &status.traffic.per_second;
        if rates.failures > rates.requests * FAILING_PART {
            let percent = rates.failures / rates.requests.max(rates.failures) * 100.0;
            let what = format!("{percent:.0} % of the requests of the last minute failed (5xx, or broken off)");
            self.add(Severity::Warning, "traffic", what, "The log says why for each: look for \"upstream failed\".");
        }
    }
}
