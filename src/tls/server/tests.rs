use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, ServerConnection, SignatureAlgorithm,
};
use rustls_pki_types::ServerName;

use super::*;
use crate::tls::{
    load,
    testing::{Folder, kinds, params, trusting_client, trusting_client_with},
};

struct Done {
    client: ClientConnection,
    server: ServerConnection,
}

fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Result<Done, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Done { client, server })
}

fn config(folder: &Folder, min_version: MinVersion) -> Arc<ServerConfig> {
    let pair = folder.signed("a", &params(&["a.test"]), &PKCS_ECDSA_P256_SHA256);
    let store = CertStore::new(vec![load(&pair).unwrap()]);
    ServerTls::new(Arc::new(store)).unwrap().settings(min_version).unwrap().ours
}

#[test]
fn every_key_serves_both_versions_to_a_client_that_checks() {
    let folder = Folder::new();
    for (name, kind) in kinds() {
        let pair = folder.signed(name, &params(&["a.test"]), kind);
        let store = Arc::new(CertStore::new(vec![load(&pair).unwrap()]));
        let server = ServerTls::new(store).unwrap().settings(MinVersion::Tls12).unwrap().ours;
        for version in [&TLS12, &TLS13] {
            let client = Arc::new(folder.verifying_client(&[version]));
            let done = shake(&server, &client, "a.test").unwrap();
            assert_eq!(done.client.protocol_version(), Some(version.version), "{name}");
        }
    }
}

#[test]
fn the_lowest_version_holds() {
    let folder = Folder::new();
    let only_12 = Arc::new(folder.verifying_client(&[&TLS12]));
    let both = Arc::new(folder.verifying_client(&[&TLS12, &TLS13]));
    let server = config(&folder, MinVersion::Tls13);
    assert!(shake(&server, &only_12, "a.test").is_err());
    let done = shake(&server, &both, "a.test").unwrap();
    assert_eq!(done.server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn alpn_prefers_http2_and_may_be_absent() {
    let folder = Folder::new();
    let server = config(&folder, MinVersion::Tls12);
    let mut client = folder.verifying_client(&[&TLS13]);
    for (offered, chosen) in [
        (vec![b"http/1.1".to_vec(), b"h2".to_vec()], Some(b"h2".as_slice())),
        (vec![b"http/1.1".to_vec()], Some(b"http/1.1")),
        (vec![], None),
    ] {
        client.alpn_protocols = offered;
        let done = shake(&server, &Arc::new(client.clone()), "a.test").unwrap();
        assert_eq!(done.server.alpn_protocol(), chosen);
    }
    client.alpn_protocols = vec![b"smtp".to_vec()];
    assert!(shake(&server, &Arc::new(client), "a.test").is_err());
}

#[test]
fn sessions_resume_without_early_data() {
    let folder = Folder::new();
    let server = config(&folder, MinVersion::Tls12);
    for version in [&TLS12, &TLS13] {
        let mut client = folder.verifying_client(&[version]);
        client.enable_early_data = true;
        let client = Arc::new(client);
        let first = shake(&server, &client, "a.test").unwrap();
        assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
        let mut second = shake(&server, &client, "a.test").unwrap();
        assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(second.client.early_data().is_none());
    }
}

#[test]
fn a_new_certificate_is_shown_at_the_next_handshake() {
    let folder = Folder::new();
    let load = |name| load(&folder.signed(name, &params(&["a.test"]), &PKCS_ECDSA_P256_SHA256)).unwrap();
    let (old, new) = (load("old"), load("new"));
    let leaves = [&old, &new].map(|loaded| loaded.key.cert[0].clone());
    let store = Arc::new(CertStore::new(vec![old]));
    let server = ServerTls::new(Arc::clone(&store)).unwrap().settings(MinVersion::Tls12).unwrap().ours;
    let shown = || {
        let client = Arc::new(trusting_client(&[&TLS13]));
        let done = shake(&server, &client, "a.test").unwrap();
        done.client.peer_certificates().unwrap()[0].clone().into_owned()
    };
    assert_eq!(shown(), leaves[0]);
    store.install(vec![new]);
    assert_eq!(shown(), leaves[1]);
}

#[test]
fn a_client_of_tls_1_2_with_rsa_suites_alone_gets_the_rsa_certificate() {
    let folder = Folder::new();
    let certificates = [("ec", &PKCS_ECDSA_P256_SHA256), ("rsa", &PKCS_RSA_SHA256)]
        .map(|(name, kind)| load(&folder.signed(name, &params(&["a.test"]), kind)).unwrap());
    let rsa = certificates[1].key.clone();
    assert_eq!(rsa.key.algorithm(), SignatureAlgorithm::RSA);
    let server = ServerTls::new(Arc::new(CertStore::new(certificates.into())))
        .unwrap()
        .settings(MinVersion::Tls12)
        .unwrap()
        .ours;
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("ECDHE_RSA"));
    let client = Arc::new(trusting_client_with(provider, &[&TLS12]));
    let done = shake(&server, &client, "a.test").unwrap();
    assert_eq!(done.client.peer_certificates().unwrap()[0], rsa.cert[0]);
}

#[test]
fn installing_the_provider_twice_is_harmless() {
    install_provider();
    install_provider();
    let provider = rustls::crypto::CryptoProvider::get_default().unwrap();
    // Only aws-lc-rs has the hybrid group.
    assert!(provider.kx_groups.iter().any(|group| group.name() == NamedGroup::X25519MLKEM768));
}

#[test]
fn our_order_of_suites_holds_but_for_clients_without_aes() {
    let folder = Folder::new();
    let pair = folder.signed("a", &params(&["a.test"]), &PKCS_ECDSA_P256_SHA256);
    let store = CertStore::new(vec![load(&pair).unwrap()]);
    let settings = ServerTls::new(Arc::new(store)).unwrap().settings(MinVersion::Tls12).unwrap();
    for version in [&TLS12, &TLS13] {
        for (first, expected) in [("AES_128", "AES_256"), ("AES_256", "AES_256"), ("CHACHA20", "CHACHA20")] {
            let mut provider = aws_lc_rs::default_provider();
            provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains(first));
            let offered: Vec<CipherSuite> = provider.cipher_suites.iter().map(|suite| suite.suite()).collect();
            let offered = [&[CipherSuite::Unknown(0x0a0a)], offered.as_slice()].concat();
            let client = Arc::new(trusting_client_with(provider, &[version]));
            let done = shake(&settings.of_client(&offered), &client, "a.test").unwrap();
            let chosen = format!("{:?}", done.server.negotiated_cipher_suite().unwrap().suite());
            assert!(chosen.contains(expected), "{first} first: {chosen}");
        }
    }
}
