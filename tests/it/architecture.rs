//! The borders between modules: arrows point down, foreign crates stay where they belong, and what decides is made in
//! one place.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The layers, lowest first. A module may use modules of lower layers, and itself.
const LAYERS: &[&[&str]] = &[
    &["registry"],
    &["config"],
    &["telemetry", "disk", "outbound"],
    &["tls"],
    &["identity"],
    &["access", "token", "budget"],
    &["upstream"],
    &["events"],
    &["runtime"],
    &["listener"],
    &["proxy", "admin", "reload"],
    &["server"],
    &["cli"],
    &["main"],
];

/// Crates that only some files may name.
const FOREIGN: &[(&str, &[&str])] = &[
    ("anyhow", &["cli/", "server.rs", "main.rs"]),
    ("bcrypt", &["identity/htpasswd"]),
    ("clap", &["cli/", "main.rs"]),
    ("hyper", HTTP),
    ("hyper_util", HTTP),
    ("instant_acme", &["tls/acme/"]),
    ("jsonwebtoken", &["token/"]),
    ("ldap3", &["config/ldap", "identity/ldap"]),
    ("pingora_core", &["listener/", "proxy/"]),
    ("pingora_http", &["listener/", "proxy/"]),
    ("rcgen", &["cli/quickstart/", "tls/", "token/certificates"]),
    ("rpassword", &["cli/"]),
    (
        "rustix",
        &[
            "disk.rs",
            "events/mod.rs",
            "server/handover.rs",
            "telemetry/metrics/process",
            "tls/acme/storage/",
            "token/keys",
        ],
    ),
    ("rustls", &["tls/", "events/", "identity/ldap/", "listener/", "upstream/"]),
    ("sd_notify", &["server/manager.rs"]),
    ("serde_saphyr", &["config/"]),
    ("tokio_rustls", &["tls/", "events/", "identity/ldap/", "listener/", "upstream/"]),
];

/// Who speaks HTTP without a session of the gate.
const HTTP: &[&str] =
    &["upstream/", "events/client.rs", "listener/plain", "admin", "cli/running.rs", "tls/acme/client.rs"];

/// Words that only some files may contain, with the reason.
const WORDS: &[(&str, &[&str], &str)] = &[
    ("Principal::anonymous(", PRINCIPAL, "a principal is made by identity and the token verifier alone"),
    ("Principal::user(", PRINCIPAL, "a principal is made by identity and the token verifier alone"),
    (".limited(", PRINCIPAL, "a principal is made by identity and the token verifier alone"),
    (
        "StatusCode",
        &["proxy/", "listener/", "admin", "events/", "upstream/", "tls/acme/", "cli/running.rs"],
        "a status belongs to what answers",
    ),
];

const PRINCIPAL: &[&str] = &["identity/", "token/verifier", "runtime.rs", "cli/acl.rs"];

/// What the modules that decide must not do: they are synchronous and know no file and no socket.
const PURE: &[&str] = &["async ", ".await", "std::fs", "std::net::Tcp", "std::thread", "tokio::"];

#[test]
fn arrows_point_down() {
    assert_clean(upward);
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    assert_clean(foreign);
}

#[test]
fn what_decides_is_made_in_one_place() {
    assert_clean(misplaced);
}

#[test]
fn what_decides_is_pure() {
    assert_clean(impure);
}

#[test]
fn files_are_short() {
    assert_clean(|source| {
        let lines = source.code.lines().filter(|line| !line.trim().is_empty()).count();
        (lines > 420).then(|| format!("{lines} lines of code")).into_iter().collect()
    });
}

