//! Refresh and deploy tokens, what is made from them, and what is remembered of all.

use super::{
    standing::{chain, hash},
    *,
};
use crate::{identity::User, registry::ScopePattern};

/// Alice, and tokens of hers made by hand.
struct Scene {
    forge: Forge,
    chain: Chain,
    alice: User,
}

impl Scene {
    async fn new() -> Self {
        let forge = Forge::new();
        let chain = chain(&forge, &[("alice", &hash("one")), ("bob", &hash("two"))], &[]);
        let alice = chain.find("alice").await.unwrap().unwrap();
        Self { forge, chain, alice }
    }

    fn issuer(&self) -> Issuer {
        Issuer::new(Arc::clone(&self.forge.keys), ISSUER.to_owned(), Duration::from_secs(900))
    }

    /// A token that is right in all, but for what `change` does to its claims.
    fn token(&self, kind: TokenKind, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.forge.header();
        header["typ"] = json!(kind.media_type());
        let mut claims = fixtures::claims();
        let alice = json!({
            "sub": "alice", "via": &*self.alice.via, "prf": self.alice.proof.as_str(), "aud": kind.audience(SERVICE),
        });
        claims.as_object_mut().unwrap().extend(alice.as_object().unwrap().clone());
        match kind {
            TokenKind::Access => (),
            TokenKind::Refresh => drop(claims.as_object_mut().unwrap().remove("access")),
            TokenKind::Deploy => {
                claims.as_object_mut().unwrap().remove("access");
                claims["grant"] = json!(["team-a/**:pull,push"]);
            }
        }
        change(&mut claims);
        self.forge.sign(&header, &claims)
    }

    /// Takes a text for a token of a kind.
    async fn take(&self, verifier: &Verifier, kind: TokenKind, token: &str) -> Result<Principal, VerifyError> {
        match kind {
            TokenKind::Access => verifier.access(SERVICE, token, &self.chain, None).await,
            TokenKind::Refresh => verifier.refresh(SERVICE, token, &self.chain).await,
            TokenKind::Deploy => self.deploy(verifier, "alice", token).await,
        }
    }

    async fn deploy(&self, verifier: &Verifier, name: &str, token: &str) -> Result<Principal, VerifyError> {
        verifier.deploy(SERVICE, &BasicCredentials::new(name, token).unwrap(), &self.chain).await
    }

    async fn accepts(&self, kind: TokenKind, token: &str) -> bool {
        self.take(&self.forge.verifier(), kind, token).await.is_ok()
    }
}

const KINDS: [TokenKind; 3] = [TokenKind::Access, TokenKind::Refresh, TokenKind::Deploy];
const LONG_LIVED: [TokenKind; 2] = [TokenKind::Refresh, TokenKind::Deploy];

/// J32, one part at a time: each token is signed by our own key.
#[tokio::test]
async fn no_kind_is_taken_for_another() {
    let scene = Scene::new().await;
    for made in KINDS {
        for (typ, audience, taken) in KINDS
            .into_iter()
            .flat_map(|typ| KINDS.map(|audience| (typ, audience)))
            .flat_map(|(typ, audience)| KINDS.map(|taken| (typ, audience, taken)))
        {
            let good = scene.token(made, |claims| claims["aud"] = json!(audience.audience(SERVICE)));
            let mut header = scene.forge.header();
            header["typ"] = json!(typ.media_type());
            let token = scene.forge.sign(&header, &decode(good.split('.').nth(1).unwrap()));
            let expected = made == typ && typ == audience && audience == taken;
            assert_eq!(scene.accepts(taken, &token).await, expected, "{made:?} {typ:?} {audience:?} {taken:?}");
        }
    }
}

/// J14, J15: unlike an access token, they end to the second, so that what is made from them ends soon after.
#[tokio::test]
async fn they_end_in_time() {
    let scene = Scene::new().await;
    let now = now();
    for kind in LONG_LIVED {
        for (claim, date, good) in [
            ("exp", json!(now + 30), true),
            ("exp", json!(now - 2), false),
            ("exp", json!(now - 30), false),
            ("exp", json!(0), false),
            ("exp", json!(-1), false),
            ("exp", json!(null), false),
            ("exp", json!(u64::MAX), false),
            ("exp", json!("4000000000"), false),
            ("exp", json!(253_402_300_799_u64), true),
            ("exp", json!(253_402_300_800_u64), false),
            ("nbf", json!(now + 30), true),
            ("nbf", json!(now + 300), false),
            ("nbf", json!(u64::MAX), false),
        ] {
            let token = scene.token(kind, |claims| claims[claim] = date.clone());
            assert_eq!(scene.accepts(kind, &token).await, good, "{kind:?} {claim} {date}");
        }
    }
    let late = scene.token(TokenKind::Access, |claims| claims["exp"] = json!(now - 30));
    assert!(scene.accepts(TokenKind::Access, &late).await);
}

