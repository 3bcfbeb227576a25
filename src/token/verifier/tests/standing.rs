//! The user behind a token, asked of a real password file.

use super::*;

/// A chain of one password file in the forge's folder.
pub(super) fn chain(forge: &Forge, lines: &[(&str, &str)], disabled: &[&str]) -> Chain {
    let file = forge.folder.path().join("htpasswd");
    fs::write(&file, lines.iter().map(|(user, hash)| format!("{user}:{hash}\n")).collect::<String>()).unwrap();
    let identity = config::Identity {
        realm: "Registry".to_owned(),
        disabled_users: disabled.iter().map(|&name| name.to_owned()).collect(),
        groups: [("team-a".to_owned(), vec!["alice".to_owned()])].into(),
        providers: vec![config::Provider::Htpasswd(config::Htpasswd { file })],
        cache: Duration::from_secs(300),
    };
    Chain::build(&identity).unwrap()
}

pub(super) fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

async fn issued(forge: &Forge, chain: &Chain) -> String {
    let login = BasicCredentials { username: "alice".to_owned(), password: config::Secret::new("one".to_owned()) };
    let alice = chain.login(&login, [127, 0, 0, 1].into()).await.unwrap();
    let issuer = Issuer::new(Arc::clone(&forge.keys), ISSUER.to_owned(), Duration::from_secs(900));
    let mut granted = ScopeSet::default();
    granted.add_requested("repository:team-a/app:pull");
    issuer.issue(SERVICE, &alice, &granted).unwrap().token
}

#[tokio::test]
async fn the_bearer_of_a_users_token_is_that_user_within_the_token() {
    let forge = Forge::new();
    let hash = hash("one");
    let chain = chain(&forge, &[("alice", &hash)], &[]);
    let token = issued(&forge, &chain).await;
    let alice = forge.verifier().access(SERVICE, &token, &chain, None).await.unwrap();
    assert_eq!(alice.name(), Some("alice"));
    assert_eq!(*alice.as_user().unwrap().groups, ["team-a".into()]);
    let app = RepositoryName::parse("team-a/app").unwrap();
    assert_eq!(alice.carries(&app), Action::Pull.into());
}

#[tokio::test]
async fn the_bearer_of_an_anonymous_token_is_nobody_within_the_token() {
    let forge = Forge::new();
    let chain = chain(&forge, &[], &[]);
    let nobody = forge.verifier().access(SERVICE, &forge.claiming(|_| ()), &chain, None).await.unwrap();
    assert_eq!(nobody.name(), None);
    let library = RepositoryName::parse("library/x").unwrap();
    assert_eq!(nobody.carries(&library), Action::Pull.into());
    let empty = forge.claiming(|claims| claims["access"] = json!([]));
    let nobody = forge.verifier().access(SERVICE, &empty, &chain, None).await.unwrap();
    assert!(nobody.limit().is_some() && nobody.carries(&library).is_empty());
}

/// J31
#[tokio::test]
async fn a_token_dies_with_what_proved_it() {
    let forge = Forge::new();
    let (one, two) = (hash("one"), hash("two"));
    let first = chain(&forge, &[("alice", &one)], &[]);
    let token = issued(&forge, &first).await;
    let verifier = forge.verifier();
    assert!(verifier.access(SERVICE, &token, &chain(&forge, &[("alice", &one)], &[]), None).await.is_ok());
    let same_password = hash("one");
    for changed in [
        chain(&forge, &[("alice", &two)], &[]),
        chain(&forge, &[("alice", &same_password)], &[]),
        chain(&forge, &[("bob", &one)], &[]),
        chain(&forge, &[], &[]),
        chain(&forge, &[("alice", &one)], &["alice"]),
    ] {
        let refused = verifier.access(SERVICE, &token, &changed, None).await.unwrap_err();
        assert!(matches!(refused, VerifyError::Invalid(_)));
    }
}

#[tokio::test]
async fn a_name_in_a_token_needs_its_proof() {
    let forge = Forge::new();
    let hash = hash("one");
    let chain = chain(&forge, &[("alice", &hash), ("bob", &hash)], &[]);
    let genuine = decode(issued(&forge, &chain).await.split('.').nth(1).unwrap());
    let changed = |change: fn(&mut Value)| {
        let mut claims = genuine.clone();
        change(&mut claims);
        forge.sign(&forge.header(), &claims)
    };
    let verifier = forge.verifier();
    assert!(verifier.access(SERVICE, &changed(|_| ()), &chain, None).await.is_ok());
    let forged: [fn(&mut Value); 9] = [
        |claims| claims["sub"] = json!("carol"),
        |claims| claims["sub"] = json!("Alice"),
        |claims| claims["sub"] = json!(""),
        |claims| claims["via"] = json!("ldap"),
        |claims| claims["via"] = json!(""),
        |claims| claims["via"] = json!(null),
        |claims| claims["prf"] = json!(""),
        |claims| claims["prf"] = json!(null),
        |claims| drop(claims.as_object_mut().unwrap().remove("prf")),
    ];
    for change in forged {
        let refused = verifier.access(SERVICE, &changed(change), &chain, None).await.unwrap_err();
        assert!(matches!(refused, VerifyError::Invalid(_)));
    }
}
