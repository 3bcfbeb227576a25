use std::fs;

use rcgen::{DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P521_SHA512, PKCS_ED25519};

use super::*;
use crate::tls::testing::{Folder, kinds, params};

fn files(certificate: PathBuf, key: PathBuf) -> CertificateFiles {
    CertificateFiles { certificate_file: certificate, key_file: key, default: false }
}

fn warned(loaded: &Loaded, what: &str) -> bool {
    loaded.warnings.iter().any(|warning| warning.contains(what))
}

#[test]
fn loads_every_kind_of_key() {
    let folder = Folder::new();
    for (name, kind) in kinds() {
        let pair =
            folder.signed(name, &params(&["Registry.Example.com", "*.example.com", "192.0.2.7", "2001:db8::1"]), kind);
        let loaded = load(&pair).unwrap();
        assert_eq!(loaded.info.names, ["registry.example.com", "*.example.com", "192.0.2.7", "2001:db8::1"]);
        assert_eq!(loaded.warnings, Vec::<String>::new(), "{name}");
        assert_eq!(loaded.key.cert.len(), 2);
        assert!(loaded.info.not_after > unix_now());
        assert!(!loaded.default);
    }
}

#[test]
fn loads_every_encoding_of_a_key() {
    let folder = Folder::new();
    let rsa = folder.signed("rsa", &params(&["a.test"]), kinds()[0].1);
    let p256 = folder.signed("p256", &params(&["a.test"]), kinds()[1].1);
    folder.openssl("rsa -in rsa.key -traditional -out rsa.pkcs1");
    folder.openssl("ec -in p256.key -out p256.sec1");
    // As `openssl ecparam -genkey` writes it: the curve before the key.
    folder.openssl("ecparam -name prime256v1 -out curve.pem");
    let curve = fs::read_to_string(folder.path().join("curve.pem")).unwrap();
    let sec1 = fs::read_to_string(folder.path().join("p256.sec1")).unwrap();
    let with_curve = folder.write("p256.params", &format!("{curve}{sec1}"));
    assert!(sec1.contains("BEGIN EC PRIVATE KEY"));

    load(&files(rsa.certificate_file, folder.path().join("rsa.pkcs1"))).unwrap();
    load(&files(p256.certificate_file.clone(), folder.path().join("p256.sec1"))).unwrap();
    load(&files(p256.certificate_file, with_curve)).unwrap();
}

#[test]
fn loads_what_openssl_makes() {
    let folder = Folder::new();
    for (name, new_key) in
        [("rsa", "rsa:2048"), ("p384", "ec -pkeyopt ec_paramgen_curve:P-384"), ("ed25519", "ed25519")]
    {
        folder.openssl(&format!(
            "req -x509 -newkey {new_key} -nodes -days 30 -subj /CN=registry.test -addext subjectAltName=DNS:registry.test \
             -keyout {name}.key -out {name}.crt"
        ));
        let certificate = folder.path().join(format!("{name}.crt"));
        let loaded = load(&files(certificate, folder.path().join(format!("{name}.key")))).unwrap();
        assert_eq!(loaded.info.names, ["registry.test"]);
        assert!(warned(&loaded, "self-signed"), "{:?}", loaded.warnings);
        assert!(warned(&loaded, "authority"));
    }
}

#[test]
fn loads_one_file_with_both() {
    let folder = Folder::new();
    let pair = folder.signed("a", &params(&["a.test"]), &PKCS_ED25519);
    let both = format!(
        "\u{feff}{}subject=a\r\n{}",
        fs::read_to_string(&pair.key_file).unwrap(),
        fs::read_to_string(&pair.certificate_file).unwrap()
    );
    let both = folder.write("both.pem", &both);
    load(&files(both.clone(), both)).unwrap();
}

#[test]
fn serves_odd_leaves_with_a_warning() {
    let folder = Folder::new();
    let now = OffsetDateTime::now_utc();
    let load_with = |change: &dyn Fn(&mut rcgen::CertificateParams), names: &[&str]| {
        let mut params = params(names);
        change(&mut params);
        load(&folder.signed("odd", &params, &PKCS_ECDSA_P256_SHA256)).unwrap()
    };

    let nameless = load_with(
        &|params| {
            params.distinguished_name.push(DnType::CommonName, "Hub.Example.com");
        },
        &[],
    );
    assert_eq!(nameless.info.names, ["hub.example.com"]);
    assert!(warned(&nameless, "no subject alternative name"));

    let person = load_with(
        &|params| {
            params.distinguished_name.push(DnType::CommonName, "Our Registry");
        },
        &[],
    );
    assert_eq!(person.info.names, Vec::<String>::new());
    assert!(warned(&person, "neither"));

    let address = load_with(
        &|params| {
            params.distinguished_name.push(DnType::CommonName, "192.0.2.7");
        },
        &[],
    );
    assert_eq!(address.info.names, ["192.0.2.7"]);

    let expired = load_with(&|params| params.not_after = now - time::Duration::hours(1), &["a.test"]);
    assert!(warned(&expired, "expired on"));

    let future = load_with(&|params| params.not_before = now + time::Duration::days(2), &["a.test"]);
    assert!(warned(&future, "not valid before"));

    let century = load_with(&|params| params.not_after = now + time::Duration::days(36_500), &["a.test"]);
    assert!(warned(&century, "some clients refuse more than 825"));
    assert!(!warned(&century, "expired"));

    let client_only =
        load_with(&|params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth], &["a.test"]);
    assert!(warned(&client_only, "server authentication"));
}

