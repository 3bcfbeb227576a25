//! TLS towards servers and towards object storage: who is trusted, and what they are shown.

use std::{error::Error as StdError, io, sync::Arc};

use rustls::{AlertDescription, ClientConfig, RootCertStore, sign::SingleCertAndKey};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::TlsConnector;

use super::{Error, SetupError};
use crate::{config, tls};

/// How TLS is spoken with one server, and the name that its certificate must have.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

impl Tls {
    /// For a server of the upstream. Trust is the given CA file alone, or the system's roots where none is given; a
    /// client certificate is shown where the server asks for one.
    pub(super) fn to_server(host: &str, settings: &config::UpstreamTls) -> Result<Self, SetupError> {
        let fail = |reason| SetupError { server: host.to_owned(), reason };
        let mut roots = RootCertStore::empty();
        match &settings.ca_file {
            Some(_) => add_file(&mut roots, settings),
            None => add_system(&mut roots),
        }
        .map_err(fail)?;
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let client = match &settings.client_certificate {
            Some(files) => {
                let loaded = tls::load(files).map_err(|error| fail(format!("client {error}")))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from((*loaded.key).clone())))
            }
            None => builder.with_no_client_auth(),
        };
        Self::new(settings.server_name.as_deref().unwrap_or(host), client).map_err(fail)
    }

    /// For object storage that a redirect leads to. It is shown no certificate of ours, and trusted are the system's
    /// roots besides those of the CA file, since storage is in many places under another authority than the registry.
    pub(super) fn to_storage(origin: &config::Origin, settings: &config::UpstreamTls) -> Result<Self, SetupError> {
        let fail = |reason| SetupError { server: origin.to_string(), reason };
        let mut roots = RootCertStore::empty();
        match &settings.ca_file {
            Some(_) => {
                add_file(&mut roots, settings).map_err(fail)?;
                // A machine without roots of its own is no fault where these are enough.
                let _ = add_system(&mut roots);
            }
            None => add_system(&mut roots).map_err(fail)?,
        }
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self::new(&origin.host, client).map_err(fail)
    }

    fn new(name: &str, mut settings: ClientConfig) -> Result<Self, String> {
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self { connector: TlsConnector::from(Arc::new(settings)), name })
    }
}

fn add_file(roots: &mut RootCertStore, settings: &config::UpstreamTls) -> Result<(), String> {
    let Some(file) = &settings.ca_file else { return Ok(()) };
    let shown = file.display();
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read ca_file {shown}: {error}"))?;
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(format!("ca_file {shown} holds no usable certificate")) } else { Ok(()) }
}

fn add_system(roots: &mut RootCertStore) -> Result<(), String> {
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err("the system has no trusted roots: install ca-certificates or set tls.ca_file".to_owned());
    }
    Ok(())
}

/// Where a server ended a connection for the certificate that it was shown or not shown: what to look at. With TLS 1.3
/// it says so only after the handshake, in the place of an answer.
pub(super) fn refused(error: &(dyn StdError + 'static)) -> Option<Error> {
    let alert = alert_within(error)?;
    let about_certificates = [
        AlertDescription::NoCertificate,
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::CertificateRequired,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
    ];
    about_certificates.contains(&alert).then(|| {
        Error::Refused(format!(
            "it wants a client certificate, or another one (TLS alert {alert:?}): see \
             upstream.tls.client_certificate_file"
        ))
    })
}

fn alert_within(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        Some(_) | None => alert_within(error.source()?),
    }
}
