//! A certificate that can be served: looked into before it is believed.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer};

use super::{Moment, StoredCertificate, schedule::Life, window};
use crate::{
    config::AcmeName,
    tls::{ContentHash, Loaded, Pair},
};

/// What storage holds, ready to be served.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) loaded: Loaded,
    pub(super) life: Life,
}

impl Issued {
    /// `file` is where it is stored, for logs.
    ///
    /// # Errors
    /// A key that is not the certificate's, and whatever else keeps a pair from being served; in words for an operator.
    pub(super) fn load(stored: &StoredCertificate, file: &Path) -> Result<Self, String> {
        let pair = Pair::issued(file, &stored.chain, stored.key.reveal());
        let loaded = pair.load().map_err(|error| error.reason)?;
        let leaf = loaded.key.cert.first().ok_or("there is no certificate in it")?;
        let life = life(leaf).ok_or("the certificate cannot be read")?;
        Ok(Self { loaded, life })
    }

    /// True where it is for all of these names.
    pub(super) fn covers(&self, names: &[AcmeName]) -> bool {
        names.iter().all(|name| self.is_for(name))
    }

    pub(super) fn is_for(&self, name: &AcmeName) -> bool {
        let name = name.to_string();
        self.loaded.info.names.contains(&name)
    }
}

fn life(leaf: &CertificateDer<'_>) -> Option<Life> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let validity = certificate.validity();
    let chance = ContentHash::of([leaf.as_ref()]);
    let chance = chance.as_ref().first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
    Some(Life {
        not_before: Moment(validity.not_before.timestamp()),
        not_after: Moment(validity.not_after.timestamp()),
        chance,
        id: has_authority_key(&certificate).then(|| window::identifier(leaf)).flatten(),
    })
}

fn has_authority_key(certificate: &X509Certificate<'_>) -> bool {
    certificate.iter_extensions().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::AuthorityKeyIdentifier(key) if key.key_identifier.is_some())
    })
}
