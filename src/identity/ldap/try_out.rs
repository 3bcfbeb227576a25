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
    config::{self, LdapFind, LdapGroupSource, Severity},
    tls::FileFault,
};

/// How long a server may take to answer when a configuration is checked.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stands in the way of asking a directory.
#[derive(Debug)]
pub struct DirectoryProblem {
    /// The place of the server among the configured ones.
    pub server: usize,
    pub trouble: DirectoryTrouble,
    /// An error is what only another configuration mends, and what keeps logins from working: not what is wrong with one
    /// server where another of the directory answers.
    pub severity: Severity,
}

/// What is wrong with a server, or with what is asked of it.
#[derive(Debug)]
pub enum DirectoryTrouble {
    /// It cannot be reached at the moment, which would not keep the gate from starting.
    Unreachable(String),
    /// TLS, or the server itself, does not let us in.
    Refused(String),
    /// The service account's name or password.
    Service(String),
    /// There is nothing where a search is to begin, or nothing that the service account may see; at this key.
    Baseless(&'static str),
}

/// Whether the files can be used.
pub(in crate::identity) fn check(settings: &config::Ldap) -> Result<(), FileFault> {
    wire::client_config(&Files::read(settings)?.roots).map(drop)
}

/// Asks every server who has a name that nobody has.
pub(in crate::identity) async fn try_out(settings: &config::Ldap) -> Result<Vec<DirectoryProblem>, FileFault> {
    let files = Files::read(settings)?;
    let tls = wire::client_config(&files.roots)?;
    let mut found = Vec::new();
    for address in &settings.servers {
        let (service, tls) = (files.service.clone(), Arc::clone(&tls));
        let server = Server::new(Arc::from("check"), address.clone(), tls, service, 1, false);
        let deadline = time::Instant::now() + settings.timeout.min(PATIENCE);
        let session = Session { server: &server, settings, deadline };
        let fault = if settings.asks_as_user() {
            server.proving(session.deadline).await.map(drop).err()
        } else {
            session.answer(&Question::Look { user: "portcullis-check".to_owned() }).await.map(drop).err()
        };
        found.push(match fault {
            Some(fault) => vec![trouble(&fault)],
            None => baseless(&session).await,
        });
    }
    Ok(judge(found))
}

/// A search below what is not there finds nobody, and looks like an unknown user.
async fn baseless(session: &Session<'_>) -> Vec<DirectoryTrouble> {
    let mut troubles = Vec::new();
    for (key, base) in bases(session.settings) {
        match session.is_baseless(base).await {
            Ok(true) => troubles.push(DirectoryTrouble::Baseless(key)),
            Ok(false) => {}
            Err(fault) => troubles.push(trouble(&fault)),
        }
    }
    troubles
}

/// What was found at each server, with what it means for the directory as a whole.
fn judge(found: Vec<Vec<DirectoryTrouble>>) -> Vec<DirectoryProblem> {
    let answered = found.iter().any(|troubles| {
        let mut troubles = troubles.iter();
        troubles.all(|trouble| matches!(trouble, DirectoryTrouble::Baseless(_)))
    });
    let severity = |trouble: &DirectoryTrouble| match trouble {
        DirectoryTrouble::Unreachable(_) => Severity::Warning,
        DirectoryTrouble::Refused(_) | DirectoryTrouble::Service(_) if answered => Severity::Warning,
        DirectoryTrouble::Refused(_) | DirectoryTrouble::Service(_) | DirectoryTrouble::Baseless(_) => Severity::Error,
    };
    let at = |(server, troubles): (usize, Vec<DirectoryTrouble>)| {
        troubles.into_iter().map(move |trouble| DirectoryProblem { server, severity: severity(&trouble), trouble })
    };
    found.into_iter().enumerate().flat_map(at).collect()
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

fn trouble(fault: &Fault) -> DirectoryTrouble {
    let reason = fault.to_string();
    match fault {
        Fault::Connect(_) | Fault::Timeout { .. } | Fault::Late(_) | Fault::Crowded | Fault::Lost(_) => {
            DirectoryTrouble::Unreachable(reason)
        }
        Fault::Tls(_) | Fault::StartTls(_) | Fault::Result(_) | Fault::Answer(_) => DirectoryTrouble::Refused(reason),
        Fault::Service(_) => DirectoryTrouble::Service(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_one_server_is_no_error_where_another_answers() {
        use DirectoryTrouble::{Baseless, Refused, Service, Unreachable};
        let (refused, service) = (|| Refused(String::new()), || Service(String::new()));
        let down = || Unreachable(String::new());
        let severities = |found| judge(found).into_iter().map(|problem| problem.severity).collect::<Vec<_>>();
        let (error, warning) = (Severity::Error, Severity::Warning);
        for (found, expected) in [
            (vec![vec![refused()], vec![]], vec![warning]),
            (vec![vec![], vec![service()], vec![down()]], vec![warning, warning]),
            (vec![vec![refused()], vec![service()]], vec![error, error]),
            (vec![vec![refused()], vec![down()]], vec![error, warning]),
            (vec![vec![Baseless("users.base"), refused()], vec![service()]], vec![error, error, error]),
            (vec![vec![Baseless("users.base")], vec![service()]], vec![error, warning]),
            (vec![vec![Baseless("users.base")], vec![]], vec![error]),
            (vec![vec![], vec![]], vec![]),
        ] {
            let shown = format!("{found:?}");
            assert_eq!(severities(found), expected, "{shown}");
        }
    }
}
