//! Claims, and tokens made to be hard to read.

use super::*;

/// J11, J12
#[test]
fn audiences() {
    let forge = Forge::new();
    let upper = SERVICE.to_uppercase();
    let wrong = [
        json!("other"),
        json!("registry.example"),
        json!("registry.example.com."),
        json!(upper),
        json!(""),
        json!(1),
        json!(null),
        json!([]),
        json!([[SERVICE]]),
        json!(["other"]),
        json!({ "a": SERVICE }),
        json!([1, SERVICE]),
    ];
    refuses(&forge, wrong.map(|audience| forge.claiming(|claims| claims["aud"] = audience)));
    refuses(&forge, [without(&forge, "aud")]);
    assert!(accepted(&forge, &forge.claiming(|claims| claims["aud"] = json!(["x", SERVICE]))));
}

fn without(forge: &Forge, claim: &str) -> String {
    forge.claiming(|claims| drop(claims.as_object_mut().unwrap().remove(claim)))
}

/// J30
#[test]
fn a_token_for_one_service_is_none_for_another() {
    let forge = Forge::new();
    let token = forge.claiming(|_| ());
    assert!(forge.verifier().verify(SERVICE, &token).is_some());
    assert!(forge.verifier().verify("hub.example.com", &token).is_none());
    assert!(forge.verifier().verify("", &token).is_none());
}

/// J13
#[test]
fn issuers() {
    let forge = Forge::new();
    let wrong = [json!("other"), json!("portcullis "), json!(""), json!(null), json!([ISSUER]), json!(1)];
    refuses(&forge, wrong.map(|issuer| forge.claiming(|claims| claims["iss"] = issuer)));
    refuses(&forge, [without(&forge, "iss")]);
}

#[test]
fn subjects() {
    let forge = Forge::new();
    let wrong = [json!(null), json!(1), json!([""]), json!({})];
    refuses(&forge, wrong.map(|subject| forge.claiming(|claims| claims["sub"] = subject)));
    refuses(&forge, [without(&forge, "sub")]);
}

/// J14
#[test]
fn expiry() {
    let forge = Forge::new();
    let now = now();
    let wrong = [
        json!(now - 120),
        json!(0),
        json!(-1),
        json!(-9_000_000_000_i64),
        json!(true),
        json!(null),
        json!([now + 900]),
        json!((now + 900).to_string()),
        json!(i64::MAX),
        json!(u64::MAX),
    ];
    refuses(&forge, wrong.map(|date| forge.claiming(|claims| claims["exp"] = date)));
    refuses(&forge, [without(&forge, "exp")]);
    for number in ["1e400", "18446744075409551616", "1e3", "99999999999999999999999999"] {
        let body = fixtures::claims().to_string().replace(&fixtures::claims()["exp"].to_string(), number);
        assert!(body.contains(number));
        refuses(&forge, [forge.sign_raw(forge.header().to_string().as_bytes(), body.as_bytes())]);
    }
    assert!(accepted(&forge, &forge.claiming(|claims| claims["exp"] = json!(now - 30))));
}

/// J15
#[test]
fn not_before() {
    let forge = Forge::new();
    let now = now();
    let wrong = [json!(now + 300), json!(i64::MAX), json!(u64::MAX), json!(-1), json!("0"), json!(true)];
    refuses(&forge, wrong.map(|date| forge.claiming(|claims| claims["nbf"] = date)));
    assert!(accepted(&forge, &forge.claiming(|claims| claims["nbf"] = json!(now + 30))));
    assert!(accepted(&forge, &without(&forge, "nbf")));
}

/// J17, J18
#[test]
fn access_of_another_shape() {
    let forge = Forge::new();
    let entry = |actions: Value| json!([{ "type": "repository", "name": "library/x", "actions": actions }]);
    let wrong = [
        json!(null),
        json!("repository:library/x:pull"),
        json!({}),
        json!([null]),
        json!(["repository:library/x:pull"]),
        entry(json!("pull")),
        entry(json!(null)),
        entry(json!([null])),
        entry(json!([["pull"]])),
        json!([{ "type": "repository", "name": null, "actions": ["pull"] }]),
        json!([{ "type": "repository", "name": "library/x" }]),
    ];
    refuses(&forge, wrong.map(|access| forge.claiming(|claims| claims["access"] = access)));
    refuses(&forge, [without(&forge, "access")]);
    refuses(
        &forge,
        [forge.claiming(|claims| {
            let access = claims.as_object_mut().unwrap().remove("access").unwrap();
            claims["Access"] = access;
        })],
    );
}