#[test]
fn the_rules_find_what_breaks_them() {
    let source = |path: &str, code: &str| Source::new(path, code);
    for (path, code) in [
        ("registry/name.rs", "use crate::config::Host;"),
        ("access/policy.rs", "use crate::{\n    config,\n    registry::{Action, Route},\n    proxy::Rejection,\n};"),
        ("token/issuer.rs", "fn f() { crate::access::Policy::compile(a) }"),
        ("identity/mod.rs", "use super::runtime::Runtime;"),
        ("runtime.rs", "use super::server;"),
        ("invented/mod.rs", ""),
    ] {
        assert!(!upward(&source(path, code)).is_empty(), "{path}: {code}");
    }
    assert!(!foreign(&source("proxy/gate.rs", "use hyper::client::conn;")).is_empty());
    assert!(!foreign(&source("registry/name.rs", "fn f() { clap::value() }")).is_empty());
    assert!(!misplaced(&source("proxy/gate.rs", "let who = Principal::anonymous();")).is_empty());
    assert!(!impure(&source("access/policy.rs", "async fn f() {}")).is_empty());

    for (path, code) in [
        ("access/policy.rs", "use crate::{config, registry::Route, identity::Principal};"),
        ("access/policy.rs", "// crate::proxy is above\nfn f() {}"),
        ("registry/name.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::proxy;\n}"),
        ("identity/chain.rs", "use super::{Principal, Provider};"),
        ("tls/files.rs", "use rustls_pki_types::CertificateDer;"),
    ] {
        let source = source(path, code);
        let found = [upward(&source), foreign(&source), misplaced(&source), impure(&source)].concat();
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

/// One file of `src`, without comments and tests.
struct Source {
    path: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code =
            product.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
        Self { path: path.to_owned(), code }
    }

    /// The top-level module that the file belongs to.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    /// True where `super` is the crate itself.
    fn is_top(&self) -> bool {
        !self.path.contains('/') || self.path.ends_with("/mod.rs") && self.path.matches('/').count() == 1
    }

    /// The top-level modules that it names.
    fn uses(&self) -> BTreeSet<String> {
        let mut prefixes = vec!["crate::"];
        if self.is_top() {
            prefixes.push("super::");
        }
        prefixes.iter().flat_map(|prefix| named_after(&self.code, prefix)).collect()
    }
}

/// The names right after a path prefix; of a group in braces, those at its first level.
fn named_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(first_level(group)),
            None => names.extend(identifier(rest)),
        }
    }
    names
}

fn first_level(group: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let mut names = BTreeSet::new();
    let mut start = true;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            _ if start && !letter.is_whitespace() => {
                names.extend(identifier(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

/// A module's name; types and constants of the crate's root are none.
fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    name.starts_with(|letter: char| letter.is_ascii_lowercase()).then_some(name)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn upward(source: &Source) -> Vec<String> {
    if source.module() == "lib" {
        return Vec::new();
    }
    let Some(mine) = layer(source.module()) else {
        return vec![format!("the module {} has no layer", source.module())];
    };
    let used = source.uses().into_iter().filter(|used| used != source.module());
    let wrong = used.filter(|used| layer(used).is_some_and(|theirs| theirs >= mine));
    wrong.map(|used| format!("uses {used}, which is not below {}", source.module())).collect()
}

fn foreign(source: &Source) -> Vec<String> {
    let named = |name: &str| {
        source.code.match_indices(name).any(|(at, _)| {
            let (before, after) = (&source.code[..at], &source.code[at + name.len()..]);
            let begins = !before
                .ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':' || letter == '.');
            begins && (after.starts_with("::") || before.ends_with("use ") && after.starts_with([';', ' ']))
        })
    };
    let wrong = FOREIGN.iter().filter(|(name, home)| !lives_in(source, home) && named(name));
    wrong.map(|(name, _)| format!("names the crate {name}")).collect()
}

fn misplaced(source: &Source) -> Vec<String> {
    let wrong = WORDS.iter().filter(|(word, home, _)| !lives_in(source, home) && source.code.contains(word));
    wrong.map(|(word, _, reason)| format!("`{word}`: {reason}")).collect()
}

fn impure(source: &Source) -> Vec<String> {
    if !matches!(source.module(), "registry" | "access") {
        return Vec::new();
    }
    PURE.iter()
        .filter(|word| source.code.contains(**word))
        .map(|word| format!("`{word}` in a module that only decides"))
        .collect()
}

fn lives_in(source: &Source, homes: &[&str]) -> bool {
    homes.iter().any(|home| source.path.starts_with(home))
}

fn assert_clean(rule: impl Fn(&Source) -> Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let source = Source::new(&path, &fs::read_to_string(&file).unwrap());
        found.extend(rule(&source).into_iter().map(|problem| format!("src/{path}: {problem}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// All Rust files but those that exist in tests alone.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test_module(&path) {
            files.push(path);
        }
    }
}

/// True where the file, or a folder it is in, is a module that its parent declares under `#[cfg(test)]`.
fn is_test_module(path: &Path) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module = if path.ends_with("mod.rs") { path.parent().unwrap().to_owned() } else { path.with_extension("") };
    module.ancestors().take_while(|module| **module != root).any(|module| {
        let name = module.file_name().unwrap().to_string_lossy();
        let parent = module.parent().unwrap();
        let parents = [parent.with_extension("rs"), parent.join("mod.rs"), parent.join("lib.rs")];
        parents.iter().filter_map(|file| fs::read_to_string(file).ok()).any(|text| declares_for_tests(&text, &name))
    })
}

fn declares_for_tests(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with(&format!("mod {name};")))
}
