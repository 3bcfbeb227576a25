//! Tokens with the gate's own signature and claims of the test's choice.

use std::fs;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;

use super::Portcullis;

/// The same token with other claims, signed with the gate's own key: all that is wrong with it is what was changed.
pub(crate) fn forged(gate: &Portcullis, token: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut parts = token.split('.').map(|part| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()
    });
    let header: Header = serde_json::from_slice(&parts.next().unwrap()).unwrap();
    let mut claims: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
    change(&mut claims);
    let key = EncodingKey::from_ec_pem(&fs::read(gate.dir().join("token.key")).unwrap()).unwrap();
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}
