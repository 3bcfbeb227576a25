//! TLS towards servers and towards object storage: who is trusted, and what they are shown.

use std::{error::Error as StdError, io, sync::Arc};

use rustls::{AlertDescription, ClientConfig, RootCertStore, sign::SingleCertAndKey};
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Error, SetupError};
use crate::{
    config::{self, ServerUrl},
    tls::{CertificateError, ContentHash, FileFault, Pair, Roots},
};

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

/// What TLS from an upstream's settings takes, read once: the content of the files that they name, and the system's roots.
pub(super) struct Content {
    ca: Option<Roots>,
    system: Option<Roots>,
    client: Option<Pair>,
    to_servers: bool,
    to_storage: bool,
}

impl Content {
    /// Only what is needed is read: nothing where no address begins with `https://`.
    pub(super) fn read(upstream: &config::Upstream) -> Result<Self, SetupError> {
        let tls = &upstream.tls;
        let to_servers = upstream.servers.iter().any(|server| matches!(server.url, ServerUrl::Https { .. }));
        let follows = upstream.redirects == config::Redirects::Follow;
        let to_storage = follows && upstream.redirect_hosts.iter().any(|host| host.origin.tls);
        let ca = tls.ca_file.as_ref().filter(|_| to_servers || to_storage);
        let client = tls.client_certificate.as_ref().filter(|_| to_servers);
        let client = client.map(Pair::read).transpose().map_err(client_fault)?;
        Ok(Self {
            ca: ca.map(|file| Roots::of_file(file)).transpose().map_err(roots_fault)?,
            system: (to_storage || to_servers && ca.is_none()).then(Roots::of_system),
            client,
            to_servers,
            to_storage,
        })
    }

    /// Towards the servers of an upstream; None where none of them wants TLS. Trust is the given CA file alone, or the
    /// system's roots where none is given; a client certificate is shown where a server asks for one.
    pub(super) fn to_servers(&self) -> Result<Option<Arc<ClientConfig>>, SetupError> {
        if !self.to_servers {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        self.ca.as_ref().or(self.system.as_ref()).map_or(Ok(()), |trusted| add(trusted, &mut roots))?;
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let client = match &self.client {
            Some(pair) => {
                let loaded = pair.load().map_err(client_fault)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from((*loaded.key).clone())))
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Some(http1(client)))
    }

    /// Towards object storage that redirects lead to; None where none of it wants TLS. It is shown no certificate of ours,
    /// and trusted are the system's roots besides those of the CA file, since storage is in many places under another
    /// authority than the registry.
    pub(super) fn to_storage(&self) -> Result<Option<Arc<ClientConfig>>, SetupError> {
        if !self.to_storage {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        let system = self.system.as_ref().map_or(Ok(()), |system| add(system, &mut roots));
        match &self.ca {
            // A machine without roots of its own is no fault where these are enough.
            Some(ca) => add(ca, &mut roots)?,
            None => system?,
        }
        Ok(Some(http1(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())))
    }

    /// Of what [`Content::to_servers`] takes.
    pub(super) fn of_servers(&self) -> ContentHash {
        let roots = self.ca.as_ref().or(self.system.as_ref());
        let client = self.client.as_ref().map(Pair::content);
        ContentHash::of(roots.into_iter().flat_map(Roots::parts).chain(client.as_ref().map(AsRef::as_ref)))
    }

    /// Of all of it.
    pub(super) fn content(&self) -> ContentHash {
        let storage = [&self.ca, &self.system].into_iter().flatten().flat_map(Roots::parts);
        ContentHash::of(storage.chain([self.of_servers().as_ref()]))
    }
}

fn http1(mut client: ClientConfig) -> Arc<ClientConfig> {
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(client)
}

fn client_fault(error: CertificateError) -> SetupError {
    SetupError { server: "tls".to_owned(), file: Some(error.file), reason: error.reason }
}

fn roots_fault(error: FileFault) -> SetupError {
    SetupError { server: "tls".to_owned(), file: error.file, reason: error.reason }
}

fn add(trusted: &Roots, roots: &mut RootCertStore) -> Result<(), SetupError> {
    trusted.add_to(roots, "tls.ca_file").map_err(roots_fault)
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
