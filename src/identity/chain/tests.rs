mod remembered;
mod throttled;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tempfile::TempDir;

use super::{
    grid::{GRID, next_tick},
    *,
};
use crate::{
    config::{self, GroupKey, Secret},
    identity::{Proof, Provider, ProviderError, turns::Turns},
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn line(user: &str, password: &str) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, 4).expect("hashes"))
}

fn login(username: &str, password: &str) -> BasicCredentials {
    BasicCredentials { username: username.to_owned(), password: Secret::new(password.to_owned()) }
}

/// A folder of password files and the configuration that names them.
struct Files {
    folder: TempDir,
    config: config::Identity,
}

impl Files {
    fn new(contents: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config::Identity {
            realm: "Registry".to_owned(),
            disabled_users: Vec::new(),
            groups: BTreeMap::new(),
            providers: Vec::new(),
            cache: Duration::from_secs(300),
        };
        let mut files = Self { folder, config };
        for (place, content) in contents.iter().enumerate() {
            files.write(place, content);
            let file = files.path(place);
            files.config.providers.push(config::Provider::Htpasswd(config::Htpasswd { file }));
        }
        files
    }

    fn path(&self, place: usize) -> PathBuf {
        self.folder.path().join(format!("htpasswd-{place}"))
    }

    fn write(&self, place: usize, content: &str) {
        fs::write(self.path(place), content).expect("written");
    }

    fn disabled(mut self, user: &str) -> Self {
        self.config.disabled_users.push(user.to_owned());
        self
    }

    fn group(mut self, group: &str, users: &[&str]) -> Self {
        self.config.groups.insert(group.to_owned(), users.iter().map(|user| (*user).to_owned()).collect());
        self
    }

    fn chain(&self) -> Chain {
        Chain::build(&self.config).expect("builds")
    }
}

/// A provider beside the files: knows one user under two spellings, counts how often it is asked.
#[derive(Default)]
struct Directory {
    asked: AtomicUsize,
    spent: AtomicUsize,
    down: bool,
    /// Logins find nobody, whether it is down or not.
    knows_nobody: bool,
    turns: Option<Arc<Turns>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    longest: Duration,
    computes: bool,
    empty: bool,
}

#[async_trait]
impl Provider for Directory {
    fn name(&self) -> &str {
        "directory"
    }

    async fn authenticate(&self, login: &BasicCredentials) -> Result<Outcome, ProviderError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.knows_nobody {
            return Ok(Outcome::Unknown);
        }
        Ok(match self.standing(&login.username).await? {
            Some(standing) if login.password.reveal() == "directory" => Outcome::Accepted(standing),
            Some(_) => Outcome::Rejected,
            None => Outcome::Unknown,
        })
    }

    async fn standing(&self, user: &str) -> Result<Option<Standing>, ProviderError> {
        if self.down {
            return Err(ProviderError { provider: "directory".to_owned(), reason: "down".to_owned() });
        }
        Ok((!self.empty && user.eq_ignore_ascii_case("dora")).then(|| Standing {
            name: Arc::from("dora"),
            groups: ["Staff", "both"].into_iter().filter_map(GroupKey::of_name).collect(),
            proof: Proof("proof".into()),
        }))
    }

    fn folds_names(&self) -> bool {
        true
    }

    fn turns(&self) -> Option<&Arc<Turns>> {
        self.turns.as_ref()
    }

    async fn spend(&self) {
        self.spent.fetch_add(1, Ordering::SeqCst);
    }

    fn longest_refusal(&self) -> Duration {
        self.longest
    }

    fn computes(&self) -> bool {
        self.computes
    }
}

/// Puts the directory into the chain, before the files or after them.
fn with_directory(mut chain: Chain, place: usize, directory: &Arc<Directory>) -> Chain {
    let provider = Arc::clone(directory) as Arc<dyn Provider>;
    chain.members.insert(place, Member::new(Arc::from("directory"), provider));
    chain
}

async fn accepted(chain: &Chain, username: &str, password: &str) -> User {
    chain.login(&login(username, password), HERE).await.expect("accepted").as_user().expect("a user").clone()
}

async fn refused(chain: &Chain, username: &str, password: &str) -> LoginError {
    chain.login(&login(username, password), HERE).await.expect_err("refused")
}

