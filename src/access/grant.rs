//! One compiled grant.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{Asker, Given, GrantPlace};
use crate::{
    config::{self, GroupKey, Host, Subject},
    identity::Principal,
    registry::{Action, Actions, Pattern, RepositoryName, Span},
};

#[derive(Debug)]
pub(super) struct Grant {
    pub(super) name: Arc<str>,
    pub(super) line: usize,
    pub(super) actions: Actions,
    repositories: Vec<Pattern>,
    except: Vec<Pattern>,
    to: Vec<Addressee>,
    from: Vec<IpNet>,
    registries: Vec<Host>,
}

/// One of those whom a grant is for.
#[derive(Debug)]
struct Addressee {
    subject: Subject,
    /// Of a group, as a directory's groups are compared.
    directory_group: Option<GroupKey>,
    /// As it is written in the configuration.
    text: Arc<str>,
}

/// Why a grant whose `repositories` match a name does not apply to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The grant's own `except` takes the repository out; the pattern that does.
    Excepted(String),
    /// Nobody in `to` is the caller; whom the grant names.
    Subject(String),
    /// The client is in none of the networks in `from`.
    Network { client: IpAddr, from: String },
    /// The registry asked is none of `registries`.
    Registry { asked: String, registries: String },
    /// The grant applies, but to other actions.
    Action(Actions),
}

impl Grant {
    pub(super) fn compile(grant: &config::Grant) -> Self {
        Self {
            name: grant.name.as_str().into(),
            line: grant.line,
            actions: grant.actions,
            repositories: grant.repositories.clone(),
            except: grant.except.clone(),
            to: grant.to.iter().map(Addressee::new).collect(),
            from: grant.from.clone(),
            registries: grant.registries.clone(),
        }
    }

