//! The users of the default configuration.

use std::sync::OnceLock;

/// Name and password of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Login {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
}

impl Login {
    pub(crate) const fn new(name: &'static str, password: &'static str) -> Self {
        Self { name, password }
    }
}

/// In the group `team-a`.
pub(crate) const ALICE: Login = Login::new("alice", "alice's password");
/// In the group `team-b`.
pub(crate) const BOB: Login = Login::new("bob", "bob: with a colon");
/// In no group.
pub(crate) const CI: Login = Login::new("ci", "ci pässwörd");
/// May do everything.
pub(crate) const ADMIN: Login = Login::new("admin", "admin-password");

/// A line with bcrypt at a low cost.
pub(crate) fn htpasswd_line(login: Login) -> String {
    format!("{}:{}\n", login.name, bcrypt::hash(login.password, 5).unwrap())
}

/// The users of the default configuration.
pub(crate) fn default_htpasswd() -> &'static str {
    static LINES: OnceLock<String> = OnceLock::new();
    LINES.get_or_init(|| [ALICE, BOB, CI, ADMIN].map(htpasswd_line).concat())
}