fn asked(directory: &Directory) -> usize {
    directory.asked.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_login_makes_a_principal_without_limit() {
    let files = Files::new(&[&line("alice", "secret")]).group("team-a", &["alice", "bob"]).group("team-b", &["bob"]);
    let chain = files.chain();
    let principal = chain.login(&login("alice", "secret"), HERE).await.expect("accepted");
    assert_eq!(principal.name(), Some("alice"));
    assert!(principal.limit().is_none());
    let user = principal.as_user().expect("a user");
    assert_eq!(user.groups, [Arc::from("team-a")]);
    assert_eq!(&*user.via, "htpasswd");
    assert_eq!(chain.configured_groups("bob"), [Arc::from("team-a"), Arc::from("team-b")]);
    assert_eq!(chain.configured_groups("Alice"), [] as [Arc<str>; 0]);
}

/// T18, T19
#[tokio::test]
async fn no_provider_sees_an_empty_user_or_password() {
    let directory = Arc::new(Directory::default());
    let files = Files::new(&[&format!(":{}", line("", "x").trim_start_matches(':'))]);
    let chain = with_directory(files.chain(), 0, &directory);
    for (username, password) in [("", ""), ("", "x"), ("dora", ""), ("", "directory")] {
        assert_eq!(refused(&chain, username, password).await, LoginError::Rejected);
    }
    assert_eq!(asked(&directory), 0);
}

/// H15
#[tokio::test]
async fn the_hash_of_the_empty_password_admits_nobody() {
    let chain = Files::new(&[&line("alice", "")]).chain();
    assert_eq!(refused(&chain, "alice", "").await, LoginError::Rejected);
}

/// Whoever goes away while it is asked leaves no room for the next one before it is done.
#[tokio::test]
async fn a_directory_is_asked_about_so_many_at_a_time() {
    let directory = Arc::new(Directory { turns: Some(Arc::new(Turns::new(2))), ..Directory::default() });
    let chain = Arc::new(with_directory(Files::new(&[]).chain(), 0, &directory));
    for number in 0..10 {
        let chain = Arc::clone(&chain);
        let gone = tokio::spawn(async move { refused(&chain, "dora", &format!("guess {number}")).await });
        tokio::time::sleep(Duration::from_millis(2)).await;
        gone.abort();
    }
    accepted(&chain, "dora", "directory").await;
    assert_eq!(directory.most_under_way.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_first_provider_that_knows_a_user_decides() {
    let files = Files::new(&[
        &(line("alice", "first") + "locked:!\n"),
        &(line("alice", "second") + &line("bob", "second") + &line("locked", "second")),
    ]);
    let chain = files.chain();
    assert_eq!(&*accepted(&chain, "alice", "first").await.via, "htpasswd");
    assert_eq!(refused(&chain, "alice", "second").await, LoginError::Rejected);
    assert_eq!(&*accepted(&chain, "bob", "second").await.via, "htpasswd-2");
    assert_eq!(refused(&chain, "locked", "second").await, LoginError::Rejected);
    assert_eq!(refused(&chain, "nobody", "second").await, LoginError::Rejected);
}

#[tokio::test]
async fn nobody_claims_the_names_of_one_that_is_down() {
    let directory = Arc::new(Directory { down: true, ..Directory::default() });
    let files = Files::new(&[&line("alice", "secret")]);
    let before = with_directory(files.chain(), 0, &directory);
    assert_eq!(refused(&before, "alice", "secret").await, LoginError::Unavailable);
    assert_eq!(before.recall("dora", "directory", "proof").await, Err(LoginError::Unavailable));

    let after = with_directory(files.chain(), 1, &directory);
    assert_eq!(&*accepted(&after, "alice", "secret").await.name, "alice");
    assert_eq!(refused(&after, "alice", "wrong").await, LoginError::Rejected);
    assert_eq!(refused(&after, "nobody", "wrong").await, LoginError::Unavailable);
}

#[tokio::test]
async fn the_providers_spelling_and_groups_count() {
    let directory = Arc::new(Directory::default());
    let files = Files::new(&[]).group("both", &["dora"]).group("typed", &["DORA"]);
    let chain = with_directory(files.chain(), 0, &directory);
    for _ in 0..2 {
        let user = accepted(&chain, "DORA", "directory").await;
        assert_eq!(&*user.name, "dora");
        assert_eq!(user.groups, [Arc::from("both")]);
        assert_eq!(user.directory_groups.iter().map(GroupKey::as_str).collect::<Vec<_>>(), ["staff", "both"]);
    }
    assert_eq!(asked(&directory), 1, "the second comes from the cache");
}

#[tokio::test]
async fn a_disabled_user_is_refused_in_every_spelling() {
    let directory = Arc::new(Directory::default());
    let files = Files::new(&[&line("alice", "secret")]).disabled("alice").disabled("dora");
    let chain = with_directory(files.chain(), 1, &directory);
    assert_eq!(refused(&chain, "alice", "secret").await, LoginError::Rejected);
    assert_eq!(refused(&chain, "dora", "directory").await, LoginError::Rejected);
    assert_eq!(refused(&chain, "DORA", "directory").await, LoginError::Rejected);
    assert_eq!(refused(&chain, "DORA", "directory").await, LoginError::Rejected, "and is not remembered");
}

/// A ban holds in whatever letter case the operator wrote a directory's name; names in files are what they are.
#[tokio::test]
async fn a_directorys_user_is_disabled_in_every_spelling_of_the_ban() {
    let directory = Arc::new(Directory::default());
    let files = Files::new(&[&line("alice", "secret")]).disabled("Alice").disabled("D\u{ff4f}ra");
    let chain = with_directory(files.chain(), 1, &directory);
    assert_eq!(refused(&chain, "dora", "directory").await, LoginError::Rejected);
    assert_eq!(chain.recall("dora", "directory", "proof").await, Ok(None));
    assert_eq!(chain.find("dora").await, Ok(None));
    accepted(&chain, "alice", "secret").await;
}

/// A name is the first provider's that holds it, also where somebody types it so that only a later one finds it.
#[tokio::test]
async fn nobody_takes_a_name_by_spelling_it_otherwise() {
    let directory = Arc::new(Directory::default());
    let files = Files::new(&[""]);
    let chain = with_directory(files.chain(), 1, &directory);
    accepted(&chain, "DORA", "directory").await;
    for content in ["dora:!\n", &line("dora", "secret")] {
        files.write(0, content);
        chain.refresh();
        for name in ["DORA", "dora"] {
            assert_eq!(refused(&chain, name, "directory").await, LoginError::Rejected, "{name}");
            assert!(chain.trial(&login(name, "directory")).await.outcome.is_err(), "{name}");
        }
        assert!(chain.find("DORA").await.unwrap().is_none_or(|user| &*user.via == "htpasswd"));
    }
    files.write(0, "");
    chain.refresh();
    accepted(&chain, "DORA", "directory").await;
}

#[tokio::test]
async fn one_that_is_down_keeps_its_names_in_every_spelling() {
    let up = Arc::new(Directory::default());
    let chain = with_directory(Files::new(&[]).chain(), 0, &up);
    // It knows what was typed, and cannot say whose the name is.
    let chain =
        with_directory(chain, 0, &Arc::new(Directory { down: true, knows_nobody: true, ..Directory::default() }));
    assert_eq!(refused(&chain, "DORA", "directory").await, LoginError::Unavailable);
    assert_eq!(chain.trial(&login("DORA", "directory")).await.outcome.err(), Some(LoginError::Unavailable));
}

#[tokio::test]
async fn a_refusal_costs_the_work_of_all_providers() {
    let directory = Arc::new(Directory::default());
    let files = Files::new(&[&(line("alice", "secret") + &line("bob", "secret"))]).disabled("bob");
    let chain = with_directory(files.chain(), 1, &directory);
    assert_eq!(refused(&chain, "alice", "wrong").await, LoginError::Rejected);
    assert_eq!((asked(&directory), directory.spent.load(Ordering::SeqCst)), (0, 1), "without seeing the password");
    assert_eq!(refused(&chain, "bob", "secret").await, LoginError::Rejected);
    assert_eq!((asked(&directory), directory.spent.load(Ordering::SeqCst)), (0, 2));
    accepted(&chain, "alice", "secret").await;
    assert_eq!(directory.spent.load(Ordering::SeqCst), 2, "a success spends nothing");
}

/// Somebody whom a file does not hold may be in the directory behind it: only a refusal has to take as long as hashing.
#[tokio::test]
async fn no_hash_is_computed_for_a_user_of_a_directory_behind_a_file() {
    let file = Arc::new(Directory { computes: true, empty: true, ..Directory::default() });
    let directory = Arc::new(Directory::default());
    let chain = with_directory(with_directory(Files::new(&[]).chain(), 0, &directory), 0, &file);
    let spent = || (asked(&file), file.spent.load(Ordering::SeqCst));
    accepted(&chain, "dora", "directory").await;
    assert_eq!(spent(), (0, 0));
    refused(&chain, "dora", "wrong").await;
    assert_eq!(spent(), (0, 1));
    refused(&chain, "nobody", "wrong").await;
    assert_eq!(spent(), (0, 2));
}

/// H17
#[tokio::test]
async fn failures_wait_for_the_grid_and_successes_do_not() {
    let files = Files::new(&[&(line("alice", "secret") + &line("bob", "secret"))]).disabled("bob");
    let chain = files.chain();
    for (username, password) in [("alice", "wrong"), ("nobody", "wrong"), ("bob", "secret"), ("", ""), ("alice", "")] {
        let begun = Instant::now();
        refused(&chain, username, password).await;
        assert!(begun.elapsed() >= GRID, "{username}");
    }
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        accepted(&chain, "alice", "secret").await;
        shortest = shortest.min(begun.elapsed());
    }
    assert!(shortest < GRID, "{shortest:?}");
}

/// H17: of whichever kind, and however little of it the provider itself took.
#[tokio::test(start_paused = true)]
async fn a_refusal_takes_as_long_as_the_longest() {
    let directory = Arc::new(Directory { longest: GRID + Duration::from_millis(1), ..Directory::default() });
    let files = Files::new(&[&line("alice", "secret")]).disabled("bob");
    for place in [0, 1] {
        let chain = with_directory(files.chain(), place, &directory);
        for (username, password) in [("dora", "x"), ("nobody", "x"), ("alice", "x"), ("bob", "x")] {
            let begun = Instant::now();
            refused(&chain, username, password).await;
            assert_eq!(begun.elapsed(), 2 * GRID, "{username}");
        }
        let begun = Instant::now();
        accepted(&chain, "alice", "secret").await;
        assert!(begun.elapsed() < GRID, "who is let in does not wait");
    }
}

#[test]
fn ticks_are_multiples_of_the_grid() {
    for (elapsed, tick) in [(0, 250), (1, 250), (249, 250), (250, 500), (251, 500), (740, 750), (60_001, 60_250)] {
        assert_eq!(next_tick(Duration::from_millis(elapsed)), Duration::from_millis(tick));
    }
    assert!(next_tick(Duration::MAX) > Duration::from_secs(1 << 20));
}

#[tokio::test]
async fn an_unreadable_file_at_start_is_an_error_that_helps() {
    let files = Files::new(&[&line("alice", "secret"), ""]);
    fs::remove_file(files.path(1)).expect("removed");
    let error = Chain::build(&files.config).err().expect("refused").to_string();
    assert!(error.contains(&files.path(1).display().to_string()), "{error}");
    assert!(error.contains("portcullis hash"), "{error}");
}

#[tokio::test]
async fn a_file_that_becomes_unreadable_stays_in_force() {
    let files = Files::new(&[&line("alice", "secret")]);
    let chain = files.chain();
    fs::remove_file(files.path(0)).expect("removed");
    chain.refresh();
    accepted(&chain, "alice", "secret").await;
    refused(&chain, "bob", "secret").await;
}

#[tokio::test]
async fn without_providers_nobody_logs_in() {
    let chain = Files::new(&[]).chain();
    assert_eq!(refused(&chain, "alice", "secret").await, LoginError::Rejected);
}

#[test]
fn problems_of_all_files_are_told() {
    let files = Files::new(&["no colon\n", "alice:plain\n"]);
    let (problems, errors) = Chain::check(&files.config);
    assert!(errors.is_empty(), "{errors:?}");
    let told: Vec<_> = problems.into_iter().map(|problem| (problem.file, problem.line)).collect();
    // Line 0: that nobody in the file can log in.
    assert_eq!(told, [(files.path(0), 1), (files.path(0), 0), (files.path(1), 1), (files.path(1), 0)]);
}

#[test]
fn every_file_that_cannot_be_read_is_told() {
    let files = Files::new(&["", "", ""]);
    [0, 2].iter().for_each(|index| fs::remove_file(files.path(*index)).expect("removed"));
    let (_, errors) = Chain::check(&files.config);
    let told: Vec<_> = errors.into_iter().map(|error| error.file.expect("a file")).collect();
    assert_eq!(told, [files.path(0), files.path(2)]);
}