/// J19–J21
#[test]
fn access_outside_the_grammar_gives_nothing() {
    let forge = Forge::new();
    let entry = |kind: &str, name: &str, action: &str| json!([{ "type": kind, "name": name, "actions": [action] }]);
    let library = Resource::Repository(RepositoryName::parse("library/x").unwrap());
    assert_eq!(scopes_of(&forge, entry("repository", "library/x", "pull")), [(library.clone(), Action::Pull.into())]);
    assert_eq!(scopes_of(&forge, entry("repository", "library/x", "*")), [(library, Actions::ALL)]);
    for name in [
        "*",
        "**",
        "library/*",
        "library/x/",
        "/library/x",
        "Library/X",
        "library%2Fx",
        "pub/../library/x",
        "",
        "$user",
    ] {
        assert!(given(&scopes_of(&forge, entry("repository", name, "pull"))).is_empty(), "{name}");
    }
    for action in ["pull,push", "PULL", "Pull", "", " pull", "**", "all"] {
        assert!(given(&scopes_of(&forge, entry("repository", "library/x", action))).is_empty(), "{action}");
    }
    for kind in ["registry", "Repository", "", "repository(plugin)"] {
        assert!(given(&scopes_of(&forge, entry(kind, "library/x", "pull"))).is_empty(), "{kind}");
    }
}

fn given(scopes: &[(Resource, Actions)]) -> Vec<&Resource> {
    scopes.iter().filter(|(_, actions)| !actions.is_empty()).map(|(resource, _)| resource).collect()
}

/// J22
#[test]
fn two_entries_for_one_repository_add_up() {
    let forge = Forge::new();
    let entry = |action| json!({ "type": "repository", "name": "library/x", "actions": [action] });
    let scopes = scopes_of(&forge, json!([entry("pull"), entry("push")]));
    let library = Resource::Repository(RepositoryName::parse("library/x").unwrap());
    assert_eq!(scopes, [(library, [Action::Pull, Action::Push].into_iter().collect())]);
}

/// J25
#[test]
fn bombs() {
    let forge = Forge::new();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let good = fixtures::claims().to_string();
    let header = forge.header().to_string();
    let adding = |member: &str, to: &str| format!("{{{member},{}", to.strip_prefix('{').unwrap());
    let with = |member: &str| forge.sign_raw(header.as_bytes(), adding(member, &good).as_bytes());
    let headed = |member: &str| forge.sign_raw(adding(member, &header).as_bytes(), good.as_bytes());
    assert!(accepted(&forge, &with(r#""x":[1]"#)));
    refuses(
        &forge,
        [
            with(&format!(r#""x":{}"#, nested(20_000))),
            with(&format!(r#""via":{}"#, nested(5_000))),
            headed(&format!(r#""x":{}"#, nested(5_000))),
            headed(&format!(r#""typ":{}"#, nested(5_000))),
            forge.sign_raw(nested(5_000).as_bytes(), good.as_bytes()),
            forge.sign_raw(forge.header().to_string().as_bytes(), nested(5_000).as_bytes()),
            ".".repeat(16_000),
            "a".repeat(900_000),
            ".".repeat(900_000),
        ],
    );
    // Deep, short enough, and in a claim that nobody reads: either answer is right, as long as there is one.
    let _ = accepted(&forge, &with(&format!(r#""x":{}"#, nested(5_000))));
    let entries = |count: usize| json!(vec![json!({ "type": "", "name": "", "actions": [] }); count]);
    assert!(accepted(&forge, &forge.claiming(|claims| claims["access"] = entries(64))));
    refuses(&forge, [65, 200, 8_000].map(|count| forge.claiming(|claims| claims["access"] = entries(count))));
}

/// J25
#[test]
fn the_length_bound_is_exact() {
    let forge = Forge::new();
    let shortest = forge.claiming(|_| ()).len();
    let pad = (claims::LONGEST - shortest) * 3 / 4;
    let padded = |pad: usize| forge.claiming(|claims| claims["jti"] = json!("x".repeat(pad)));
    let (fits, long) = (padded(pad - 8), padded(pad + 8));
    assert!(fits.len() <= claims::LONGEST && accepted(&forge, &fits));
    assert!(long.len() > claims::LONGEST && !accepted(&forge, &long));
}

#[test]
fn what_is_issued_is_accepted() {
    let forge = Forge::new();
    let issuer = Issuer::new(Arc::clone(&forge.keys), ISSUER.to_owned(), Duration::from_secs(900));
    let mut granted = ScopeSet::default();
    granted.add_requested("repository:library/x:pull,push registry:catalog:*");
    let issued = issuer.issue(SERVICE, &Principal::anonymous(), &granted).unwrap();
    let verified = forge.verifier().verify(SERVICE, &issued.token).unwrap();
    assert_eq!(verified.limit.scopes.as_deref(), Some(&granted));
    assert_eq!(decode(issued.token.split('.').next().unwrap()), forge.header());
}

/// J33
#[test]
fn a_key_stays_good_while_it_is_listed() {
    let (old, new) = (Forge::new(), Forge::new());
    let token = old.claiming(|_| ());
    let verifier = |files: &[std::path::PathBuf]| Verifier::plain(Arc::new(Keys::load_or_create(files).unwrap()));
    assert!(verifier(&[new.file(), old.file()]).verify(SERVICE, &token).is_some());
    assert!(verifier(&[new.file()]).verify(SERVICE, &token).is_none());
}

#[test]
fn what_was_made_from_a_token_ends_with_it() {
    let forge = Forge::new();
    let made_from = |ends: u64| forge.claiming(|claims| claims["parent"] = json!({ "jti": "0", "exp": ends }));
    assert!(accepted(&forge, &made_from(now() + 5)));
    refuses(&forge, [made_from(now() - 1), made_from(0)]);
}
