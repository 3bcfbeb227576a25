//! Docker token scopes, both ways (protocol: distribution `docs/content/spec/auth/scope.md`).

use std::fmt;

use super::{Action, Actions, OwnHosts, RepositoryName};

/// What a scope is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    Repository(RepositoryName),
    /// The list of all repositories, `registry:catalog`. Its one action is `*`.
    Catalog,
}

/// One entry of a token's `access` claim or of a scope string, already in our grammar. Prints as
/// `repository:a/b:pull,push` or `registry:catalog:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub resource: Resource,
    /// [`Actions::ALL`] for the catalog.
    pub actions: Actions,
}

impl Scope {
    /// Reads one requested scope, `type:name:action,action`: the type ends at the first colon, the actions begin after
    /// the last.
    ///
    /// Types are `repository`, its old class form `repository(plugin)`, and `registry` with the name `catalog`. Only the
    /// exact words `pull`, `push`, `delete` and `*` count as actions, where `*` asks for all of them; other words are
    /// passed over. `None` where type or name are unknown or no action is left.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let kind = if kind == "repository(plugin)" { "repository" } else { kind };
        Self::from_claim(kind, name, actions.split(','))
    }

    /// Rebuilds a scope from an entry `{type, name, actions}` of an `access` claim. Each element of `actions` is one
    /// word, `*` means all; names are literal, never patterns. `None` as in [`Scope::parse`].
    pub fn from_claim<W: AsRef<str>>(kind: &str, name: &str, actions: impl IntoIterator<Item = W>) -> Option<Self> {
        let mut granted = Actions::NONE;
        let mut every = false;
        for word in actions {
            match Action::parse(word.as_ref()) {
                Some(action) => granted = granted.with(action),
                None => every |= word.as_ref() == "*",
            }
        }
        match kind {
            "repository" => {
                let actions = if every { Actions::ALL } else { granted };
                let resource = Resource::Repository(RepositoryName::parse(name).ok()?);
                (!actions.is_empty()).then_some(Self { resource, actions })
            }
            "registry" => (name == "catalog" && every).then(Self::catalog),
            _ => None,
        }
    }

    pub fn repository(name: RepositoryName, actions: Actions) -> Self {
        Self { resource: Resource::Repository(name), actions }
    }

    pub fn catalog() -> Self {
        Self { resource: Resource::Catalog, actions: Actions::ALL }
    }

    /// The `type` of the claim entry: `repository` or `registry`.
    pub fn kind(&self) -> &'static str {
        match self.resource {
            Resource::Repository(_) => "repository",
            Resource::Catalog => "registry",
        }
    }

    /// The `name` of the claim entry.
    pub fn name(&self) -> &str {
        match &self.resource {
            Resource::Repository(name) => name.as_str(),
            Resource::Catalog => "catalog",
        }
    }

    /// The `actions` of the claim entry, in fixed order; a repository's are always spelled out, never `*`.
    pub fn action_words(&self) -> Vec<&'static str> {
        match self.resource {
            Resource::Repository(_) => self.actions.iter().map(Action::as_str).collect(),
            Resource::Catalog => vec!["*"],
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Resource::Repository(name) => write!(f, "repository:{name}:{}", self.actions),
            Resource::Catalog => f.write_str("registry:catalog:*"),
        }
    }
}

/// Scopes merged by resource, in order of first mention. Prints blank-separated, as challenges and OAuth2 answers do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet {
    scopes: Vec<Scope>,
}

impl ScopeSet {
    /// At most this many entries are kept; what comes later is dropped, which can only narrow.
    pub const MAX: usize = 64;

    /// Adds every readable entry of a blank-separated scope string; unreadable entries (see [`Scope::parse`]) are ignored.
    pub fn add_requested(&mut self, text: &str) {
        for scope in text.split(' ').filter_map(Scope::parse) {
            self.add(scope);
        }
    }

    /// Adds what a Notary client asks for, which names a repository with a host of the registry before it:
    /// `repository:registry.example.com/a/b:push,pull` is for `a/b`. Entries without such a host are ignored.
    pub fn add_requested_for_trust(&mut self, text: &str, own: &OwnHosts) {
        for piece in text.split(' ') {
            if let Some((kind, rest)) = piece.split_once(':')
                && let Some((name, actions)) = rest.rsplit_once(':')
                && let Some(name) = own.strip(name)
                && let Some(scope) = Scope::from_claim(kind, name, actions.split(','))
            {
                self.add(scope);
            }
        }
    }

    /// Merges one scope (union of actions); one without actions is ignored.
    pub fn add(&mut self, scope: Scope) {
        if scope.actions.is_empty() {
            return;
        }
        if let Some(known) = self.scopes.iter_mut().find(|known| known.resource == scope.resource) {
            known.actions = known.actions.union(scope.actions);
        } else if self.scopes.len() < Self::MAX {
            self.scopes.push(scope);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// The actions this set holds on a repository.
    pub fn actions_on(&self, repository: &RepositoryName) -> Actions {
        self.scopes
            .iter()
            .find(|scope| matches!(&scope.resource, Resource::Repository(name) if name == repository))
            .map_or(Actions::NONE, |scope| scope.actions)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.scopes.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            scope.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
