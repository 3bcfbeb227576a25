//! The one place that decides.

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};

use super::{frozen::Frozen, grant::Grant};
use crate::{
    config,
    identity::Principal,
    registry::{Action, Actions, Needs, Page, Pattern, Ranges, Read, RepositoryName, Route, UploadVerb},
};

/// Who asks, where, from where.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub principal: &'a Principal,
    /// The registry asked (its configuration entry's first host).
    pub registry: &'a config::Host,
    /// All hosts of that registry, for grants tied to `registries`.
    pub hosts: &'a [config::Host],
    pub client: IpAddr,
}

/// The grants of one configuration, compiled. Immutable; a reload makes another.
pub struct Policy {
    grants: Vec<Grant>,
    index: Index,
    /// By the registry's first host.
    frozen: HashMap<config::Host, Frozen>,
}

/// The right to send one route to the upstream. Made by [`Policy::authorize`] alone; holds the route that was judged.
///
/// It cannot be made: this compiles,
///
/// ```
/// use portcullis::{access::Permit, registry::Route};
///
/// fn forward(permit: Permit, route: Route) -> Permit {
///     permit
/// }
/// ```
///
/// and this, which differs in one line, does not,
///
/// ```compile_fail,E0451
/// use portcullis::{access::Permit, registry::Route};
///
/// fn forward(permit: Permit, route: Route) -> Permit {
///     Permit { route, grant: None, subject: None, caller: None }
/// }
/// ```
///
/// nor does a default,
///
/// ```compile_fail,E0599
/// use portcullis::{access::Permit, registry::Route};
///
/// fn forward(permit: Permit, route: Route) -> Permit {
///     Permit::default()
/// }
/// ```
///
/// nor another permit with its route changed.
///
/// ```compile_fail,E0451
/// use portcullis::{access::Permit, registry::Route};
///
/// fn forward(permit: Permit, route: Route) -> Permit {
///     Permit { route, ..permit }
/// }
/// ```
///
/// It cannot be copied: this compiles,
///
/// ```
/// use portcullis::access::Permit;
///
/// fn twice(permit: Permit, other: Permit) -> [Permit; 2] {
///     [permit, other]
/// }
/// ```
///
/// and neither of these.
///
/// ```compile_fail,E0599
/// use portcullis::access::Permit;
///
/// fn twice(permit: Permit, other: Permit) -> [Permit; 2] {
///     [permit.clone(), permit]
/// }
/// ```
///
/// ```compile_fail,E0382
/// use portcullis::access::Permit;
///
/// fn twice(permit: Permit, other: Permit) -> [Permit; 2] {
///     [permit, permit]
/// }
/// ```
///
/// What was judged cannot be changed: this compiles,
///
/// ```
/// use portcullis::{access::Permit, registry::Route};
///
/// fn divert(permit: &mut Permit, route: Route) {
///     let _ = *permit.route() == route;
/// }
/// ```
///
/// and neither of these.
///
/// ```compile_fail,E0594
/// use portcullis::{access::Permit, registry::Route};
///
/// fn divert(permit: &mut Permit, route: Route) {
///     *permit.route() = route;
/// }
/// ```
///
/// ```compile_fail,E0616
/// use portcullis::{access::Permit, registry::Route};
///
/// fn divert(permit: &mut Permit, route: Route) {
///     permit.route = route;
/// }
/// ```
#[must_use]
#[derive(Debug)]
pub struct Permit {
    route: Route,
    grant: Option<Arc<str>>,
    subject: Option<Arc<str>>,
    caller: Option<Arc<str>>,
}

impl Permit {
    /// The route that was judged: what may leave.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The name of the grant that decided; None for `/v2/` and the catalog.
    pub fn grant(&self) -> Option<&Arc<str>> {
        self.grant.as_ref()
    }

    /// Whom of that grant's `to` the caller is, as it is written there: `group:team-a`, `anyone`.
    pub fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }

    /// The name of the caller whom it was made for; None for an anonymous one.
    pub fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// What the route does to its repository; None where there is none.
    pub fn action(&self) -> Option<Action> {
        match self.route.needs() {
            Needs::Nothing | Needs::Visit | Needs::Caller => None,
            Needs::Repository { action, .. } => Some(action),
        }
    }

    /// The same catalog permit for another page of the upstream's catalog; None for any other route.
    pub fn catalog_page(&self, page: Page) -> Option<Self> {
        if !matches!(self.route, Route::Catalog { .. }) {
            return None;
        }
        Some(self.turned_to(Route::Catalog { read: Read::Get, page }))
    }

    /// The permit to ask how far the upload session has come that this permit's chunk, or its end, belongs to; None
    /// for any other route. Whoever may write to a session may ask for it.
    pub fn session_status(&self) -> Option<Self> {
        let Route::Upload { repository, verb } = &self.route else { return None };
        let (UploadVerb::Chunk { session } | UploadVerb::Finish { session, .. }) = verb else { return None };
        let verb = UploadVerb::Status { read: Read::Get, session: session.clone() };
        Some(self.turned_to(Route::Upload { repository: repository.clone(), verb }))
    }

    /// The same permit for an upload that mounts nothing: less than what was judged.
    pub fn degraded(self) -> Self {
        Self { route: self.route.degraded(), ..self }
    }

    fn turned_to(&self, route: Route) -> Self {
        Self { route, grant: self.grant.clone(), subject: self.subject.clone(), caller: self.caller.clone() }
    }
}

