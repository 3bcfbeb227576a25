//! Every configuration in the repository is one that the product takes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis::config::Config;

/// All `.yml` files under a folder that are configurations: those with a `version` and a `listen` section.
fn configurations(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            configurations(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            let text = fs::read_to_string(&path).unwrap();
            if text.lines().any(|line| line.starts_with("listen:")) {
                found.push(path);
            }
        }
    }
}

#[test]
fn every_example_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["conf", "deploy"] {
        configurations(&root.join(folder), &mut found);
    }
    assert!(found.iter().any(|path| path.ends_with("conf/portcullis.yml")), "the reference is missing: {found:?}");
    let problems: Vec<String> =
        found.iter().filter_map(|path| Config::load(path).err()).map(|problems| problems.to_string()).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
