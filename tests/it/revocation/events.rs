//! What may happen, and what it makes of each credential.

use serde_json::{Value, json};

use super::{
    providers::Change,
    scene::{Ids, SERVICE},
};

/// What a credential is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Pulls and pushes.
    Works,
    /// Its bearer is known, and the policy allows pulling only.
    Pulls,
    /// Its bearer is known, and the policy allows nothing.
    Denied,
    /// Refused, as one that never was.
    Dead,
    /// There are no credentials of this kind.
    Off,
}

use Fate::{Dead, Denied, Off, Pulls, Works};

/// For each credential of a user, in this order: an access token that was got by password, one got by a refresh token, one
/// got by a deploy token; the refresh token; the deploy token as a password; the password.
pub(super) type Fates = [Fate; 6];

pub(super) const WORKS: Fates = [Works; 6];
const PULLS: Fates = [Pulls; 6];
const DENIED: Fates = [Denied; 6];
const DEAD: Fates = [Dead; 6];
/// Whatever was signed.
const TOKENS_DEAD: Fates = [Dead, Dead, Dead, Dead, Dead, Works];

/// Those that the event is not about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    GoOn,
    Alike,
    AlikeInOneFile,
}

pub(super) enum Cause {
    /// The configuration is changed and read again.
    Reload(fn(&mut Value, &Ids)),
    /// These changes where alice is known, one after the other.
    Provider(&'static [Change]),
}

pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) cause: Cause,
    pub(super) alice: Fates,
    pub(super) others: Others,
    /// What challenges name afterwards.
    pub(super) service: &'static str,
}

const fn reload(name: &'static str, change: fn(&mut Value, &Ids), alice: Fates, others: Others) -> Event {
    Event { name, cause: Cause::Reload(change), alice, others, service: SERVICE }
}

const fn provider(name: &'static str, changes: &'static [Change], alice: Fates, others: Others) -> Event {
    Event { name, cause: Cause::Provider(changes), alice, others, service: SERVICE }
}

pub(super) const EVENTS: &[Event] = &[
    reload("grant removed", |config, _| drop(grants(config).remove(1)), DENIED, Others::GoOn),
    reload("grant narrowed", |config, _| grants(config)[1]["actions"] = json!(["pull"]), PULLS, Others::GoOn),
    reload(
        "another group in the grant",
        |config, _| grants(config)[1]["to"] = json!(["group:team-c"]),
        DENIED,
        Others::GoOn,
    ),
    reload(
        "out of the group",
        |config, _| config["identity"]["groups"]["team-a"] = json!(["carol"]),
        DENIED,
        Others::GoOn,
    ),
    reload("user disabled", |config, _| config["identity"]["disabled_users"] = json!(["alice"]), DEAD, Others::GoOn),
    reload(
        "refresh token revoked",
        |config, ids| config["tokens"]["revoked"] = json!([ids.refresh]),
        [Works, Dead, Works, Dead, Works, Works],
        Others::GoOn,
    ),
    reload(
        "deploy token revoked",
        |config, ids| config["tokens"]["revoked"] = json!([ids.deploy]),
        [Works, Works, Dead, Works, Dead, Works],
        Others::GoOn,
    ),
    reload(
        "another id revoked",
        |config, _| config["tokens"]["revoked"] = json!(["0123456789abcdef0123456789abcdef"]),
        WORKS,
        Others::GoOn,
    ),
    reload(
        "another key signs, the former still verifies",
        |config, _| config["tokens"]["keys"] = json!(["new.key", "token.key"]),
        WORKS,
        Others::GoOn,
    ),
    reload("key removed", |config, _| config["tokens"]["keys"] = json!(["new.key"]), TOKENS_DEAD, Others::Alike),
    reload("another issuer", |config, _| config["tokens"]["issuer"] = json!("other"), TOKENS_DEAD, Others::Alike),
    // What was made from a refresh token while there were some is an access token like any other.
    reload(
        "no refresh tokens any more",
        |config, _| config["tokens"]["refresh"]["enabled"] = json!(false),
        [Works, Works, Works, Off, Works, Works],
        Others::Alike,
    ),
    Event {
        service: "other.test",
        ..reload(
            "another service",
            |config, _| config["tokens"]["service"] = json!("other.test"),
            TOKENS_DEAD,
            Others::Alike,
        )
    },
    Event {
        service: "registry.test",
        ..reload("another first host", |config, _| hosts(config).reverse(), TOKENS_DEAD, Others::Alike)
    },
    reload("a configuration that cannot be used", |config, _| config["access"] = json!(1), WORKS, Others::GoOn),
    reload("an unchanged configuration", |_, _| {}, WORKS, Others::GoOn),
    provider("another password", &[Change::OtherPassword], DEAD, Others::GoOn),
    provider("the same password in another line", &[Change::NewLine], TOKENS_DEAD, Others::GoOn),
    provider("line removed", &[Change::Removed], DEAD, Others::GoOn),
    provider("line removed and made anew", &[Change::Removed, Change::NewLine], TOKENS_DEAD, Others::GoOn),
    provider("file emptied", &[Change::Emptied], DEAD, Others::AlikeInOneFile),
    provider("file unreadable", &[Change::Unreadable], WORKS, Others::GoOn),
];

fn grants(config: &mut Value) -> &mut Vec<Value> {
    config["access"]["grants"].as_array_mut().unwrap()
}

fn hosts(config: &mut Value) -> &mut Vec<Value> {
    config["registries"][0]["hosts"].as_array_mut().unwrap()
}