#[tokio::test]
async fn each_kind_has_claims_of_its_own() {
    let scene = Scene::new().await;
    let access = json!([{ "type": "repository", "name": "team-a/app", "actions": ["pull"] }]);
    let parent = json!({ "jti": "0", "exp": now() + 900 });
    for kind in LONG_LIVED {
        assert!(scene.accepts(kind, &scene.token(kind, |_| ())).await);
        for (claim, value) in [
            ("access", access.clone()),
            ("access", json!([])),
            ("parent", parent.clone()),
            ("jti", json!("")),
            ("sub", json!("")),
            ("sub", json!("bob")),
            ("sub", json!("nobody")),
            ("via", json!(null)),
            ("via", json!("ldap")),
            ("prf", json!(null)),
            ("prf", json!("")),
            ("iss", json!("other")),
        ] {
            let token = scene.token(kind, |claims| claims[claim] = value.clone());
            assert!(!scene.accepts(kind, &token).await, "{kind:?} {claim} {value}");
        }
        let nameless = scene.token(kind, |claims| drop(claims.as_object_mut().unwrap().remove("jti")));
        assert!(!scene.accepts(kind, &nameless).await, "what has no id cannot be revoked");
    }
    let limited = scene.token(TokenKind::Refresh, |claims| claims["grant"] = json!([]));
    assert!(!scene.accepts(TokenKind::Refresh, &limited).await);
    for grant in [json!(null), json!("team-a/**:pull"), json!([1]), json!([null]), json!({})] {
        let token = scene.token(TokenKind::Deploy, |claims| claims["grant"] = grant.clone());
        assert!(!scene.accepts(TokenKind::Deploy, &token).await, "{grant}");
    }
    for broken in
        [json!({ "jti": "0" }), json!({ "exp": 1 }), json!("0"), json!([]), json!({ "jti": "0", "exp": 1, "x": 1 })]
    {
        let token = scene.token(TokenKind::Access, |claims| claims["parent"] = broken.clone());
        assert!(!scene.accepts(TokenKind::Access, &token).await, "{broken}");
    }
}

#[tokio::test]
async fn a_deploy_token_is_its_users_within_its_patterns() {
    let scene = Scene::new().await;
    let verifier = scene.forge.verifier();
    let token = scene.token(TokenKind::Deploy, |claims| {
        claims["grant"] = json!(["team-a/**:pull", "home/$user/**:pull,push", "**", "*:*", "x:read", "", "a*:pull"]);
    });
    for name in ["bob", "Alice", "alic", "alice ", "nobody", "<token>"] {
        assert!(scene.deploy(&verifier, name, &token).await.is_err(), "{name}");
    }
    let alice = scene.deploy(&verifier, "alice", &token).await.unwrap();
    let reach = |name: &str| {
        let name = RepositoryName::parse(name).unwrap();
        assert_eq!(alice.reaches(&name), alice.carries(&name));
        alice.reaches(&name).to_string()
    };
    // What cannot be read gives nothing.
    for (name, actions) in [
        ("team-a/app", "pull"),
        ("team-a/b/c", "pull"),
        ("home/alice/x", "pull,push"),
        ("home/bob/x", ""),
        ("library/x", ""),
        ("x", ""),
    ] {
        assert_eq!(reach(name), actions, "{name}");
    }
    assert_eq!(&*alice.parent().unwrap().id, "0");
    let nothing = scene.token(TokenKind::Deploy, |claims| claims["grant"] = json!([]));
    let nobody = scene.deploy(&verifier, "alice", &nothing).await.unwrap();
    assert!(nobody.reaches(&RepositoryName::parse("team-a/app").unwrap()).is_empty());
}

