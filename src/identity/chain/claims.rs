//! Whose a name is, in whatever spelling it was typed.

use super::{Chain, LoginError, member::Member};
use crate::identity::{BasicCredentials, Standing, spelling};

impl Chain {
    /// True where a provider's user may act under the name that the provider gives it.
    pub(super) async fn admits(
        &self,
        place: usize,
        login: &BasicCredentials,
        standing: &Standing,
    ) -> Result<bool, LoginError> {
        let banned = self.members.get(place).is_none_or(|member| self.bans(member, &standing.name));
        Ok(!banned && !self.is_taken(place, &login.username, &standing.name).await?)
    }

    /// True where the configuration disables a provider's user.
    pub(super) fn bans(&self, member: &Member, name: &str) -> bool {
        let folds = member.provider.folds_names();
        self.disabled.contains(name) || folds && self.disabled_folded.contains(&spelling::folded(name))
    }

    /// True where a name that was typed otherwise is that of a provider before this one, which was asked about what was
    /// typed alone.
    pub(super) async fn is_taken(&self, place: usize, typed: &str, name: &str) -> Result<bool, LoginError> {
        if typed == name {
            return Ok(false);
        }
        for earlier in self.members.iter().take(place) {
            if earlier.observe(earlier.provider.knows(name).await)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
