//! TLS towards servers and towards object storage: who is trusted, and what they are shown.

use std::{
    error::Error as StdError,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{AlertDescription, ClientConfig, RootCertStore, sign::SingleCertAndKey};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Error, SetupError};
use crate::{config, tls};

/// TLS towards one place, and the name that its certificate must have.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(settings: &Arc<ClientConfig>, name: &str) -> Result<Self, SetupError> {
        let fail =
            |error: InvalidDnsNameError| SetupError { server: name.to_owned(), file: None, reason: error.to_string() };
        let name = ServerName::try_from(name.to_owned()).map_err(fail)?;
        Ok(Self { connector: TlsConnector::from(Arc::clone(settings)), name })
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), tcp).await
    }
}

/// Towards the servers of an upstream. Trust is the given CA file alone, or the system's roots where none is given; a
/// client certificate is shown where a server asks for one.
pub(super) fn to_servers(settings: &config::UpstreamTls) -> Result<Arc<ClientConfig>, SetupError> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => add_file(&mut roots, file)?,
        None => add_system(&mut roots)?,
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let client = match &settings.client_certificate {
        Some(files) => {
            let loaded = tls::load(files).map_err(|error| fail(Some(error.file), error.reason))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from((*loaded.key).clone())))
        }
        None => builder.with_no_client_auth(),
    };
    Ok(http1(client))
}

/// Towards object storage that redirects lead to. It is shown no certificate of ours, and trusted are the system's roots
/// besides those of the CA file, since storage is in many places under another authority than the registry.
pub(super) fn to_storage(settings: &config::UpstreamTls) -> Result<Arc<ClientConfig>, SetupError> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(file) => {
            add_file(&mut roots, file)?;
            // A machine without roots of its own is no fault where these are enough.
            let _ = add_system(&mut roots);
        }
        None => add_system(&mut roots)?,
    }
    Ok(http1(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

fn http1(mut client: ClientConfig) -> Arc<ClientConfig> {
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(client)
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), SetupError> {
    let fault = |reason: String| fail(Some(file.to_owned()), reason);
    let pem = std::fs::read(file).map_err(|error| fault(format!("cannot be read: {error}")))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| fault("is not valid PEM".to_owned()))?;
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(fault("holds no usable certificate (PEM, -----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(())
}

fn add_system(roots: &mut RootCertStore) -> Result<(), SetupError> {
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        let reason = "the system has no trusted roots: install ca-certificates or set tls.ca_file";
        return Err(fail(None, reason.to_owned()));
    }
    Ok(())
}

fn fail(file: Option<PathBuf>, reason: String) -> SetupError {
    SetupError { server: "tls".to_owned(), file, reason }
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

/// The error, and what to look at where that is known.
pub(super) fn explained(error: &io::Error) -> String {
    use rustls::{CertificateError, Error, InvalidMessage};
    let hint = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => "see upstream.tls.ca_file",
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "see upstream.tls.server_name",
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "the server does not speak TLS there: write http:// if that is meant"
        }
        _ => return error.to_string(),
    };
    format!("{error}: {hint}")
}

fn alert_within(error: &(dyn StdError + 'static)) -> Option<AlertDescription> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        Some(_) | None => alert_within(error.source()?),
    }
}
