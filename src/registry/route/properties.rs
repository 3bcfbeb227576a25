use proptest::prelude::*;

use super::*;
use crate::registry::OwnHosts;

const TOKEN_PATH: &str = "/token";

fn reparse(route: &Route) -> Result<Route, RouteError> {
    let line = route.to_upstream();
    let (path, query) = line.split_once('?').map_or((line.as_str(), None), |(path, query)| (path, Some(query)));
    Route::parse(&route.method(), path, query, TOKEN_PATH)
}

fn name() -> impl Strategy<Value = RepositoryName> {
    let component = prop_oneof![
        "[a-z0-9]{1,3}((\\.|_|__|-{1,2})[a-z0-9]{1,3}){0,2}",
        prop::sample::select(vec!["blobs", "uploads", "manifests", "tags", "list", "referrers", "v2"])
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(component, 1..6).prop_map(|components| RepositoryName::parse(&components.join("/")).unwrap())
}

fn digest() -> impl Strategy<Value = Digest> {
    prop_oneof![
        "sha256:[0-9a-f]{64}",
        "sha512:[0-9a-f]{128}",
        "[a-z0-9]{1,3}([.+_-][a-z0-9]{1,3}){0,2}y:[a-zA-Z0-9=_-]{1,20}"
    ]
    .prop_map(|text| Digest::parse(&text).unwrap())
}

fn tag() -> impl Strategy<Value = Tag> {
    "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}".prop_map(|text| Tag::parse(&text).unwrap())
}

fn read() -> impl Strategy<Value = Read> {
    prop_oneof![Just(Read::Get), Just(Read::Head)]
}

/// Any text without control characters, of 1 to 255 bytes.
fn text() -> impl Strategy<Value = String> {
    "[ -~é€\u{ff0f}\u{2028}]{1,80}"
}

fn page() -> impl Strategy<Value = Page> {
    (any::<Option<u32>>(), prop::option::of(text())).prop_map(|(n, last)| Page { n, last })
}

fn session() -> impl Strategy<Value = UploadSession> {
    let id = "[a-zA-Z0-9_=-][a-zA-Z0-9._=-]{0,80}".prop_map(|id| UploadId::parse(&id).unwrap());
    let state = prop_oneof!["[a-zA-Z0-9_=-]{0,600}", text()].prop_map(|state| UploadState::parse(&state).unwrap());
    (id, prop::option::of(state)).prop_map(|(id, state)| UploadSession { id, state, seal: None })
}

fn manifest_verb() -> impl Strategy<Value = ManifestVerb> {
    prop_oneof![
        Just(ManifestVerb::Get),
        Just(ManifestVerb::Head),
        Just(ManifestVerb::Delete),
        prop::collection::vec(tag(), 0..12).prop_map(|tags| ManifestVerb::Put { tags }),
    ]
}

fn upload_verb() -> impl Strategy<Value = UploadVerb> {
    prop_oneof![
        Just(UploadVerb::Start),
        digest().prop_map(|digest| UploadVerb::Monolithic { digest }),
        (digest(), name()).prop_map(|(digest, from)| UploadVerb::Mount { digest, from }),
        (session(), read()).prop_map(|(session, read)| UploadVerb::Status { session, read }),
        session().prop_map(|session| UploadVerb::Chunk { session }),
        (session(), digest()).prop_map(|(session, digest)| UploadVerb::Finish { session, digest }),
        session().prop_map(|session| UploadVerb::Cancel { session }),
    ]
}

fn route() -> impl Strategy<Value = Route> {
    let reference = prop_oneof![tag().prop_map(Reference::Tag), digest().prop_map(Reference::Digest)];
    let blob_verb = prop_oneof![Just(BlobVerb::Get), Just(BlobVerb::Head), Just(BlobVerb::Delete)];
    prop_oneof![
        read().prop_map(Route::Landing),
        read().prop_map(Route::Base),
        Just(Route::Token(TokenVerb::Query)),
        Just(Route::Token(TokenVerb::Form)),
        (read(), page()).prop_map(|(read, page)| Route::Catalog { read, page }),
        (name(), read(), page()).prop_map(|(repository, read, page)| Route::TagList { repository, read, page }),
        (name(), reference, manifest_verb()).prop_map(|(repository, reference, verb)| Route::Manifest {
            repository,
            reference,
            verb
        }),
        (name(), digest(), blob_verb).prop_map(|(repository, digest, verb)| Route::Blob { repository, digest, verb }),
        (name(), upload_verb()).prop_map(|(repository, verb)| Route::Upload { repository, verb }),
        (name(), digest(), read(), prop::option::of("[ -~]{1,255}")).prop_map(
            |(repository, digest, read, artifact_type)| {
                Route::Referrers { repository, digest, read, artifact_type }
            }
        ),
    ]
}

fn own_hosts() -> OwnHosts {
    OwnHosts::new([("registry.test".to_owned(), None), ("a".to_owned(), Some(5000))])
}

/// With everything beside the registry.
fn reparse_whole(route: &Route, own: &OwnHosts) -> Result<Route, RouteError> {
    let line = route.to_upstream();
    let (path, query) = line.split_once('?').map_or((line.as_str(), None), |(path, query)| (path, Some(query)));
    Route::parse(&route.method(), path, query, whole_surface(own))
}

fn whole_surface(own: &OwnHosts) -> Surface<'_> {
    Surface { token_path: TOKEN_PATH, ui: true, trust: Some(own), preflights: true }
}

