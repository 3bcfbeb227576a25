//! What a deploy token is limited to: patterns with actions, `team-a/**:pull,push`.

use std::fmt;

use super::{Action, Actions, Pattern, PatternError, RepositoryName};

/// A repository pattern and the actions on what it matches. Prints as it is written, actions in fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopePattern {
    pattern: Pattern,
    actions: Actions,
}

/// Why a text is no [`ScopePattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopePatternError {
    #[error("{0:?} names no actions: write PATTERN:ACTIONS, like team-a/**:pull,push")]
    NoActions(String),
    #[error("{0:?} is not an action: pull, push or delete")]
    Action(String),
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl ScopePattern {
    /// Reads `PATTERN:ACTION,ACTION`, where the pattern is one of a grant's `repositories` and an action is `pull`,
    /// `push` or `delete`.
    pub fn parse(text: &str) -> Result<Self, ScopePatternError> {
        let (pattern, words) = text.rsplit_once(':').ok_or_else(|| ScopePatternError::NoActions(text.to_owned()))?;
        let actions = words
            .split(',')
            .map(|word| Action::parse(word).ok_or_else(|| ScopePatternError::Action(word.to_owned())))
            .collect::<Result<_, _>>()?;
        Ok(Self { pattern: Pattern::parse(pattern)?, actions })
    }

    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    pub fn actions(&self) -> Actions {
        self.actions
    }
}

impl fmt::Display for ScopePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pattern.as_str(), self.actions)
    }
}

/// Several of them: what one allows, all together allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopePatterns(Vec<ScopePattern>);

impl ScopePatterns {
    /// The actions they leave on a repository; `user` is what `$user` stands for.
    pub fn actions_on(&self, repository: &RepositoryName, user: Option<&str>) -> Actions {
        let matching = self.0.iter().filter(|scope| scope.pattern.matches(repository, user));
        matching.map(|scope| scope.actions).fold(Actions::NONE, Actions::union)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ScopePattern> {
        self.0.iter()
    }
}

impl FromIterator<ScopePattern> for ScopePatterns {
    fn from_iter<I: IntoIterator<Item = ScopePattern>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    #[test]
    fn reads_what_it_prints() {
        for (text, printed) in [
            ("team-a/**:pull,push", "team-a/**:pull,push"),
            ("**:pull", "**:pull"),
            ("home/$user/*:delete,pull,pull", "home/$user/*:pull,delete"),
        ] {
            let scope = ScopePattern::parse(text).unwrap();
            assert_eq!(scope.to_string(), printed);
            assert_eq!(ScopePattern::parse(printed), Ok(scope));
        }
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for text in [
            "",
            "team-a/**",
            "team-a:",
            "team-a:*",
            "team-a:PULL",
            "team-a: pull",
            ":pull",
            "a//b:pull",
            "a*:pull",
            "A/b:pull",
            "repository:a:pull",
            "a:pull,",
            "a:pull push",
        ] {
            assert!(ScopePattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_one_allows_all_allow() {
        let scopes: ScopePatterns = ["team-a/**:pull", "team-a/app:push", "home/$user/**:pull,delete"]
            .into_iter()
            .map(|text| ScopePattern::parse(text).unwrap())
            .collect();
        let on = |repository: &str, user| scopes.actions_on(&name(repository), user).to_string();
        assert_eq!(on("team-a/app", None), "pull,push");
        assert_eq!(on("team-a/other", Some("ci")), "pull");
        assert_eq!(on("team-ab", Some("ci")), "");
        assert_eq!(on("home/ci/x", Some("ci")), "pull,delete");
        assert_eq!(on("home/ci/x", Some("bob")), "");
        assert_eq!(on("home/ci/x", None), "");
        assert!(ScopePatterns::default().actions_on(&name("a"), None).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,40}") {
            if let Ok(scope) = ScopePattern::parse(&text) {
                prop_assert_eq!(ScopePattern::parse(&scope.to_string()), Ok(scope));
            }
        }
    }
}
