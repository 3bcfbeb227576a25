//! Whether a directory can be asked with its configuration.

use std::{sync::Arc, time::Duration};

use tokio::time;

use super::{
    Files,
    fault::Fault,
    servers::Server,
    session::{Question, Session},
    wire,
};
use crate::{
    config::{self, LdapFind, LdapGroupSource},
    tls::FileFault,
};

/// How long a server may take to answer when a configuration is checked.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stands in the way of asking a directory.
#[derive(Debug)]
pub enum DirectoryProblem {
    /// A server that cannot be reached at the moment, and would not keep the gate from starting.
    Unreachable { server: usize, reason: String },
    /// TLS, or the server itself, does not let us in.
    Refused { server: usize, reason: String },
    /// The service account's name or password.
    Service { server: usize, reason: String },
    /// There is nothing where a search is to begin, or nothing that the service account may see.
    Baseless { server: usize, key: &'static str },
}

/// Whether the files can be used.
pub(in crate::identity) fn check(settings: &config::Ldap) -> Result<(), FileFault> {
    wire::client_config(&Files::read(settings)?.roots).map(drop)
}

/// Asks every server who has a name that nobody has.
pub(in crate::identity) async fn try_out(settings: &config::Ldap) -> Result<Vec<DirectoryProblem>, FileFault> {
    let files = Files::read(settings)?;
    let tls = wire::client_config(&files.roots)?;
    let mut problems = Vec::new();
    for (place, address) in settings.servers.iter().enumerate() {
        let server = Server::new(Arc::from("check"), address.clone(), Arc::clone(&tls), files.service.clone(), 1);
        let deadline = time::Instant::now() + settings.timeout.min(PATIENCE);
        let session = Session { server: &server, settings, deadline };
        let fault = if settings.asks_as_user() {
            server.proving(session.deadline).await.map(drop).err()
        } else {
            session.answer(&Question::Look { user: "portcullis-check".to_owned() }).await.map(drop).err()
        };
        problems.extend(match fault {
            Some(fault) => vec![judge(place, &fault)],
            None => baseless(&session, place).await,
        });
    }
    Ok(problems)
}

/// A search below what is not there finds nobody, and looks like an unknown user.
async fn baseless(session: &Session<'_>, server: usize) -> Vec<DirectoryProblem> {
    let mut problems = Vec::new();
    for (key, base) in bases(session.settings) {
        match session.is_baseless(base).await {
            Ok(true) => problems.push(DirectoryProblem::Baseless { server, key }),
            Ok(false) => {}
            Err(fault) => problems.push(judge(server, &fault)),
        }
    }
    problems
}

/// Where searches begin, and the keys that say so.
fn bases(settings: &config::Ldap) -> impl Iterator<Item = (&'static str, &str)> {
    let users = match &settings.users.find {
        LdapFind::Search { base, .. } => Some(("users.base", base.as_str())),
        LdapFind::Direct { .. } => None,
    };
    let groups = settings.groups.as_ref().and_then(|groups| match &groups.source {
        LdapGroupSource::Search { base, .. } => Some(("groups.base", base.as_str())),
        LdapGroupSource::Attribute { .. } => None,
    });
    // One that is asked as the user shows its own to nobody else.
    users.into_iter().chain(groups).filter(|_| !settings.asks_as_user())
}

fn judge(server: usize, fault: &Fault) -> DirectoryProblem {
    let reason = fault.to_string();
    match fault {
        Fault::Connect(_) | Fault::Timeout { .. } | Fault::Late(_) | Fault::Crowded | Fault::Lost(_) => {
            DirectoryProblem::Unreachable { server, reason }
        }
        Fault::Tls(_) | Fault::StartTls(_) | Fault::Result(_) | Fault::Answer(_) => {
            DirectoryProblem::Refused { server, reason }
        }
        Fault::Service(_) => DirectoryProblem::Service { server, reason },
    }
}
