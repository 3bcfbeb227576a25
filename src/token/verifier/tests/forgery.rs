//! Signatures, keys, headers and forms.

use super::*;

/// J1
#[test]
fn no_algorithm() {
    let forge = Forge::new();
    for alg in ["none", "None", "nOnE", "NONE", "", "es256", "Es256"] {
        let signed = forge.headed(|header| header["alg"] = json!(alg));
        let bare = signed.rsplit_once('.').unwrap().0.to_owned();
        refuses(&forge, [signed, format!("{bare}."), bare]);
    }
    let other = [json!(null), json!(["ES256"]), json!(1), json!({})];
    refuses(&forge, other.map(|alg| forge.headed(|header| header["alg"] = alg)));
    refuses(&forge, [forge.headed(|header| drop(header.as_object_mut().unwrap().remove("alg")))]);
}

/// J2
#[test]
fn the_public_key_is_no_secret() {
    let forge = Forge::new();
    let der: PublicKeyX509Der<'_> = forge.pair.public_key().as_der().unwrap();
    let der = der.as_ref();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
    let secrets = [pem.as_bytes(), pem.trim_end().as_bytes(), der, forge.pair.public_key().as_ref(), b""];
    for alg in ["HS256", "ES256"] {
        refuses(&forge, secrets.iter().map(|secret| hmac_signed(&forge, alg, &json!(forge.id), secret)));
    }
}

fn hmac_signed(forge: &Forge, alg: &str, kid: &Value, secret: &[u8]) -> String {
    let mut header = forge.header();
    header["alg"] = json!(alg);
    header["kid"] = kid.clone();
    let message =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(fixtures::claims().to_string().as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encode(tag.as_ref()))
}

/// J3, J4
#[test]
fn another_algorithm_of_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rsa.key");
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(pkcs8.as_ref()));
    fs::write(&file, pem).unwrap();
    let keys = Arc::new(Keys::load_or_create(&[file]).unwrap());
    let verifier = Verifier::plain(Arc::clone(&keys));
    let token = |alg: &str, padding: &'static dyn aws_lc_rs::signature::RsaEncoding| {
        let header = json!({ "typ": "at+jwt", "alg": alg, "kid": keys.signing_id() });
        let message =
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(fixtures::claims().to_string().as_bytes()));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", encode(&signature))
    };
    let accepted = |token: String| verifier.verify(SERVICE, &token).is_some();
    assert!(accepted(token("RS256", &RSA_PKCS1_SHA256)));
    assert!(!accepted(token("RS384", &RSA_PKCS1_SHA384)));
    assert!(!accepted(token("PS256", &RSA_PSS_SHA256)));
    assert!(!accepted(token("RS256", &RSA_PKCS1_SHA384)));
    assert!(!accepted(token("RS384", &RSA_PKCS1_SHA256)));
}

/// J4, J23
#[test]
fn signatures_that_are_none() {
    let forge = Forge::new();
    let good = forge.claiming(|_| ());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let with = |signature: &[u8]| format!("{message}.{}", encode(signature));
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let asn1 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, forge.pair.to_pkcs8v1().unwrap().as_ref());
    let der = asn1.unwrap().sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    let flipped = (0..bytes.len()).map(|at| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        with(&bytes)
    });
    refuses(&forge, flipped);
    let long = [&bytes[..], &[0]].concat();
    refuses(
        &forge,
        [with(&[0; 64]), with(b""), with(der.as_ref()), with(&bytes[..63]), with(&long), message.to_owned()],
    );
    let other = forge.claiming(|claims| claims["sub"] = json!("root"));
    let swapped = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    refuses(&forge, [swapped]);
}

/// J23, J27
#[test]
fn forms_that_are_none() {
    let forge = Forge::new();
    let good = forge.claiming(|_| ());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let json = json!({ "payload": payload, "protected": header, "signature": signature }).to_string();
    refuses(
        &forge,
        [
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.{signature}"),
            format!("{header}.{header}.{payload}.{signature}"),
            format!("{header}..{payload}.{signature}"),
            format!("{header}.{payload}.{signature}.{header}.{payload}"),
            json,
            format!("{header}=.{payload}.{signature}"),
            format!("{header}.{payload}.{signature}=="),
            format!(" {good}"),
            format!("{good} "),
            format!("{good}\n"),
            format!("{good},{good}"),
            good.replace('.', "\u{2024}"),
            "äöü.äöü.äöü".to_owned(),
            "..".to_owned(),
            ".".to_owned(),
            String::new(),
            "\0".to_owned(),
        ],
    );
}

