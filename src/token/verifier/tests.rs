//! Attacks on tokens. Each forged token differs in one respect from a good one, and the good one is accepted.

mod contents;
mod forgery;
mod long_lived;
mod standing;

use std::{fs, time::Duration};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    config,
    identity::BasicCredentials,
    registry::{Action, Actions, RepositoryName, Resource, ScopeSet},
    token::{
        Issuer,
        claims::{self, now},
        fixtures::{self, Forge, ISSUER, SERVICE, decode, encode},
    },
};

fn accepted(forge: &Forge, token: &str) -> bool {
    forge.verifier().verify(SERVICE, token).is_some()
}

/// The control: a token made in the same way, without the attack, passes.
fn control(forge: &Forge) {
    assert!(accepted(forge, &forge.claiming(|_| ())));
}

fn refuses(forge: &Forge, tokens: impl IntoIterator<Item = String>) {
    control(forge);
    for token in tokens {
        let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
        assert!(!accepted(forge, &token), "{} {token:.200}", String::from_utf8_lossy(&header));
    }
}

fn scopes_of(forge: &Forge, access: Value) -> Vec<(Resource, Actions)> {
    let token = forge.claiming(|claims| claims["access"] = access);
    let verified = forge.verifier().verify(SERVICE, &token).unwrap();
    verified.limit.scopes.as_ref().unwrap().iter().map(|scope| (scope.resource.clone(), scope.actions)).collect()
}