/// Why there is no permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A login (or another token) could help: 401. `scope` is for the challenge; `narrow` where a token was sent:
    /// `insufficient_scope`.
    Challenge { scope: Option<String>, narrow: bool },
    /// A named caller whom the policy does not allow it: 403.
    Forbidden { action: Action, repository: RepositoryName },
    /// The policy would allow it, and the repository is read-only at the moment: 403.
    ReadOnly { repository: RepositoryName },
}

/// How a caller stands to one action on one repository.
enum Standing<'p> {
    Allowed(&'p Grant),
    /// The policy allows it, and the caller's token does not carry it.
    BeyondToken,
    /// The policy does not allow it, whatever the token says.
    Refused,
}

impl Policy {
    pub fn compile(access: &config::Access) -> Self {
        let grants: Vec<Grant> = access.grants.iter().map(Grant::compile).collect();
        let index = Index::new(&grants);
        Self { grants, index, frozen: HashMap::new() }
    }

    pub(super) fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// The same policy where these registries let nobody write to what they say is read-only.
    #[must_use]
    pub fn under(self, registries: &[config::Registry]) -> Self {
        let frozen =
            registries.iter().filter_map(|registry| Some((registry.hosts.first()?.clone(), Frozen::of(registry)?)));
        Self { frozen: frozen.collect(), ..self }
    }

    /// Decides about one route; consumes it, so that what was judged is what the permit holds.
    ///
    /// A token only narrows: the policy is asked first, at every request.
    /// - The policy does not allow it: 403 for a named caller, a challenge for anybody else.
    /// - The policy allows it and the token does not carry it: a challenge with the scope to ask for.
    /// - The policy allows it and the repository is read-only: 403, for writes.
    /// - `/v2/` and the catalog are open to any accepted caller; nothing sent is a challenge. So it is with the web UI,
    ///   unless something is for anyone who asks from there.
    ///
    /// A mount needs push on the target and pull on the source. Where the policy forbids the second, the permit's route is
    /// [degraded](Route::degraded) to an upload start, whether or not the source exists: clients mount by guesswork, and a
    /// refusal would break a good push. Where only the token lacks it, the challenge names both scopes.
    ///
    /// # Errors
    /// A [`Denial`], which says whether a login or another token could help.
    pub fn authorize(&self, asker: Asker<'_>, route: Route) -> Result<Permit, Denial> {
        let caller = asker.principal.as_user().map(|user| Arc::clone(&user.name));
        let (target, action, source) = match route.needs() {
            Needs::Nothing => return Ok(Permit { route, grant: None, subject: None, caller }),
            Needs::Visit if self.grants.iter().any(|grant| grant.serves_visitor(asker)) => {
                return Ok(Permit { route, grant: None, subject: None, caller });
            }
            Needs::Visit | Needs::Caller if nothing_sent(asker.principal) => {
                return Err(Denial::Challenge { scope: route.challenge_scope(), narrow: false });
            }
            Needs::Visit | Needs::Caller => return Ok(Permit { route, grant: None, subject: None, caller }),
            Needs::Repository { repository, action, source } => (repository, action, source),
        };
        let (grant, subject) = match self.standing(asker, target, action) {
            Standing::Allowed(grant) => (Some(Arc::clone(&grant.name)), grant.subject(asker.principal).cloned()),
            Standing::BeyondToken => return Err(challenge(asker, &route)),
            Standing::Refused if asker.principal.name().is_some() => {
                return Err(Denial::Forbidden { action, repository: target.clone() });
            }
            Standing::Refused => return Err(challenge(asker, &route)),
        };
        if let Some(denial) = self.freezes(asker.registry, &route) {
            return Err(denial);
        }
        match source.map(|source| self.standing(asker, source, Action::Pull)) {
            None | Some(Standing::Allowed(_)) => Ok(Permit { route, grant, subject, caller }),
            Some(Standing::BeyondToken) => Err(challenge(asker, &route)),
            Some(Standing::Refused) => Ok(Permit { route: route.degraded(), grant, subject, caller }),
        }
    }

    /// The denial of a route that would change what is read-only, whoever asks. `registry` is as in [`Asker`].
    pub fn freezes(&self, registry: &config::Host, route: &Route) -> Option<Denial> {
        let repository = route.repository()?;
        let forbids = self.frozen.get(registry)?.forbids(route, repository);
        forbids.then(|| Denial::ReadOnly { repository: repository.clone() })
    }

