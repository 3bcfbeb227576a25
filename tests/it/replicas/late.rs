//! A copy of a registry's storage that is always some time behind.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

/// Brings replicas to where their primary was a while ago, again and again, until dropped.
pub(super) struct Late {
    over: Arc<AtomicBool>,
    passes: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Late {
    pub(super) fn start(primary: &Path, replicas: &[PathBuf], lag: Duration) -> Self {
        let (over, passes) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicUsize>::default());
        let mut copying = Copying {
            primary: primary.to_owned(),
            replicas: replicas.to_owned(),
            seen: HashSet::new(),
            tags: HashMap::new(),
            queue: VecDeque::new(),
        };
        let thread = thread::spawn({
            let (over, passes) = (Arc::clone(&over), Arc::clone(&passes));
            move || {
                while !over.load(Ordering::SeqCst) {
                    copying.look();
                    copying.catch_up(lag);
                    passes.fetch_add(1, Ordering::SeqCst);
                    sleep((lag / 20).min(Duration::from_millis(500)));
                }
            }
        });
        Self { over, passes, thread: Some(thread) }
    }

    /// How often it looked so far.
    pub(super) fn passes(&self) -> usize {
        self.passes.load(Ordering::SeqCst)
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the copying failed");
    }
}

struct Copying {
    primary: PathBuf,
    replicas: Vec<PathBuf>,
    seen: HashSet<PathBuf>,
    /// What each tag pointed to when it was looked at last.
    tags: HashMap<PathBuf, Vec<u8>>,
    queue: VecDeque<(Instant, Vec<Found>)>,
}

/// A file of the primary.
struct Found {
    path: PathBuf,
    /// Of a file that changes, as it was.
    content: Option<Vec<u8>>,
}

impl Copying {
    /// Finds what is new. What refers is looked at before what it refers to, so that no look misses the latter.
    fn look(&mut self) {
        let now = Instant::now();
        let mut files = Vec::new();
        for part in ["repositories", "blobs"] {
            walk(&self.primary.join("docker/registry/v2").join(part), &mut files);
        }
        let mut found = Vec::new();
        for file in files {
            let path = file.strip_prefix(&self.primary).unwrap().to_owned();
            if path.ends_with("current/link") {
                let Ok(content) = fs::read(&file) else { continue };
                // Else it is being written.
                if content.len() == "sha256:".len() + 64 && self.tags.get(&path) != Some(&content) {
                    self.tags.insert(path.clone(), content.clone());
                    found.push(Found { path, content: Some(content) });
                }
            } else if self.seen.insert(path.clone()) {
                found.push(Found { path, content: None });
            }
        }
        // Blobs, then links to them, then tags.
        found.sort_by_key(|found| (found.content.is_some(), !found.path.ends_with("data")));
        self.queue.push_back((now, found));
    }

    /// Copies what was found so long ago.
    fn catch_up(&mut self, lag: Duration) {
        while let Some((_, found)) = self.queue.pop_front_if(|(when, _)| when.elapsed() >= lag) {
            for Found { path, content } in found {
                for replica in &self.replicas {
                    let to = replica.join(&path);
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    match &content {
                        Some(content) => {
                            let beside = to.with_extension("new");
                            fs::write(&beside, content).unwrap();
                            fs::rename(beside, to).unwrap();
                        }
                        None => fs::hard_link(self.primary.join(&path), to).unwrap(),
                    }
                }
            }
        }
    }
}

/// All files beneath but those of uploads under way. What vanishes meanwhile is left out.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("_uploads") {
                walk(&path, files);
            }
        } else {
            files.push(path);
        }
    }
}
