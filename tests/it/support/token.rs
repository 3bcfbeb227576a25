//! Tokens of every kind: asked for, read, and made by hand with the gate's own key.

use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;

use super::{Login, Portcullis, portcullis};

/// A deploy token as `portcullis token issue` printed it.
pub(crate) struct Deploy {
    /// What `tokens.revoked` and the log name it by.
    pub(crate) id: String,
    /// The user and, as the password, the token.
    pub(crate) login: Login,
}

impl Portcullis {
    /// A deploy token made on the command line.
    pub(crate) fn deploy_token(&self, user: &'static str, grants: &[&str]) -> Deploy {
        let mut command = portcullis();
        command.args(["token", "issue", "-c"]).arg(self.configuration()).args(["--user", user]);
        let output = command.args(grants.iter().flat_map(|grant| ["--grant", grant])).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let token = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        let id = claims(&token)["jti"].as_str().unwrap().to_owned();
        Deploy { id, login: Login::new(user, token.leak()) }
    }

    /// A refresh token, as docker login asks for one.
    pub(crate) fn refresh_token(&self, login: Login) -> String {
        let answer = self.curl("/token?client_id=docker&offline_token=true").user(login).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["refresh_token"].as_str().expect("a refresh token").to_owned()
    }
}

/// A form's text (`application/x-www-form-urlencoded`).
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| {
        let letter = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(letter).collect::<String>()
    };
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The claims of a token, unchecked.
pub(crate) fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The header of a token, unchecked.
pub(crate) fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap_or_else(|| panic!("no token: {token}"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// `access` as `name:actions`, sorted.
pub(crate) fn access(token: &str) -> Vec<String> {
    let claims = claims(token);
    let entries = claims["access"].as_array().unwrap().iter();
    let mut entries: Vec<_> = entries
        .map(|entry| {
            let mut actions: Vec<_> =
                entry["actions"].as_array().unwrap().iter().map(|action| action.as_str().unwrap()).collect();
            actions.sort_unstable();
            format!("{}:{}", entry["name"].as_str().unwrap(), actions.join(","))
        })
        .collect();
    entries.sort();
    entries
}

/// The same token with other claims, signed with the gate's own key: all that is wrong with it is what was changed.
pub(crate) fn forged(gate: &Portcullis, token: &str, change: impl FnOnce(&mut Value)) -> String {
    forged_as(gate, token, header(token)["typ"].as_str().unwrap(), change)
}

/// The same with another `typ`.
pub(crate) fn forged_as(gate: &Portcullis, token: &str, typ: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut header: Header = serde_json::from_value(header(token)).unwrap();
    header.typ = Some(typ.to_owned());
    let mut claims = claims(token);
    change(&mut claims);
    let key = EncodingKey::from_ec_pem(&fs::read(gate.dir().join("token.key")).unwrap()).unwrap();
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}
