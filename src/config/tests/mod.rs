mod acme;
mod beside;
mod contract;
mod errors;
mod events;
mod files;
mod hosts;
mod ldap;
mod named;
mod random;
mod redirects;
mod sections;
mod syntax;
mod units;
mod upstream;
mod values;
mod warnings;

use std::path::Path;

use super::{Config, Fingerprint, Problems, Reading, load, problem::Report};

/// Seven lines that are a whole configuration.
const LEAST: &str = r#"version: 1
listen: {}
tls: { certificates: [{ certificate_file: "r.crt", key_file: "r.key" }] }
registries:
  - hosts: ["r.example.com"]
    upstream: { servers: [{ url: "http://r:5000" }] }
identity: { providers: [{ htpasswd: { file: "htpasswd" } }] }
"#;

fn read(text: &str) -> Result<Config, Problems> {
    reading(text).outcome
}

fn reading(text: &str) -> Reading {
    let path = Path::new("conf/p.yml");
    load::read(text, Fingerprint::of(path), Report::new(path))
}

/// What is told of a text, as `line:column: severity: message`.
fn told(text: &str) -> Vec<String> {
    let problems = read(text).map_or_else(|problems| problems.0, |config| config.warnings);
    problems.iter().map(|problem| problem.to_string().replace("conf/p.yml:", "").trim_start().to_owned()).collect()
}

/// `LEAST` with one of its lines (1-based) replaced by others.
fn with_line(number: usize, lines: &str) -> String {
    LEAST
        .lines()
        .enumerate()
        .map(|(index, line)| if index + 1 == number { lines } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

/// `LEAST` and more after it, from line 8 on.
fn with_more(lines: &str) -> String {
    format!("{LEAST}{lines}")
}

/// Asserts that exactly one problem is told, at the place and with words of the message.
#[track_caller]
fn tells(text: &str, place_and_severity: &str, words: &str) {
    let told = told(text);
    assert!(
        matches!(told.as_slice(), [one] if one.starts_with(place_and_severity) && one.contains(words)),
        "expected {place_and_severity} … {words}\ntold {told:#?}"
    );
}

/// [`tells`] of `LEAST` with more lines, which start in line 8.
#[track_caller]
fn more(lines: &str, place: &str, words: &str) {
    tells(&with_more(lines), place, words);
}

/// [`tells`] of other values in `listen`, in line 2.
#[track_caller]
fn listen(value: &str, place: &str, words: &str) {
    tells(&with_line(2, &format!("listen: {{ {value} }}")), place, words);
}

/// [`tells`] of more values in `identity`, in line 7.
#[track_caller]
fn identity(value: &str, place: &str, words: &str) {
    tells(&with_line(7, &format!("identity: {{ providers: [htpasswd: {{ file: h }}], {value} }}")), place, words);
}

/// [`tells`] of more values in `upstream`, in line 6.
#[track_caller]
fn upstream(value: &str, place: &str, words: &str) {
    tells(
        &with_line(6, &format!("    upstream: {{ servers: [{{ url: \"http://r:5000\" }}], {value} }}")),
        place,
        words,
    );
}

/// [`tells`] of a whole grant with more lines, which start in line 14.
#[track_caller]
fn grant(lines: &str, place: &str, words: &str) {
    more(
        &format!(
            "access:\n  grants:\n  - name: g\n    repositories: [a]\n    actions: [pull]\n    to: [anyone]\n{lines}\n"
        ),
        place,
        words,
    );
}
