//! What operators read leads where it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// Where operators' documents are: files, and folders with all that is in them.
const PLACES: &[&str] = &["README.md", "CHANGELOG.md", "conf", "deploy", "tests/README.md", "benches/README.md"];

const GUIDE: &str = "conf/guide";

#[test]
fn every_link_leads_to_something() {
    let documents = documents();
    assert!(documents.keys().any(|path| path.starts_with(GUIDE)), "there is no guide: {:?}", documents.keys());
    let broken: Vec<String> = documents
        .iter()
        .flat_map(|(path, document)| document.links.iter().map(move |link| (path, link)))
        .filter_map(|(path, link)| {
            complaint(path, link, &documents).map(|why| format!("{}: {link}: {why}", path.display()))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A guide that nobody is led to is not read.
#[test]
fn every_guide_is_in_the_table_of_contents() {
    let documents = documents();
    let contents = documents.get(&Path::new(GUIDE).join("README.md")).expect("the guide has a table of contents");
    let missing: Vec<_> = documents
        .keys()
        .filter(|path| path.parent() == Some(Path::new(GUIDE)))
        .filter_map(|path| path.file_name()?.to_str())
        .filter(|name| *name != "README.md" && !contents.links.contains(*name))
        .collect();
    assert!(missing.is_empty(), "not in {GUIDE}/README.md: {missing:?}");
}

/// What is run in continuous integration is what the README says.
#[test]
fn the_readme_names_the_command_of_the_tests() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("\n```\ntests/run.sh\n```\n"), "the README has no test command");
    assert!(readme.contains("\n```\ndeploy/quickstart.sh\n```\n"), "the README has no quickstart");
}

/// Messages of ours that `troubleshooting.md` explains: it would lead nowhere once they are worded otherwise.
const MESSAGES: &[&str] = &[
    "a page of another origin may not do this here",
    "authentication required for ",
    "cannot listen on ",
    "check that this machine reaches the authority",
    "events are not delivered, and wait until they are: ",
    "internal error",
    "is read-only at the moment, for maintenance",
    "listen.admin switched off",
    "no registry of that name here",
    "plain HTTP is refused: use ",
    "portcullis temporary certificate",
    "set the clock of this machine",
    "the authority limits how often",
    "the blob cannot be had at the moment",
    "the body is larger than the limit of ",
    "the catalog is still being read; ask again",
    "the identity source cannot answer now",
    "the registry cannot be reached",
    "the registry did not answer in time",
    "the registry does not accept this gate",
    "the storage folder must belong to portcullis, and have room",
    "too many failed logins: try again in ",
    "too many transfers are under way",
    "too much is under way",
    "unknown upload session",
    "upload_at_unknown_server",
    "upload_of_another",
    "was not proven to be ours by ",
    "wrong user name or password",
];

#[test]
fn the_messages_that_are_explained_are_those_of_the_product() {
    let page = fs::read_to_string(root().join(GUIDE).join("troubleshooting.md")).unwrap();
    let mut sources = Vec::new();
    collect(Path::new("src"), "rs", &mut sources);
    let product: Vec<String> = sources.iter().map(|path| fs::read_to_string(root().join(path)).unwrap()).collect();
    let missing: Vec<_> = MESSAGES
        .iter()
        .filter(|message| !page.contains(**message) || !product.iter().any(|source| source.contains(**message)))
        .collect();
    assert!(missing.is_empty(), "not in the page, or not in the product: {missing:#?}");
}

/// Why a link of the document at `path` leads nowhere.
fn complaint(path: &Path, link: &str, documents: &BTreeMap<PathBuf, Document>) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (target, anchor) = link.split_once('#').map_or((link, None), |(target, anchor)| (target, Some(anchor)));
    let target = if target.is_empty() { path.to_owned() } else { resolve(path.parent()?, target) };
    if !root().join(&target).exists() {
        return Some("there is no such file".to_owned());
    }
    let anchor = anchor?;
    match documents.get(&target) {
        None => Some("an anchor outside the documents".to_owned()),
        Some(document) if !document.anchors.contains(anchor) => Some(format!("there is {:?}", document.anchors)),
        Some(_) => None,
    }
}

/// Relative to the root of the repository, and never above it.
fn resolve(folder: &Path, target: &str) -> PathBuf {
    let mut resolved = folder.to_owned();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => assert!(resolved.pop(), "{target} in {} leads outside", folder.display()),
            Component::CurDir => {}
            Component::Normal(name) => resolved.push(name),
            Component::RootDir | Component::Prefix(_) => panic!("{target} in {} is no relative link", folder.display()),
        }
    }
    resolved
}

#[derive(Debug, Default)]
struct Document {
    links: BTreeSet<String>,
    anchors: BTreeSet<String>,
}

fn documents() -> BTreeMap<PathBuf, Document> {
    let mut found = Vec::new();
    for place in PLACES {
        collect(Path::new(place), "md", &mut found);
    }
    found.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The files with this ending at or below a place.
fn collect(place: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let full = root().join(place);
    if full.is_dir() {
        for entry in fs::read_dir(&full).unwrap() {
            collect(&place.join(entry.unwrap().file_name()), ending, found);
        }
    } else if place.extension().is_some_and(|extension| extension == ending) {
        found.push(place.to_owned());
    }
}

fn read(path: &Path) -> Document {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut document = Document::default();
    let mut heading: Option<String> = None;
    for event in Parser::new(&text) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of which little matters here")]
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                document.links.insert(dest_url.into_string());
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let anchor = anchor(&heading.take().unwrap_or_default());
                let others = (1..).map(|count| format!("{anchor}-{count}"));
                let free = std::iter::once(anchor.clone()).chain(others).find(|name| !document.anchors.contains(name));
                document.anchors.extend(free);
            }
            Event::Text(part) | Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            _ => {}
        }
    }
    document
}

/// As forges make them: lower case, without punctuation, a hyphen for each blank.
fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    letters.flat_map(char::to_lowercase).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