#[test]
fn serves_a_version_1_leaf() {
    let folder = Folder::new();
    folder.openssl("req -newkey rsa:2048 -nodes -subj /CN=old.test -keyout old.key -out old.csr");
    folder.openssl("x509 -req -in old.csr -signkey old.key -days 3650 -out old.crt");
    let loaded = load(&files(folder.path().join("old.crt"), folder.path().join("old.key"))).unwrap();
    assert_eq!(loaded.info.names, ["old.test"]);
    assert!(warned(&loaded, "version 3"), "{:?}", loaded.warnings);
}

#[test]
fn warns_of_a_broken_chain() {
    let folder = Folder::new();
    let pair = folder.signed("a", &params(&["a.test"]), &PKCS_ED25519);
    let stranger = folder.self_signed("b", &params(&["b.test"]), &PKCS_ED25519);
    let chain = [&pair.certificate_file, &stranger.certificate_file].map(|file| fs::read_to_string(file).unwrap());
    let loaded = load(&files(folder.write("chain.crt", &chain.concat()), pair.key_file)).unwrap();
    assert!(warned(&loaded, "certificate 3 in the file does not issue"), "{:?}", loaded.warnings);
}

/// What is wrong, the pair, the file at fault and words of the reason.
#[test]
fn refuses_with_a_reason() {
    let folder = Folder::new();
    let good = folder.signed("good", &params(&["a.test"]), &PKCS_ECDSA_P256_SHA256);
    let other = folder.signed("other", &params(&["b.test"]), &PKCS_ECDSA_P256_SHA256);
    let p521 = folder.signed("p521", &params(&["a.test"]), &PKCS_ECDSA_P521_SHA512);
    folder.openssl("req -x509 -newkey rsa:1024 -nodes -subj /CN=a.test -keyout short.key -out short.crt");
    folder.openssl("req -x509 -newkey rsa:4224 -nodes -subj /CN=a.test -keyout long.key -out long.crt");
    folder.openssl("pkcs8 -topk8 -in good.key -passout pass:secret -out locked.key");
    folder.openssl("rsa -in long.key -aes128 -passout pass:secret -traditional -out locked-traditional.key");
    folder.openssl("x509 -in good.crt -outform DER -out good.der");
    let text = |file: &Path| fs::read_to_string(file).unwrap();
    let reversed = folder.write("reversed.crt", &format!("{}{}", folder.authority_pem(), text(&good.certificate_file)));
    let cut = folder.write("cut.crt", text(&good.certificate_file).split_at(200).0);
    let one_line = folder.write("one-line.key", &text(&good.key_file).replace('\n', "\\n"));
    let garbage = folder.write("garbage.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let empty = folder.write("empty.pem", "");
    let at = |name: &str| folder.path().join(name);
    let (crt, key) = (&good.certificate_file, &good.key_file);

    for (what, certificate, key, at_fault, reason) in [
        ("no certificate file", &at("none.crt"), key, &at("none.crt"), "no such file"),
        ("no key file", crt, &at("none.key"), &at("none.key"), "no such file"),
        ("a folder", &folder.path().to_owned(), key, &folder.path().to_owned(), "directory"),
        ("empty certificate", &empty, key, &empty, "no certificate"),
        ("empty key", crt, &empty, &empty, "no private key"),
        ("swapped", key, crt, key, "swapped"),
        ("key is a certificate", crt, crt, crt, "swapped"),
        ("PKCS#8 with passphrase", crt, &at("locked.key"), &at("locked.key"), "passphrase"),
        ("PKCS#1 with passphrase", crt, &at("locked-traditional.key"), &at("locked-traditional.key"), "passphrase"),
        ("another's key", crt, &other.key_file, &other.key_file, "does not belong"),
        ("issuer first", &reversed, key, &reversed, "number 2"),
        ("cut short", &cut, key, &cut, "cut short"),
        ("no line breaks", crt, &one_line, &one_line, "line breaks"),
        ("not a certificate", &garbage, key, &garbage, "cannot be read"),
        ("DER", &at("good.der"), key, &at("good.der"), "DER"),
        ("P-521", &p521.certificate_file, &p521.key_file, &p521.certificate_file, "curve"),
        ("RSA 1024", &at("short.crt"), &at("short.key"), &at("short.crt"), "1024 bits"),
        ("RSA 4224", &at("long.crt"), &at("long.key"), &at("long.crt"), "4224 bits"),
    ] {
        let error = load(&files(certificate.clone(), key.clone())).unwrap_err();
        assert_eq!(&error.file, at_fault, "{what}: {error}");
        assert!(error.reason.contains(reason), "{what}: {error}");
    }
}

#[test]
fn no_part_of_a_key_reaches_an_error() {
    let folder = Folder::new();
    let good = folder.signed("good", &params(&["a.test"]), &PKCS_ECDSA_P256_SHA256);
    let pem = KeyPair::generate().unwrap().serialize_pem();
    let secret = pem.lines().nth(1).unwrap();
    for (index, damaged) in [
        pem.replace('\n', "\\n"),
        pem.replace("-----END", "----END"),
        pem.replace("-----END PRIVATE", "-----BEGIN PRIVATE"),
        pem.replacen(secret, &format!("!{secret}"), 1),
        pem.clone(),
    ]
    .iter()
    .enumerate()
    {
        let file = folder.write(&format!("{index}.key"), damaged);
        let error = load(&files(good.certificate_file.clone(), file)).unwrap_err();
        let text = format!("{error} {error:?}");
        let start = secret.split_at(16).0;
        // Parser errors print the line they stumbled over as numbers.
        let numbers = format!("{:?}", start.as_bytes());
        let numbers = numbers.trim_matches(['[', ']']);
        assert!(!text.contains(start) && !text.contains(numbers), "{text}");
    }
}