    /// True where nobody may write to the repository at the moment. `registry` is as in [`Asker`].
    pub fn is_read_only(&self, registry: &config::Host, repository: &RepositoryName) -> bool {
        self.frozen.get(registry).is_some_and(|frozen| frozen.holds(repository))
    }

    /// The name of a grant that would allow it if the client asked from another network: why somebody is refused, for the
    /// log alone.
    pub fn allows_elsewhere(&self, asker: Asker<'_>, repository: &RepositoryName, action: Action) -> Option<Arc<str>> {
        self.candidates(repository)
            .filter(|grant| grant.wants_another_network(asker, repository, action))
            .min_by_key(|grant| grant.line)
            .map(|grant| Arc::clone(&grant.name))
    }

    /// What the policy allows the caller on a repository, before any token limit. `acl explain`'s question.
    pub fn allowed(&self, asker: Asker<'_>, repository: &RepositoryName) -> Actions {
        self.candidates(repository).map(|grant| grant.gives(asker, repository)).fold(Actions::NONE, Actions::union)
    }

    /// What a token for the caller may carry on a repository: what the policy allows and a deploy token leaves.
    pub fn grantable(&self, asker: Asker<'_>, repository: &RepositoryName) -> Actions {
        self.allowed(asker, repository).intersection(asker.principal.reaches(repository))
    }

    /// True where the catalog may show the name: the policy allows pull, and so does the deploy token that the caller
    /// came by. An access token needs no scope for it.
    pub fn shows(&self, asker: Asker<'_>, repository: &RepositoryName) -> bool {
        asker.principal.reaches(repository).contains(Action::Pull)
            && self.deciding(asker, repository, Action::Pull).is_some()
    }

    /// True where a registry with these hosts has something for callers without credentials.
    pub fn serves_anyone(&self, hosts: &[config::Host]) -> bool {
        self.grants.iter().any(|grant| grant.serves_anyone(hosts))
    }

    /// Where the names lie that [`Policy::shows`] may be true for: every such name is in one of the ranges.
    pub fn ranges(&self, asker: Asker<'_>) -> Ranges {
        let pulling = self.grants.iter().filter(|grant| grant.actions.contains(Action::Pull));
        Ranges::new(pulling.flat_map(|grant| grant.spans(asker)))
    }

    /// A grant that allows the action; the first in the file among those that the index finds.
    pub(super) fn deciding(&self, asker: Asker<'_>, repository: &RepositoryName, action: Action) -> Option<&Grant> {
        self.candidates(repository)
            .filter(|grant| grant.actions.contains(action) && grant.gives(asker, repository).contains(action))
            .min_by_key(|grant| grant.line)
    }

    /// Every grant whose `repositories` could match the name, in no order; a grant may come more than once.
    pub(super) fn candidates(&self, repository: &RepositoryName) -> impl Iterator<Item = &Grant> {
        self.index.find(repository.as_str()).filter_map(|position| self.grants.get(position))
    }

    fn standing(&self, asker: Asker<'_>, repository: &RepositoryName, action: Action) -> Standing<'_> {
        let within_token = || asker.principal.carries(repository).contains(action);
        match self.deciding(asker, repository, action) {
            None => Standing::Refused,
            Some(grant) if within_token() => Standing::Allowed(grant),
            Some(_) => Standing::BeyondToken,
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("grants", &self.grants.len()).finish()
    }
}

fn nothing_sent(principal: &Principal) -> bool {
    principal.name().is_none() && principal.limit().is_none()
}

fn challenge(asker: Asker<'_>, route: &Route) -> Denial {
    Denial::Challenge { scope: route.challenge_scope(), narrow: asker.principal.limit().is_some() }
}

/// Grants by the literal segments that their patterns begin with, so that a name meets only the grants on its own path.
struct Index {
    by_prefix: HashMap<Box<str>, Vec<usize>>,
    /// The most segments in a prefix: a deep name costs no more look-ups than this.
    depth: usize,
}

impl Index {
    fn new(grants: &[Grant]) -> Self {
        let mut index = Self { by_prefix: HashMap::new(), depth: 0 };
        for (position, grant) in grants.iter().enumerate() {
            for pattern in grant.patterns() {
                index.add(pattern, position);
            }
        }
        index
    }

    fn add(&mut self, pattern: &Pattern, position: usize) {
        let literal: Vec<&str> = pattern.as_str().split('/').take_while(|segment| is_literal(segment)).collect();
        self.depth = self.depth.max(literal.len());
        let positions = self.by_prefix.entry(literal.join("/").into()).or_default();
        if positions.last() != Some(&position) {
            positions.push(position);
        }
    }

    fn find(&self, name: &str) -> impl Iterator<Item = usize> {
        let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
        let prefixes = ends.filter_map(move |end| name.get(..end)).take(self.depth);
        [""].into_iter().chain(prefixes).filter_map(|prefix| self.by_prefix.get(prefix)).flatten().copied()
    }
}

/// True for a segment that can only match itself. Whatever else a pattern may hold ends the prefix, which is always safe:
/// a shorter prefix finds more grants, and each is asked in full.
fn is_literal(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests;
