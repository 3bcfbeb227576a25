use rustls_pki_types::CertificateDer;
use x509_parser::{parse_x509_certificate, prelude::X509Certificate};

use super::*;
use crate::token::{Keys, fixtures::key_file, keys::fingerprint};

fn ders(pem: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.unwrap().to_vec()).collect()
}

fn read(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = parse_x509_certificate(der).unwrap();
    assert!(rest.is_empty());
    certificate
}

#[test]
fn each_key_has_one_that_it_signed_itself() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["P-256", "ED25519", "RSA"].map(|kind| key_file(&folder, kind, kind));
    let made = certificates(&files).unwrap();
    assert_eq!(made.left_out, [files[1].clone()]);
    let ders = ders(&made.pem);
    assert_eq!(ders.len(), 2);
    for (der, file) in ders.iter().zip([&files[0], &files[2]]) {
        let certificate = read(der);
        certificate.verify_signature(None).unwrap();
        let id = Keys::load_or_create(std::slice::from_ref(file)).unwrap().signing_id().to_owned();
        assert_eq!(fingerprint(certificate.public_key().raw), id);
        assert_eq!(certificate.subject().to_string(), format!("CN={id}"));
        assert_eq!(certificate.issuer(), certificate.subject());
        assert_eq!(certificate.validity().not_before.timestamp(), 946_684_800);
        assert_eq!(certificate.validity().not_after.timestamp(), 253_402_300_799);
        assert!(!certificate.is_ca());
    }
}

#[test]
fn the_same_key_gives_the_same_but_for_the_signature() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, rsa] =
        [("a", "P-256"), ("b", "P-256"), ("c", "RSA")].map(|(name, kind)| key_file(&folder, name, kind));
    let made = |file: &PathBuf| certificates(std::slice::from_ref(file)).unwrap().pem;
    let signed = |pem: &str| read(&ders(pem)[0]).tbs_certificate.as_ref().to_vec();
    assert_eq!(signed(&made(&first)), signed(&made(&first)));
    assert_ne!(signed(&made(&first)), signed(&made(&second)));
    // PKCS#1 signatures have no random part.
    assert_eq!(made(&rsa), made(&rsa));
}

#[test]
fn serial_numbers_are_positive_and_each_keys_own() {
    let serials: Vec<Vec<u8>> = (0..200).map(|number| serial_number(&number.to_string()).to_bytes()).collect();
    for serial in &serials {
        assert!(serial.len() == 16 && (0x40..0x80).contains(&serial[0]), "{serial:?}");
    }
    let distinct: std::collections::HashSet<_> = serials.iter().collect();
    assert_eq!(distinct.len(), serials.len());
}

#[test]
fn every_form_of_a_private_key_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let rsa = key_file(&folder, "rsa", "RSA");
    let p256 = key_file(&folder, "p256", "P-256");
    for (command, input) in [("rsa", &rsa), ("ec", &p256)] {
        let file = folder.path().join(format!("{command}-traditional"));
        let mut openssl = std::process::Command::new("openssl");
        openssl.arg(command).arg("-in").arg(input).arg("-out").arg(&file);
        if command == "rsa" {
            openssl.arg("-traditional");
        }
        assert!(openssl.output().unwrap().status.success());
        let pem = std::fs::read_to_string(&file).unwrap();
        assert!(pem.contains(" RSA PRIVATE KEY") || pem.contains(" EC PRIVATE KEY"), "{command}");
        let raw = |file: &PathBuf| ders(&certificates(std::slice::from_ref(file)).unwrap().pem)[0].clone();
        assert_eq!(read(&raw(&file)).public_key().raw, read(&raw(input)).public_key().raw);
    }
}

#[test]
fn keys_for_eddsa_alone_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let error = certificates(&[key_file(&folder, "key", "ED25519")]).unwrap_err().to_string();
    assert!(error.contains("none of tokens.keys is for ES256 or RS256"), "{error}");
}
