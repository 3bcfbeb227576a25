//! A gate with certificates of an authority, and a crowd that pulls.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Scope},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::support::{Curl, Pebble, Portcullis, Registry, Tls, digest, eventually};

pub(super) const NAMES: &[&[&str]] = &[&["registry.test", "www.registry.test"], &["hub.test"]];

pub(super) struct Scene {
    pub(super) gate: Portcullis,
    pub(super) pebble: Pebble,
    _registry: Registry,
    blob: String,
}

impl Scene {
    /// A gate of which the authority knows nothing yet; `change` is of its configuration.
    pub(super) fn new(pebble: Pebble, names: &[&[&str]], change: impl Fn(&mut Value) + 'static) -> Self {
        let registry = Registry::start();
        let blob = push(&registry);
        let gate = pebble.guards(Portcullis::before(&registry), names).with(change).start();
        Self { gate, pebble, _registry: registry, blob }
    }

    /// The same once every certificate is there.
    pub(super) fn issued(pebble: Pebble, names: &[&[&str]]) -> Self {
        let scene = Self::new(pebble, names, |_| {});
        scene.await_certificates();
        for names in names {
            eventually("the authority was asked for its window", || scene.state(names[0])["window"].is_object());
        }
        scene
    }

    pub(super) fn await_certificates(&self) {
        // The lines after the first say what else is wrong.
        eventually("the gate is ready", || self.gate.admin("/readyz").text().starts_with("ready\n"));
    }

    /// The leaf that is shown for a name, whoever signed it.
    pub(super) fn leaf(&self, name: &str) -> Vec<u8> {
        leaf(self.gate.port(), name)
    }

    /// True where a client that trusts the authority gets in by this name.
    pub(super) fn is_trusted(&self, name: &str) -> bool {
        self.pebble.dial(self.gate.port(), name).is_ok()
    }

    /// What /status says of one certificate.
    pub(super) fn standing(&self, index: usize) -> Value {
        self.gate.status()["acme"][index].clone()
    }

    /// Waits until the last attempt for a certificate has failed, and returns why.
    pub(super) fn failure(&self, index: usize) -> String {
        let mut standing = Value::Null;
        eventually("an attempt fails", || {
            standing = self.standing(index);
            standing["error"].is_string() && standing["under_way"] == false
        });
        standing["error"].as_str().unwrap().to_owned()
    }

    /// Seconds from the last failure to the next attempt.
    pub(super) fn pause(&self, index: usize) -> i64 {
        let standing = self.standing(index);
        moment(&standing["next_attempt"]) - moment(&standing["failed_at"])
    }

    /// The folder of the certificate whose first name this is.
    pub(super) fn slot(&self, name: &str) -> PathBuf {
        slot(&self.gate.dir().join("acme"), name)
    }

    /// Has a certificate renewed as if it were time for that.
    pub(super) fn make_due(&self, name: &str) {
        let file = self.slot(name).join("state.json");
        let mut state = Value::Null;
        eventually("the authority was asked for its window", || {
            state = self.state(name);
            state["window"].is_object()
        });
        state["window"]["suggested"] = serde_json::json!([1, 2]);
        Self::rewrite(&file, state);
    }

    /// As if the time to wait after a failure were over.
    pub(super) fn end_wait(&self, name: &str) {
        Self::rewrite(&self.slot(name).join("state.json"), self.state(name));
    }

    fn rewrite(file: &Path, mut state: Value) {
        state["not_before"] = Value::Null;
        let beside = file.with_extension("edited");
        fs::write(&beside, state.to_string()).unwrap();
        fs::rename(beside, file).unwrap();
    }

    /// What is kept of its attempts.
    fn state(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.slot(name).join("state.json")).unwrap()).unwrap()
    }

    /// One connection that pulls until `over`, with another name and so another certificate than the next one.
    pub(super) fn pull<'a>(
        &'a self,
        scope: &'a Scope<'a, '_>,
        over: &'a AtomicBool,
        pulled: &'a AtomicUsize,
        connected: &'a AtomicUsize,
    ) {
        scope.spawn(move || {
            let mut tls = Tls::configured(blind(), self.gate.port(), "registry.test").unwrap();
            connected.fetch_add(1, Ordering::SeqCst);
            let request = format!("GET /v2/library/app/blobs/{} HTTP/1.1\r\nHost: registry.test\r\n\r\n", self.blob);
            while !over.load(Ordering::SeqCst) {
                tls.send(&request);
                let answer = tls.answer(false).expect("the connection stands");
                assert_eq!((answer.status, digest(&answer.body)), (200, self.blob.clone()));
                pulled.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(100));
            }
        });
    }
}

/// The leaf that a gate shows for a name.
pub(super) fn leaf(port: u16, name: &str) -> Vec<u8> {
    Tls::configured(blind(), port, name).unwrap().certificate()
}

pub(crate) fn slot(storage: &Path, name: &str) -> PathBuf {
    let below = |path: &Path| fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let slots = below(storage).filter(|path| path.is_dir()).flat_map(|authority| below(&authority).collect::<Vec<_>>());
    let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}-"));
    slots.filter(|path| path.is_dir()).find(named).expect("the folder of the certificate")
}

/// Seconds since 1970.
pub(super) fn moment(text: &Value) -> i64 {
    let text = text.as_str().unwrap_or_else(|| panic!("no time: {text}"));
    OffsetDateTime::parse(text, &Rfc3339).unwrap().unix_timestamp()
}

/// True where the authority that the tests run against knows what RFC 9773 and profiles are.
pub(super) fn is_new(pebble: &Pebble) -> bool {
    Curl::new(pebble.directory()).trusting(pebble.ca_file()).send().text().contains("renewalInfo")
}

/// How many orders the authority has taken.
pub(super) fn orders(pebble: &Pebble) -> usize {
    pebble.log().lines().filter(|line| line.contains("Added order")).count()
}

fn push(registry: &Registry) -> String {
    let bytes: Vec<u8> = (0..64 * 1024_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blob");
    fs::write(&file, &bytes).unwrap();
    let opened = Curl::new(format!("{}/v2/library/app/blobs/uploads/", registry.url)).method("POST").send();
    let (location, digest) = (opened.header("location").unwrap(), digest(&bytes));
    let location = if location.starts_with('/') { format!("{}{location}", registry.url) } else { location.to_owned() };
    let put = Curl::new(format!("{location}&digest={digest}")).method("PUT").body_file(&file).send();
    assert_eq!(put.status, 201, "{}", put.text());
    digest
}

/// Takes every certificate: there are times when only a temporary one is shown.
fn blind() -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Blind)).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

#[derive(Debug)]
struct Blind;

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
