//! What an upstream is shown of us.

use http::HeaderValue;

use super::{Error, SetupError};
use crate::{
    access::Permit,
    config,
    token::{KeyError, Minter},
};

/// What the upstream is shown of us; never anything that a client sent.
pub(super) enum Credentials {
    None,
    Basic(HeaderValue),
    /// A token for each permit.
    Token(Minter),
}

impl Credentials {
    /// With a minter a token for each permit; without one, the configured credentials if any.
    pub(super) fn new(upstream: &config::Upstream, minter: Option<Minter>) -> Result<Self, SetupError> {
        Ok(match (minter, &upstream.credentials) {
            (Some(minter), _) => Self::Token(minter),
            (None, Some(credentials)) => Self::Basic(basic_header(credentials)?),
            (None, None) => Self::None,
        })
    }

    /// What does not depend on a permit.
    pub(super) fn lasting(&self) -> Option<HeaderValue> {
        match self {
            Self::Basic(value) => Some(value.clone()),
            Self::None | Self::Token(_) => None,
        }
    }

    /// True where the upstream could not tell them apart.
    pub(super) fn are(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::None, Self::None) => true,
            (Self::Basic(one), Self::Basic(other)) => one == other,
            (Self::Token(one), Self::Token(other)) => one.signs_like(other),
            (Self::None | Self::Basic(_) | Self::Token(_), _) => false,
        }
    }

    pub(super) fn authorization(&self, permit: &Permit) -> Result<Option<HeaderValue>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Basic(value) => Ok(Some(value.clone())),
            Self::Token(minter) => {
                let token = minter.token(permit.caller(), &permit.route().upstream_scopes())?;
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| KeyError::Signing)?;
                value.set_sensitive(true);
                Ok(Some(value))
            }
        }
    }

    /// What an operator should look at where the upstream does not accept them.
    pub(super) fn refusal(&self) -> String {
        match self {
            Self::None => {
                "it wants credentials: see upstream.credentials, or upstream.pass_token where it verifies tokens; a ui or \
                 notary server must want none"
                    .to_owned()
            }
            Self::Basic(_) => "it wants other credentials: see upstream.credentials".to_owned(),
            Self::Token(minter) => format!(
                "it does not accept the token of upstream.pass_token: it must have the keys that `portcullis token keys` \
                 prints, the service {}, the issuer {} and a clock that agrees with ours",
                minter.service(),
                minter.issuer()
            ),
        }
    }
}

fn basic_header(credentials: &config::UpstreamCredentials) -> Result<HeaderValue, SetupError> {
    use base64::Engine as _;
    let text = format!("{}:{}", credentials.username, credentials.password.reveal());
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).map_err(|error| SetupError {
        server: "credentials".to_owned(),
        file: None,
        reason: error.to_string(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}