    pub(super) fn given(&self) -> Given {
        Given {
            grant: GrantPlace::of(self),
            actions: self.actions,
            repositories: self.repositories.clone(),
            except: self.except.clone(),
            to: self.to.iter().map(|addressee| addressee.subject.clone()).collect(),
            from: self.from.iter().map(ToString::to_string).collect(),
            registries: self.registries.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.repositories.iter()
    }

    /// True where the grant is for callers without credentials too, on a registry with these hosts.
    pub(super) fn serves_anyone(&self, hosts: &[Host]) -> bool {
        self.to.iter().any(|addressee| addressee.subject == Subject::Anyone) && self.holds_on(hosts)
    }

    /// True where the asker gets something by it without a login.
    pub(super) fn serves_visitor(&self, asker: Asker<'_>) -> bool {
        self.serves_anyone(asker.hosts) && self.holds_from(asker.client)
    }

    /// Spans that hold every name on which this grant gives the caller any action.
    pub(super) fn spans(&self, asker: Asker<'_>) -> Vec<Span> {
        if !(self.is_for(asker.principal) && self.holds_from(asker.client) && self.holds_on(asker.hosts)) {
            return Vec::new();
        }
        let user = asker.principal.name();
        self.repositories.iter().flat_map(|pattern| pattern.spans(user)).collect()
    }

    /// The actions this grant gives the caller on a repository.
    pub(super) fn gives(&self, asker: Asker<'_>, repository: &RepositoryName) -> Actions {
        if self.covers(asker, repository) && self.hurdles(asker, repository).next().is_none() {
            self.actions
        } else {
            Actions::NONE
        }
    }

    /// True where one of `repositories` matches, whatever else stands in the way.
    pub(super) fn covers(&self, asker: Asker<'_>, repository: &RepositoryName) -> bool {
        self.lists(repository, asker.principal.name())
    }

    /// True where the repository is one of the grant's for this user, whoever is in `to`.
    pub(super) fn reaches(&self, repository: &RepositoryName, user: Option<&str>) -> bool {
        self.lists(repository, user) && self.excepting(repository, user).is_none()
    }

    fn lists(&self, repository: &RepositoryName, user: Option<&str>) -> bool {
        self.repositories.iter().any(|pattern| pattern.matches(repository, user))
    }

    fn excepting(&self, repository: &RepositoryName, user: Option<&str>) -> Option<&Pattern> {
        self.except.iter().find(|pattern| pattern.matches(repository, user))
    }

    /// Everything but the action that keeps the grant from applying; none where it applies.
    pub(super) fn obstacles(&self, asker: Asker<'_>, repository: &RepositoryName) -> impl Iterator<Item = Obstacle> {
        self.hurdles(asker, repository).map(move |hurdle| self.describe(hurdle, asker))
    }

    /// The conditions that fail, checked one after the other as they are asked for.
    fn hurdles(&self, asker: Asker<'_>, repository: &RepositoryName) -> impl Iterator<Item = Hurdle<'_>> {
        let checks: [Check; 4] = [Self::check_except, Self::check_subject, Self::check_network, Self::check_registry];
        checks.into_iter().filter_map(move |check| check(self, asker, repository))
    }

    fn check_except(&self, asker: Asker<'_>, repository: &RepositoryName) -> Option<Hurdle<'_>> {
        self.excepting(repository, asker.principal.name()).map(Hurdle::Except)
    }

    fn check_subject(&self, asker: Asker<'_>, _: &RepositoryName) -> Option<Hurdle<'_>> {
        (!self.is_for(asker.principal)).then_some(Hurdle::Subject)
    }

    fn check_network(&self, asker: Asker<'_>, _: &RepositoryName) -> Option<Hurdle<'_>> {
        (!self.holds_from(asker.client)).then_some(Hurdle::Network)
    }

    fn check_registry(&self, asker: Asker<'_>, _: &RepositoryName) -> Option<Hurdle<'_>> {
        (!self.holds_on(asker.hosts)).then_some(Hurdle::Registry)
    }

    /// True where the caller is one of `to`.
    pub(super) fn is_for(&self, principal: &Principal) -> bool {
        self.to.iter().any(|addressee| addressee.is(principal))
    }

    /// The first of `to` that the caller is, as it is written there.
    pub(super) fn subject(&self, principal: &Principal) -> Option<&Arc<str>> {
        self.to.iter().find(|addressee| addressee.is(principal)).map(|addressee| &addressee.text)
    }

    /// True where it would allow the action if the client were in another network.
    pub(super) fn wants_another_network(&self, asker: Asker<'_>, repository: &RepositoryName, action: Action) -> bool {
        let mut hurdles = self.hurdles(asker, repository);
        self.actions.contains(action)
            && self.covers(asker, repository)
            && matches!((hurdles.next(), hurdles.next()), (Some(Hurdle::Network), None))
    }

    /// True where the client is in one of its networks.
    pub(super) fn holds_from(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.from.is_empty() || self.from.iter().any(|network| network.contains(&client))
    }

    /// True where a registry with these hosts is one of its registries.
    pub(super) fn holds_on(&self, hosts: &[Host]) -> bool {
        self.registries.is_empty() || self.registries.iter().any(|host| hosts.contains(host))
    }

    fn describe(&self, hurdle: Hurdle<'_>, asker: Asker<'_>) -> Obstacle {
        match hurdle {
            Hurdle::Except(pattern) => Obstacle::Excepted(pattern.as_str().to_owned()),
            Hurdle::Subject => Obstacle::Subject(listed(self.to.iter().map(|addressee| &addressee.text))),
            Hurdle::Network => Obstacle::Network { client: asker.client.to_canonical(), from: listed(&self.from) },
            Hurdle::Registry => {
                Obstacle::Registry { asked: asker.registry.to_string(), registries: listed(&self.registries) }
            }
        }
    }
}

type Check = for<'g> fn(&'g Grant, Asker<'_>, &RepositoryName) -> Option<Hurdle<'g>>;

/// An obstacle before it is put into words, which the way of a request does without.
#[derive(Clone, Copy)]
enum Hurdle<'g> {
    Except(&'g Pattern),
    Subject,
    Network,
    Registry,
}

fn directory_group(subject: &Subject) -> Option<GroupKey> {
    match subject {
        Subject::Group(name) => GroupKey::of_grant(name),
        Subject::Anyone | Subject::Authenticated | Subject::User(_) => None,
    }
}

/// True where the caller is the subject, by a group of a directory too.
pub(super) fn is_subject(subject: &Subject, principal: &Principal) -> bool {
    Addressee::new(subject).is(principal)
}

impl Addressee {
    fn new(subject: &Subject) -> Self {
        let directory_group = directory_group(subject);
        Self { subject: subject.clone(), directory_group, text: subject.to_string().into() }
    }

    fn is(&self, principal: &Principal) -> bool {
        let is_in = |group: &GroupKey| principal.as_user().is_some_and(|user| user.directory_groups.contains(group));
        names(&self.subject, principal) || self.directory_group.as_ref().is_some_and(is_in)
    }
}

/// True where the caller is the subject, a directory's groups left out. Names are compared byte by byte: a user called `*` is only itself.
fn names(subject: &Subject, principal: &Principal) -> bool {
    match (subject, principal.as_user()) {
        (Subject::Anyone, _) | (Subject::Authenticated, Some(_)) => true,
        (Subject::User(name), Some(user)) => **name == *user.name,
        (Subject::Group(name), Some(user)) => user.groups.iter().any(|group| **group == **name),
        (Subject::Authenticated | Subject::User(_) | Subject::Group(_), None) => false,
    }
}

fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excepted(pattern) => write!(f, "its except {pattern:?} takes the repository out"),
            Self::Subject(to) => write!(f, "it is for {to}, and the caller is none of these"),
            Self::Network { client, from } => {
                write!(f, "it holds from {from}, and the client is {client}")
            }
            Self::Registry { asked, registries } => {
                write!(f, "it holds on {registries}, and {asked} is asked")
            }
            Self::Action(actions) => write!(f, "it allows {actions} only"),
        }
    }
}
