use std::collections::HashSet;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::{catalogue::Section, *};

/// The operators' documentation, whose table has to be this one.
const GUIDE: &str = include_str!("../../../conf/guide/metrics.md");
const BEGIN: &str = "<!-- table -->\n";
const END: &str = "<!-- end of table -->\n";

#[test]
fn the_guide_has_the_table_of_the_catalogue() {
    let (before, rest) = GUIDE.split_once(BEGIN).expect("the table's begin");
    let (written, after) = rest.split_once(END).expect("the table's end");
    let table = table();
    if written != table {
        let file = std::env::temp_dir().join("metrics.md");
        std::fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        panic!("conf/guide/metrics.md is not what the catalogue says; {} would be", file.display());
    }
}

fn table() -> String {
    let sections = catalogue::SECTIONS.iter().map(|Section { title, metrics }| {
        let rows: String = metrics.iter().map(|metric| row(metric)).collect();
        format!("\n### {title}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n{rows}")
    });
    sections.collect::<String>() + "\n"
}

fn row(Metric { name, kind, labels, help }: &Metric) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|Label { name, values }| match values {
            Values::Fixed(words) => format!("`{name}`: {}", words.join(", ")),
            Values::Configured(what) => format!("`{name}`: {what}"),
            Values::Status => format!("`{name}`: the status; 0 where no answer went out"),
        })
        .collect();
    format!("| `{name}` | {} | {} | {help} |\n", kind.as_str(), labels.join("<br>"))
}

#[test]
fn names_follow_the_conventions_and_are_unique() {
    let mut names = HashSet::new();
    for Metric { name, kind, labels, help } in catalogue::all() {
        assert!(names.insert(name), "{name} twice");
        assert!(name.starts_with("portcullis_") || name.starts_with("process_"), "{name}");
        match kind {
            Kind::Counter => assert!(name.ends_with("_total"), "{name}"),
            Kind::Gauge => assert!(!name.ends_with("_total"), "{name}"),
            Kind::Histogram(bounds) => {
                assert!(name.ends_with("_seconds"), "{name}");
                assert!(bounds.is_sorted(), "{name}");
            }
        }
        assert!(help.ends_with('.'), "{name}");
        let own = labels.iter().map(|label| !matches!(label.values, Values::Configured(_)));
        assert!(own.is_sorted(), "{name}: configured names come first");
        for label in *labels {
            let Values::Fixed(words) = label.values else { continue };
            assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len(), "{name}: a word twice");
        }
    }
}

#[test]
fn the_guides_queries_name_metrics_of_the_catalogue() {
    let names: HashSet<&str> = catalogue::all().map(|metric| metric.name).collect();
    let words = GUIDE.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let of_ours = words.filter(|word| word.starts_with("portcullis_") && !word.ends_with('_'));
    for word in of_ours {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        assert!(names.contains(word) || names.contains(base), "{word}");
    }
}

/// What a function of the product may say, by the text of its body: each word in quotes.
fn said_by(file: &str, function: &str) -> Vec<String> {
    let source = std::fs::read_to_string(format!("{}/src/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let begin = source.find(&format!("fn {function}(")).unwrap_or_else(|| panic!("{file} has no {function}"));
    let body: Vec<&str> = source.split_at(begin).1.lines().collect();
    let indent = body.iter().skip(1).find_map(|line| line.find(|letter: char| letter != ' ')).unwrap() - 4;
    let end = body.iter().position(|line| *line == format!("{}}}", " ".repeat(indent))).unwrap();
    let words = body.iter().take(end).flat_map(|line| line.split('"').skip(1).step_by(2));
    let is_word =
        |text: &&str| text.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter));
    words.filter(is_word).map(str::to_owned).collect()
}

#[test]
fn every_word_that_the_product_says_is_in_the_catalogue() {
    for (file, function, label) in [
        ("proxy/respond.rs", "word", words::REFUSAL),
        ("token/refusal.rs", "as_str", words::REFUSAL),
        ("token/refusal.rs", "outcome", words::TOKEN_OUTCOME),
        ("registry/route.rs", "label", words::ROUTE),
        ("registry/action.rs", "as_str", words::ACTION),
        ("upstream/mod.rs", "kind", words::UPSTREAM_ERROR),
        ("upstream/redirect.rs", "kind", words::UPSTREAM_ERROR),
        ("identity/ldap/fault.rs", "kind", words::LDAP_FAULT),
        ("tls/acme/error.rs", "kind", words::ACME_RESULT),
        ("listener/handshake.rs", "failure", words::HANDSHAKE_FAILURE),
        ("listener/handshake.rs", "word", words::HANDSHAKE_FAILURE),
    ] {
        let Values::Fixed(known) = label.values else { panic!("{label:?} has no fixed words") };
        let said = said_by(file, function);
        assert!(said.len() > 1, "{file} {function}: {said:?}");
        for word in said {
            // Nothing was asked of a server then.
            let elsewhere = word == "unsigned" && label.name == "kind";
            assert!(known.contains(&&*word) || elsewhere, "{file} says {word}, and {} does not", label.name);
        }
    }
}

#[test]
fn statuses_are_found_by_search() {
    assert!(words::STATUSES.is_sorted());
    assert!(words::STATUSES_FROM_THE_START.iter().all(|status| words::STATUSES.contains(status)));
}

#[test]
fn a_registry_counts_any_status_and_shows_failures_before_there_are_any() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let counts = RegistryCounts::new("registry.example.com");
        counts.show();
        for status in [200, 200, 451, 206] {
            counts.request("blob", status, std::time::Duration::ZERO, 0, 7);
        }
    });
    let text = recorder.handle().render();
    let shown = |code: &str| {
        let line =
            format!("portcullis_requests_total{{registry=\"registry.example.com\",route=\"blob\",code=\"{code}\"}} ");
        text.lines().find_map(|shown| shown.strip_prefix(&line).map(str::to_owned))
    };
    assert_eq!(["200", "451", "206", "502"].map(shown), ["2", "1", "1", "0"].map(|n| Some(n.to_owned())));
    assert_eq!(shown("416"), None);
    let bytes = "portcullis_body_bytes_total{registry=\"registry.example.com\",direction=";
    assert!(
        text.contains(&format!("{bytes}\"out\"}} 28\n")) && text.contains(&format!("{bytes}\"in\"}} 0\n")),
        "{text}"
    );
}