#[tokio::test]
async fn what_is_made_from_one_carries_its_limits_and_its_end() {
    let scene = Scene::new().await;
    let verifier = scene.forge.verifier();
    let pattern = ScopePattern::parse("team-a/app:pull").unwrap();
    let deploy =
        scene.issuer().issue_deploy(SERVICE, &scene.alice, &[pattern].into_iter().collect(), Duration::from_secs(300));
    let deploy = deploy.unwrap();
    let by_deploy = scene.deploy(&verifier, "alice", &deploy.token).await.unwrap();
    let mut everything = ScopeSet::default();
    everything.add_requested("repository:team-a/app:pull,push repository:team-a/other:pull");
    // More than the endpoint would grant: the patterns count when it is used.
    let made = scene.issuer().issue(SERVICE, &by_deploy, &everything).unwrap();
    assert!((295..=300).contains(&made.expires_in), "{}", made.expires_in);
    let bearer = verifier.access(SERVICE, &made.token, &scene.chain, None).await.unwrap();
    let carries = |name: &str| bearer.carries(&RepositoryName::parse(name).unwrap()).to_string();
    assert_eq!((carries("team-a/app"), carries("team-a/other")), ("pull".to_owned(), String::new()));
    assert_eq!(*bearer.parent().unwrap().id, deploy.id);

    let refresh = scene.issuer().issue_refresh(SERVICE, &scene.alice, Duration::from_secs(600)).unwrap();
    let by_refresh = verifier.refresh(SERVICE, &refresh.token, &scene.chain).await.unwrap();
    assert!(by_refresh.limit().is_none());
    let made = scene.issuer().issue(SERVICE, &by_refresh, &everything).unwrap();
    let bearer = verifier.access(SERVICE, &made.token, &scene.chain, None).await.unwrap();
    assert_eq!(*bearer.parent().unwrap().id, refresh.id);
    assert!(bearer.carries(&RepositoryName::parse("team-a/other").unwrap()).contains(Action::Pull));

    let now = now();
    for left in [0, 1, 59, 60, 61, 600, 899, 900, 100_000] {
        let parent = Parent { id: "0".into(), expires: now + left };
        let issued =
            scene.issuer().issue(SERVICE, &Principal::user(Arc::new(scene.alice.clone())).through(parent), &everything);
        let issued = issued.unwrap();
        let end = decode(issued.token.split('.').nth(1).unwrap())["exp"].as_u64().unwrap();
        assert!(end <= now + left + 60 && (60..=900).contains(&issued.expires_in), "{left}: {}", issued.expires_in);
    }
}

/// A hit saves the signature and nothing else.
#[tokio::test]
async fn what_is_remembered_is_still_judged() {
    let scene = Scene::new().await;
    let others = Forge::new();
    for kind in KINDS {
        let first = scene.forge.verifier();
        let token = scene.token(kind, |claims| claims["jti"] = json!("f00"));
        let held = |verifier: &Verifier| verifier.verified.get(kind, SERVICE, &token, || Err(())).is_ok();
        assert!(!held(&first));
        assert!(scene.take(&first, kind, &token).await.is_ok());
        assert!(held(&first));

        // With keys that know nothing of it: who did not see it refuses it, who remembers it does not look.
        let keyless = Verifier { keys: Arc::clone(&others.keys), ..first.clone() };
        assert!(scene.take(&others.verifier(), kind, &token).await.is_err());
        assert!(scene.take(&keyless, kind, &token).await.is_ok());
        // What is new has its signature checked.
        let unseen = scene.token(kind, |claims| claims["jti"] = json!("f01"));
        assert!(scene.take(&keyless, kind, &unseen).await.is_err());

        let revoking = Verifier { revoked: Arc::new(["f00".to_owned()].into()), ..keyless.clone() };
        assert!(matches!(scene.take(&revoking, kind, &token).await.unwrap_err(), VerifyError::Invalid(_)));
        let banned = Scene {
            chain: chain(&scene.forge, &[("alice", "!")], &[]),
            forge: Forge::new(),
            alice: scene.alice.clone(),
        };
        assert!(matches!(banned.take(&keyless, kind, &token).await.unwrap_err(), VerifyError::Invalid(_)));
        assert!(scene.take(&keyless, kind, &token).await.is_ok(), "{kind:?}: neither forgot it");
    }
}

#[tokio::test]
async fn what_ran_out_is_forgotten() {
    let scene = Scene::new().await;
    let verifier = scene.forge.verifier();
    for kind in KINDS {
        let token = scene.token(kind, |claims| claims["exp"] = json!(now() - 120));
        let claims = verifier.check(kind, SERVICE, &token).unwrap();
        verifier.verified.get(kind, SERVICE, &token, || Verified::new(claims).ok_or(())).unwrap();
        assert!(scene.take(&verifier, kind, &token).await.is_err());
        assert!(verifier.verified.get(kind, SERVICE, &token, || Err(())).is_err(), "{kind:?}");
    }
}

/// Also through what was made from it.
#[tokio::test]
async fn what_is_revoked_takes_along_what_was_made_from_it() {
    let scene = Scene::new().await;
    let revoking = |id: &str| Verifier { revoked: Arc::new([id.to_owned()].into()), ..scene.forge.verifier() };
    for kind in LONG_LIVED {
        let token = scene.token(kind, |claims| claims["jti"] = json!("a1"));
        assert!(scene.take(&revoking("a1"), kind, &token).await.is_err());
        assert!(scene.take(&revoking("a"), kind, &token).await.is_ok());
        assert!(scene.take(&revoking("A1"), kind, &token).await.is_ok());
    }
    let made = scene.token(TokenKind::Access, |claims| claims["parent"] = json!({ "jti": "a1", "exp": now() + 900 }));
    assert!(scene.take(&revoking("a1"), TokenKind::Access, &made).await.is_err());
    assert!(scene.take(&revoking("a2"), TokenKind::Access, &made).await.is_ok());
}