/// Paths in the neighbourhood of real ones: segments of keywords and names, and now and then something wild among them.
fn wild_path() -> impl Strategy<Value = String> {
    let hex = "0".repeat(64);
    let segments = [
        "a",
        "b",
        "app",
        "v1",
        "v2",
        "tags",
        "list",
        "tags/list",
        "manifests",
        "manifests",
        "manifests/v1",
        "blobs",
        "blobs",
        "uploads",
        "blobs/uploads",
        "blobs/uploads/",
        "referrers",
        "u=1",
        "_trust",
        "_trust/tuf",
        "_trust/tuf/root.json",
        "_trust/tuf/",
        "snapshot.key",
        "registry.test:5000",
        "index.html",
    ];
    let mut segments: Vec<String> = segments.iter().map(|segment| (*segment).to_owned()).collect();
    segments.extend([
        format!("sha256:{hex}"),
        format!("sha256%3A{hex}"),
        format!("blobs/sha256:{hex}"),
        format!("referrers/sha256:{hex}"),
    ]);
    let wild = prop::sample::select(vec![
        "/", "//", ".", "..", "/../", "/./", "%2f", "%2e", "%3A", "%3a", "%", "%73", "\\", ";", "#", " ", "\n", "é",
        "-", "_", ":", "=", "A", "_catalog", "token",
    ]);
    let head = prop_oneof![16 => Just("/v2/"), 1 => Just("/v2"), 2 => Just("/"), 1 => Just(""), 1 => Just("/V2/")];
    let tail = prop::collection::vec(prop::sample::select(segments), 0..6);
    let insertion = prop::option::weighted(0.4, (wild, any::<prop::sample::Index>()));
    (head, tail, insertion).prop_map(|(head, tail, insertion)| {
        let mut path: Vec<char> = format!("{head}{}", tail.join("/")).chars().collect();
        if let Some((wild, index)) = insertion {
            let at = index.index(path.len() + 1);
            path.splice(at..at, wild.chars());
        }
        path.into_iter().collect()
    })
}

