//! Configurations that differ in what clients can notice.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{ALICE, BOB, Dice, Leaf, Login, htpasswd_line};

/// Her password is one or the other.
pub(super) const CAROL: [Login; 2] = [Login::new("carol", "first password"), Login::new("carol", "second password")];
/// A host that is served or not.
pub(super) const SECOND: &str = "second.test";
/// The size that a manifest may have where `small_manifests` holds, in bytes.
pub(super) const SMALL: usize = 2048;
/// Certificates that take turns.
pub(super) const LEAVES: usize = 3;

/// What is in force in one configuration and not in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    /// alice may pull from `shared/**`.
    pub(super) shared: bool,
    /// bob is in the group that may pull from `team/**`.
    pub(super) guest: bool,
    /// Which password carol has.
    pub(super) carol: usize,
    /// `closed/**` is read-only.
    pub(super) read_only: bool,
    /// `moved/**` lives in the other registry.
    pub(super) elsewhere: bool,
    /// There is another server of the first registry, a replica.
    pub(super) replica: bool,
    /// There is a registry entry for another host.
    pub(super) second: bool,
    /// Which certificate is shown.
    pub(super) leaf: usize,
    /// Manifests are at most `SMALL`.
    pub(super) small_manifests: bool,
    /// bob's deploy token is revoked.
    pub(super) revoked: bool,
}

/// How a configuration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Defect {
    NoYaml,
    HalfWritten,
    UnknownKey,
    MissingFile,
    WrongKey,
    UnknownGroup,
}

pub(super) const DEFECTS: [Defect; 6] = [
    Defect::NoYaml,
    Defect::HalfWritten,
    Defect::UnknownKey,
    Defect::MissingFile,
    Defect::WrongKey,
    Defect::UnknownGroup,
];

/// What configurations are made of.
pub(super) struct Parts {
    /// Has what does not change.
    pub(super) base: Value,
    pub(super) leaves: Vec<Leaf>,
    pub(super) first: String,
    pub(super) replica: String,
    pub(super) elsewhere: String,
    /// The id of bob's deploy token.
    pub(super) token: String,
}

impl Variant {
    pub(super) const FIRST: Self = Self {
        shared: true,
        guest: true,
        carol: 0,
        read_only: false,
        elsewhere: false,
        replica: false,
        second: false,
        leaf: 0,
        small_manifests: false,
        revoked: false,
    };

    /// Some other one.
    pub(super) fn after(self, dice: &mut Dice) -> Self {
        let mut coin = || dice.roll() & 0x100 == 0;
        let next = Self {
            shared: coin(),
            guest: coin(),
            carol: usize::from(coin()),
            read_only: coin(),
            elsewhere: coin(),
            replica: coin(),
            second: coin(),
            leaf: 0,
            small_manifests: coin(),
            revoked: coin(),
        };
        Self { leaf: (self.leaf + usize::try_from(dice.between(1, LEAVES as u64)).unwrap()) % LEAVES, ..next }
    }

    /// The whole configuration.
    pub(super) fn configuration(self, parts: &Parts) -> Value {
        let mut config = parts.base.clone();
        let leaf = &parts.leaves[self.leaf];
        config["tls"]["certificates"] =
            json!([{ "certificate_file": leaf.certificate, "key_file": leaf.key, "default": true }]);
        config["registries"] = self.registries(parts);
        config["identity"]["groups"] = json!({ "guests": if self.guest { vec![BOB.name] } else { vec![] } });
        config["identity"]["providers"] = json!([{ "htpasswd": { "file": format!("htpasswd-{}", self.carol) } }]);
        config["tokens"]["revoked"] = if self.revoked { json!([parts.token]) } else { json!([]) };
        config["limits"] = json!({
            "manifest": if self.small_manifests { SMALL } else { 1 << 20 },
            // Wrong logins are a part of the load.
            "failed_logins": null,
        });
        config["access"]["grants"] = self.grants();
        config
    }

    fn registries(self, parts: &Parts) -> Value {
        let mut servers = vec![json!({ "url": parts.first })];
        if self.replica {
            servers.push(json!({ "url": parts.replica, "role": "replica" }));
        }
        let elsewhere =
            json!([{ "repositories": ["moved/**"], "upstream": { "servers": [{ "url": parts.elsewhere }] } }]);
        let first = json!({
            "hosts": ["localhost", "127.0.0.1", "registry.test"],
            "upstream": { "servers": servers },
            "routes": if self.elsewhere { elsewhere } else { json!([]) },
            "read_only": if self.read_only { json!(["closed/**"]) } else { json!(false) },
        });
        let second = json!({ "hosts": [SECOND], "upstream": { "servers": [{ "url": parts.elsewhere }] } });
        if self.second { json!([first, second]) } else { json!([first]) }
    }

    fn grants(self) -> Value {
        let grant = |name: &str, repositories: &str, actions: &[&str], to: &[&str]| json!({ "name": name, "repositories": [repositories], "actions": actions, "to": to });
        let mut grants = vec![
            grant("team", "team/**", &["pull"], &["user:alice", "group:guests"]),
            grant("moved", "moved/**", &["pull"], &["user:alice"]),
            grant("closed", "closed/**", &["pull", "push", "delete"], &["user:alice"]),
            grant("pushed", "pushed/**", &["pull", "push"], &["user:alice"]),
        ];
        if self.shared {
            grants.push(grant("shared", "shared/**", &["pull"], &["user:alice"]));
        }
        Value::from(grants)
    }

    /// The same as a file that cannot be used.
    pub(super) fn broken(self, parts: &Parts, defect: Defect) -> String {
        let mut config = self.configuration(parts);
        match defect {
            Defect::NoYaml => return config.to_string() + "\n}: [",
            Defect::HalfWritten => {
                let text = config.to_string();
                return text[..text.len() / 2].to_owned();
            }
            Defect::UnknownKey => config["acess"] = json!({}),
            Defect::MissingFile => config["identity"]["providers"][0]["htpasswd"]["file"] = json!("missing"),
            Defect::WrongKey => {
                config["tls"]["certificates"][0]["key_file"] = json!(parts.leaves[(self.leaf + 1) % LEAVES].key);
            }
            Defect::UnknownGroup => config["access"]["grants"][0]["to"] = json!(["groop:guests"]),
        }
        config.to_string()
    }
}

/// Writes the password files, which differ in carol's line alone.
pub(super) fn write_passwords(folder: &Path) {
    let same = [ALICE, BOB].map(htpasswd_line).concat();
    for (number, carol) in CAROL.into_iter().enumerate() {
        std::fs::write(folder.join(format!("htpasswd-{number}")), format!("{same}{}", htpasswd_line(carol))).unwrap();
    }
}
