//! What a registry did, by its own debug log.

use std::collections::HashSet;

use serde_json::Value;

/// One repository that a request named or whose files it touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Act {
    /// The `User-Agent`, which is how a test names a request.
    pub(super) agent: String,
    /// The target as it arrived.
    pub(super) uri: String,
    /// Empty where all repositories were listed.
    pub(super) repository: String,
}

/// Each act once. The log must be JSON at level debug, and the registry without a descriptor cache: what comes from
/// memory touches no file.
pub(super) fn acts(log: &str) -> HashSet<Act> {
    let mut acts = HashSet::new();
    for line in log.lines().filter(|line| line.starts_with('{')) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let (agent, uri) = (text("http.request.useragent"), text("http.request.uri"));
        let touched = text("msg").and_then(|message| touched(&message).map(str::to_owned));
        for repository in [text("vars.name"), touched].into_iter().flatten() {
            let (agent, uri) = (agent.clone().unwrap_or_default(), uri.clone().unwrap_or_default());
            acts.insert(Act { agent, uri, repository });
        }
    }
    acts
}

/// The repository in `filesystem.GetContent("/docker/registry/v2/repositories/a/b/_layers/…")`.
fn touched(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("\"/docker/registry/v2/repositories")?;
    let path = rest.split('"').next()?;
    let folders = ["/_layers", "/_manifests", "/_uploads"];
    let end = folders.iter().filter_map(|folder| path.find(folder)).min().unwrap_or(path.len());
    Some(path[..end].trim_start_matches('/'))
}

#[test]
fn the_log_tells_what_was_touched() {
    let line = |message: &str| format!(r#"{{"http.request.useragent":"a","http.request.uri":"/u","msg":{message:?}}}"#);
    let log = [
        line(r#"filesystem.GetContent("/docker/registry/v2/repositories/a/b/_layers/sha256/00/link")"#),
        line(r#"filesystem.Walk("/docker/registry/v2/repositories")"#),
        line(r#"filesystem.Stat("/docker/registry/v2/blobs/sha256/00/data")"#),
        r#"{"msg":"authorizing request","vars.name":"c"}"#.to_owned(),
        "127.0.0.1 - - \"GET /v2/d/tags/list HTTP/1.1\" 200".to_owned(),
    ]
    .join("\n");
    let mut names: Vec<String> = acts(&log).into_iter().map(|act| act.repository).collect();
    names.sort();
    assert_eq!(names, ["", "a/b", "c"]);
}
