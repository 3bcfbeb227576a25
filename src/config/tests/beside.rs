//! `ui`, `notary` and `cors` of a registry.

use super::{super::ServerUrl, read, tells, told, with_line};

fn registry(more: &str) -> String {
    with_line(5, &format!("  - hosts: [\"r.example.com\"]\n    {more}"))
}

#[test]
fn servers_beside_a_registry() {
    let config = read(&registry("ui: \"http://ui\"\n    notary: \"unix:/run/notary.sock\"")).unwrap();
    let beside = &config.registries[0].beside;
    assert_eq!(beside.ui, Some(ServerUrl::Http { host: "ui".into(), port: 80 }));
    assert_eq!(beside.notary, Some(ServerUrl::Unix("/run/notary.sock".into())));
    assert!(beside.origins.is_empty());
    for (value, words) in [
        ("ui: \"http://ui/path\"", "registries[0].ui: a server has no path"),
        ("ui: \"ftp://ui\"", "registries[0].ui: not a server"),
        ("notary: \"http://u:p@n\"", "registries[0].notary: a URL must not hold a name or password"),
        ("notary: 4443", "registries[0].notary: expected text, found the number 4443"),
        ("ui: \"http://r:5000\"", "registries[0].ui: is the registry itself"),
        ("notary: \"http://R:5000/\"", "registries[0].notary: is the registry itself"),
    ] {
        tells(&registry(value), "6:", &format!("error: {words}"));
    }
    let routed = "routes: [{ repositories: [\"m/**\"], upstream: { servers: [{ url: \"http://m\" }] } }]";
    tells(
        &registry(&format!("{routed}\n    ui: \"http://m:80\"")),
        "7:",
        "error: registries[0].ui: is the registry itself",
    );
}

#[test]
fn origins_are_named_one_by_one() {
    let config =
        read(&registry("cors: { origins: [\"https://UI.example.com:443\", \"http://localhost:3000\"] }")).unwrap();
    let origins: Vec<String> = config.registries[0].beside.origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["https://ui.example.com", "http://localhost:3000"]);
    assert!(config.warnings.is_empty());
    for (value, words) in [
        ("\"*\"", "error: registries[0].cors.origins[0]: must name each origin"),
        ("\"https://*.example.com\"", "error: registries[0].cors.origins[0]: must name each origin"),
        (
            "\"https://ui.example.com/\"",
            "error: registries[0].cors.origins[0]: \"https://ui.example.com/\" is not an origin",
        ),
        ("\"null\"", "error: registries[0].cors.origins[0]: \"null\" is not an origin"),
        ("ui.example.com", "error: registries[0].cors.origins[0]: \"ui.example.com\" is not an origin"),
        ("\"http://ui.example.com\"", "warning: registries[0].cors.origins[0]: is not https"),
    ] {
        tells(&registry(&format!("cors: {{ origins: [{value}] }}")), "6:", words);
    }
    for nothing in ["cors: null", "cors: {}", "cors: { origins: [] }", "ui: null", "notary:"] {
        assert_eq!(told(&registry(nothing)), Vec::<String>::new(), "{nothing}");
    }
    tells(&registry("cors: { origin: [] }"), "6:", "did you mean \"origins\"?");
}
