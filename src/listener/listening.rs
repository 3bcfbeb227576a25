//! What is listened on and by which terms: replaced as a whole while the process runs.

use std::{io, net::SocketAddr, sync::Arc};

use ipnet::IpNet;
use tokio::sync::watch;

use super::{plain::Redirect, socket::Sockets};
use crate::{
    config::{self, Config, Limits},
    tls::{TlsSettings, acme::Challenges},
};

/// On which terms clients are let in.
#[derive(Clone, Debug)]
pub struct Terms {
    pub limits: Limits,
    /// Networks of proxies, each of which speaks for many clients: no limit per client there.
    pub proxies: Vec<IpNet>,
    /// Networks of balancers that speak the PROXY protocol.
    pub balancers: Vec<IpNet>,
    pub tls: TlsSettings,
    /// What authorities are answered on either port.
    pub challenges: Arc<Challenges>,
    pub redirect: Redirect,
}

impl Terms {
    pub fn of(config: &Config, tls: TlsSettings, challenges: Arc<Challenges>) -> Self {
        let hosts = config.registries.iter().flat_map(|registry| registry.hosts.clone()).collect();
        let listening = config.listen.https.first().map(SocketAddr::port);
        let public_port = config.listen.public_port.or(listening).unwrap_or(443);
        Self {
            limits: config.limits.clone(),
            proxies: config.listen.trusted_proxies.clone(),
            balancers: config.listen.proxy_protocol_from.clone(),
            tls,
            challenges,
            redirect: Redirect { hosts, public_port },
        }
    }
}

/// All sockets of the process by what they are for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub https: Sockets,
    pub http: Sockets,
    pub admin: Sockets,
}

/// What is in force at a moment.
#[derive(Clone, Debug)]
pub struct Live {
    pub(super) terms: Arc<Terms>,
    places: Places,
    /// For good.
    pub(super) closed: bool,
}

impl Live {
    pub fn https(&self) -> &Sockets {
        &self.places.https
    }

    pub fn http(&self) -> &Sockets {
        &self.places.http
    }

    pub fn admin(&self) -> &Sockets {
        &self.places.admin
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{error}{}", hint(error.kind()))]
pub struct ListenError {
    /// Of the configuration, as in `listen.https`.
    pub key: &'static str,
    #[source]
    error: io::Error,
}

fn hint(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::AddrInUse {
        "; `ss -ltnp` shows which process has the port"
    } else if kind == io::ErrorKind::PermissionDenied {
        "; ports below 1024 take the capability CAP_NET_BIND_SERVICE, or the sysctl net.ipv4.ip_unprivileged_port_start"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "; no interface of this machine has the address"
    } else {
        ""
    }
}

impl Places {
    /// Binds what `listen` asks for, or nothing. What is bound here already is kept.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub fn bind(&self, listen: &config::Listen) -> Result<Self, ListenError> {
        let all = [&self.https, &self.http, &self.admin];
        let bind = |key, addresses: &[SocketAddr], own| {
            Sockets::bind(addresses, own, &all).map_err(|error| ListenError { key, error })
        };
        let admin: Vec<SocketAddr> = listen.admin.into_iter().collect();
        Ok(Self {
            https: bind("listen.https", &listen.https, &self.https)?,
            http: bind("listen.http", &listen.http, &self.http)?,
            admin: bind("listen.admin", &admin, &self.admin)?,
        })
    }
}

impl Places {
    /// Says in the log where they listen, with the ports that were picked for port 0.
    pub fn announce(&self) {
        let told = |addresses: Vec<SocketAddr>| match addresses.as_slice() {
            [] => "off".to_owned(),
            addresses => addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "),
        };
        let [https, http, admin] =
            [&self.https, &self.http, &self.admin].map(|sockets| told(sockets.local_addresses()));
        tracing::info!(https, http, admin, "listening");
    }

    fn is_where(&self, other: &Self) -> bool {
        let all = |places: &Self| [&places.https, &places.http, &places.admin].map(Sockets::local_addresses);
        all(self) == all(other)
    }
}

/// The one hand on all listeners.
#[derive(Debug)]
pub struct Listening(watch::Sender<Live>);

impl Listening {
    pub fn new(places: Places, terms: Terms) -> Self {
        Self(watch::Sender::new(Live { terms: Arc::new(terms), places, closed: false }))
    }

    /// For a [`super::Door`].
    pub fn subscribe(&self) -> watch::Receiver<Live> {
        self.0.subscribe()
    }

    pub fn places(&self) -> Places {
        self.0.borrow().places.clone()
    }

    /// What a changed configuration needs, bound and not yet in force; nothing new where listening has ended.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub fn prepare(&self, listen: &config::Listen) -> Result<Places, ListenError> {
        let live = self.0.borrow().clone();
        if live.closed { Ok(live.places) } else { live.places.bind(listen) }
    }

    /// From now on. Who has come to an address that is no longer listened on is still let in, and connections that stand
    /// are left alone. Does nothing after [`Listening::close`].
    pub fn install(&self, places: Places, terms: Terms) {
        self.0.send_if_modified(|live| {
            if !live.closed {
                if !places.is_where(&live.places) {
                    places.announce();
                }
                *live = Live { terms: Arc::new(terms), places, closed: false };
            }
            !live.closed
        });
    }

    /// Ends listening for good on what clients of the registry use; who has come already is still let in.
    pub fn close(&self) {
        self.0.send_modify(|live| {
            live.places = Places { admin: std::mem::take(&mut live.places.admin), ..Places::default() };
            live.closed = true;
        });
    }

    /// Ends listening for good on everything: another process does.
    pub fn leave(&self) {
        self.0.send_modify(|live| *live = Live { places: Places::default(), closed: true, ..live.clone() });
    }
}

#[cfg(test)]
impl Terms {
    /// By which nobody can speak TLS.
    pub(super) fn testing(limits: Limits) -> Self {
        use crate::{
            config::{Host, MinVersion},
            tls::{CertStore, ServerTls},
        };
        let tls = ServerTls::new(Arc::new(CertStore::new(Vec::new()))).unwrap();
        Self {
            limits,
            proxies: Vec::new(),
            balancers: Vec::new(),
            tls: tls.settings(MinVersion::Tls12).unwrap(),
            challenges: Arc::clone(tls.challenges()),
            redirect: Redirect { hosts: vec![Host::parse("hub.test").unwrap()], public_port: 443 },
        }
    }
}