/// J23
#[test]
fn the_other_base64_alphabets() {
    let forge = Forge::new();
    let header = forge.header().to_string();
    // Bytes whose encoding needs the last two letters of the alphabet, so that the alphabets differ.
    let mut body = fixtures::claims();
    body["jti"] = json!("ÿ~~~???>>>");
    let body = body.to_string();
    let standard = STANDARD_NO_PAD.encode(&body);
    assert_ne!(standard, encode(body.as_bytes()));
    assert!(accepted(&forge, &forge.sign_raw(header.as_bytes(), body.as_bytes())));
    let padded = (0..3).map(|blanks| URL_SAFE.encode(format!("{body}{:blanks$}", ""))).find(|text| text.ends_with('='));
    for payload in [standard, STANDARD.encode(&body), padded.unwrap()] {
        let message = format!("{}.{payload}", encode(header.as_bytes()));
        let signature = forge.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        refuses(&forge, [format!("{message}.{}", encode(signature.as_ref()))]);
    }
}

/// J5, J6
#[test]
fn keys_that_are_not_ours() {
    let (forge, other) = (Forge::new(), Forge::new());
    control(&other);
    let stolen_name = Forge { id: forge.id.clone(), ..other };
    refuses(&forge, [stolen_name.claiming(|_| ())]);
    let kids = [
        json!("unknown"),
        json!(""),
        json!(null),
        json!(1),
        json!([forge.id]),
        json!(format!("{}\0", forge.id)),
        json!(format!(" {}", forge.id)),
        json!(forge.id.to_lowercase()),
        json!("../../../../dev/null"),
        json!("file:///dev/null"),
        json!("https://127.0.0.1/key"),
        json!("' OR '1'='1"),
        json!(forge.file().to_str().unwrap()),
    ];
    for kid in kids {
        refuses(&forge, [forge.headed(|header| header["kid"] = kid.clone()), hmac_signed(&forge, "HS256", &kid, b"")]);
    }
    refuses(&forge, [forge.headed(|header| drop(header.as_object_mut().unwrap().remove("kid")))]);
}

/// J7, J8
#[test]
fn keys_in_the_header() {
    let forge = Forge::new();
    let attacker = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = attacker.public_key().as_ref();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) });
    let certificate = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    let certificate = STANDARD.encode(certificate.cert.der());
    let members = [
        ("jwk", jwk),
        ("x5c", json!([certificate])),
        ("x5c", json!([certificate, certificate])),
        ("jku", json!("http://127.0.0.1:1/jwks")),
        ("x5u", json!("http://127.0.0.1:1/chain")),
        ("x5t", json!("AAAA")),
    ];
    for (name, value) in members {
        let mut header = forge.header();
        header[name] = value;
        let by_attacker = Forge { pair: copy(&attacker), id: forge.id.clone(), ..Forge::new() };
        // Signed by the attacker, with our key's name and without; and even by us, since we write no such member.
        let named = by_attacker.sign(&header, &fixtures::claims());
        let ours = forge.sign(&header, &fixtures::claims());
        header.as_object_mut().unwrap().remove("kid");
        refuses(&forge, [named, ours, by_attacker.sign(&header, &fixtures::claims())]);
    }
}

fn copy(pair: &EcdsaKeyPair) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.to_pkcs8v1().unwrap().as_ref()).unwrap()
}

/// J10
#[test]
fn header_members_that_we_do_not_write() {
    let forge = Forge::new();
    let members = [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(null)),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ];
    refuses(&forge, members.map(|(name, value)| forge.headed(|header| header[name] = value)));
}

/// J32
#[test]
fn types_of_other_tokens() {
    let forge = Forge::new();
    let types =
        ["JWT", "rt+jwt", "refresh+jwt", "deploy+jwt", "application/at+jwt", "AT+JWT", "at+jwt ", ""].map(Value::from);
    let types = types.into_iter().chain([json!(null), json!(["at+jwt"])]);
    refuses(&forge, types.map(|typ| forge.headed(|header| header["typ"] = typ)));
    refuses(&forge, [forge.headed(|header| drop(header.as_object_mut().unwrap().remove("typ")))]);
}

#[test]
fn duplicate_members() {
    let forge = Forge::new();
    let header = format!(r#"{{"typ":"at+jwt","alg":"none","alg":"ES256","kid":"{}"}}"#, forge.id);
    let good = fixtures::claims().to_string();
    let twice = format!(r#"{{"sub":"root",{}"#, good.strip_prefix('{').unwrap());
    assert!(good.contains(r#""sub":"""#));
    refuses(
        &forge,
        [
            forge.sign_raw(header.as_bytes(), good.as_bytes()),
            forge.sign_raw(forge.header().to_string().as_bytes(), twice.as_bytes()),
        ],
    );
}