fn wild_query() -> impl Strategy<Value = Option<String>> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let pieces = [
        "&",
        "&",
        "=",
        "=",
        "n",
        "last",
        "mount",
        "from",
        "%66rom",
        "digest",
        "_state",
        "tag",
        "artifactType",
        "ns",
        "1",
        "7",
        "a",
        "a/b",
        "%2f",
        "%",
        "%0d",
        "+",
        ";",
        "é",
        "%C3%A9",
    ];
    let mut pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
    pieces.extend([format!("&digest={digest}"), format!("&mount={digest}"), "&from=a/b".to_owned(), digest]);
    prop::option::of(prop::collection::vec(prop::sample::select(pieces), 0..8).prop_map(|pieces| pieces.concat()))
}

fn wild_method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"])
        .prop_map(|word| word.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_panics(method in wild_method(), path in any::<String>(), query in any::<Option<String>>()) {
        let _ = Route::parse(&method, &path, query.as_deref(), TOKEN_PATH);
    }

    #[test]
    fn each_route_survives_its_own_line(route in route()) {
        prop_assert_eq!(reparse(&route), Ok(route));
    }

    #[test]
    fn a_degraded_route_needs_no_source_and_survives_too(route in route()) {
        let degraded = route.clone().degraded();
        let has_source = matches!(degraded.needs(), Needs::Repository { source: Some(_), .. });
        prop_assert!(!has_source);
        prop_assert_eq!(degraded.repository(), route.repository());
        prop_assert_eq!(reparse(&degraded), Ok(degraded));
    }

    #[test]
    fn a_challenge_scope_reads_back_and_covers_the_need(route in route()) {
        if let Needs::Repository { repository, action, source } = route.needs() {
            let text = route.challenge_scope().unwrap();
            let mut scopes = ScopeSet::default();
            scopes.add_requested(&text);
            prop_assert_eq!(scopes.to_string(), text);
            prop_assert!(scopes.actions_on(repository).contains(action));
            prop_assert!(source.is_none_or(|source| scopes.actions_on(source).contains(Action::Pull)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn whatever_is_accepted_is_canonical(method in wild_method(), path in wild_path(), query in wild_query()) {
        if let Ok(route) = Route::parse(&method, &path, query.as_deref(), TOKEN_PATH) {
            let line = route.to_upstream();
            let (canonical, parameters) = line.split_once('?').unwrap_or((line.as_str(), ""));
            prop_assert!(line.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert!(!canonical.contains(['%', '\\', ';', '#']));
            prop_assert!(!canonical.contains("//"));
            prop_assert!(!canonical.split('/').any(|segment| matches!(segment, "." | "..")));
            prop_assert!(!parameters.contains([';', '+', '/']));
            // Nothing but the escaped colon and the slash of `/v2` and `uploads` may change on the way.
            let asked = path.replace("%3A", ":").replace("%3a", ":");
            prop_assert!(matches!(canonical.strip_prefix(asked.as_str()), Some("" | "/")));
            prop_assert_eq!(route.method(), method);
            prop_assert_eq!(reparse(&route), Ok(route));
        }
    }

    #[test]
    fn so_is_what_is_served_beside_a_registry(method in wild_method(), path in wild_path(), query in wild_query()) {
        let own = own_hosts();
        let parsed = Route::parse(&method, &path, query.as_deref(), whole_surface(&own));
        if let Ok(route @ (Route::Ui { .. } | Route::Notary { .. })) = &parsed {
            let line = route.to_upstream();
            prop_assert_eq!(line.split('?').next(), Some(path.as_str()));
            prop_assert!(!path.contains(['%', '\\', ';', '#']) && !path.contains("//") && !path.contains("/."));
            let first = path.split('/').nth(1).unwrap_or_default().to_lowercase();
            prop_assert_eq!(matches!(route, Route::Notary { .. }), first == "v2");
            prop_assert!(first != "v1" && path.to_lowercase() != TOKEN_PATH);
            prop_assert!(first != "v2" || path.matches("/_trust/").count() == 1);
            prop_assert_eq!(&reparse_whole(route, &own), &parsed);
        }
    }
}
