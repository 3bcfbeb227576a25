//! From a file to a [`Config`], or to everything that is wrong with it.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    path::Path,
};

use super::{
    Access, Config, Events, Fingerprint, Identity, Limits, Listen, Log, Problems, Reading, Reload, Shutdown, Tls,
    Tokens, advice, fingerprint,
    named::Names,
    open_regular,
    problem::{Place, Report},
    reader::{Field, Section},
    registries,
    sections::Sections,
    yaml,
};

/// Far beyond any configuration; a wrong path should not fill the memory.
const LARGEST_FILE: u64 = 16 << 20;

pub(super) fn load(path: &Path) -> Reading {
    let seen = Fingerprint::of(path);
    let report = Report::new(path);
    match read_text(path, &report) {
        Some(text) => read(&text, seen, report),
        None => Reading { outcome: Err(Problems(report.finish())), seen, files: Vec::new() },
    }
}

pub(super) fn admin_address(path: &Path) -> Result<Option<SocketAddr>, Problems> {
    let report = Report::new(path);
    let section = |text: String| {
        let tree = yaml::parse(&text, &report)?;
        Listen::admin_of(&Section::root(&tree, &report)?.section("listen"))
    };
    let admin = read_text(path, &report).and_then(section);
    admin.ok_or_else(|| Problems(report.finish()))
}

/// Reads the text of a file; the report knows which.
pub(super) fn read(text: &str, seen: Fingerprint, report: Report<'_>) -> Reading {
    let config = read_config(text, &seen, &report);
    let names = report.names();
    let files = names.files.clone();
    let outcome = match config {
        Some(config) if report.is_clean() => Ok(Config { warnings: report.finish(), names, ..config }),
        _ => Err(Problems(report.finish())),
    };
    Reading { outcome, seen, files }
}

/// None, and reported, where the file cannot be read.
pub(super) fn read_text(path: &Path, report: &Report<'_>) -> Option<String> {
    let mut text = String::new();
    let read = open_regular(path).and_then(|file| file.take(LARGEST_FILE.saturating_add(1)).read_to_string(&mut text));
    match read {
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= LARGEST_FILE) => return Some(text),
        Ok(_) => report.error(Place::default(), "the file is larger than 16MiB"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            report.error(Place::default(), "the file is not UTF-8 text");
        }
        Err(error) => report.error(Place::default(), format_args!("cannot read the file: {error}")),
    }
    None
}

/// `None` where there is no mapping to read; otherwise a configuration that is valid only if no error was reported.
fn read_config(text: &str, seen: &Fingerprint, report: &Report<'_>) -> Option<Config> {
    let tree = yaml::parse(text, report)?;
    let root = Section::root(&tree, report)?;
    if let Some(field) = root.required("version", "write version: 1") {
        read_version(&field);
    }
    let registries = registries::read_all(&root);
    let identity =
        Identity::read(root.required_section("identity", "write providers: [{ htpasswd: { file: \"htpasswd\" } }]"));
    let config = Config {
        path: report.file().to_owned(),
        listen: Listen::read(root.required_section("listen", "write listen: {} for the default ports")),
        tls: Tls::read(root.required_section("tls", "write certificates with certificate_file and key_file")),
        access: Access::read(root.section("access"), &registries, &identity),
        tokens: Tokens::read(root.section("tokens"), registries.len()),
        events: Events::read(root.section("events"), &registries),
        registries,
        identity,
        limits: Limits::read(root.section("limits")),
        log: Log::read(root.section("log")),
        reload: Reload::read(root.section("reload")),
        shutdown: Shutdown::read(root.section("shutdown")),
        warnings: Vec::new(),
        seen: seen.clone(),
        hash: fingerprint::hash_of(text.as_bytes()),
        names: Names::default(),
        sections: Sections::of(&tree),
    };
    root.finish();
    if report.is_clean() {
        advice::whole(&config, report);
    }
    Some(config)
}

pub(super) fn read_version(field: &Field<'_>) {
    if !matches!(field.value(), yaml::Value::Integer(1)) {
        field
            .error(format_args!("found {}, and this version of portcullis reads version: 1", field.value().describe()));
    }
}
