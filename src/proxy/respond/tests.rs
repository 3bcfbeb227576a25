use super::*;
use crate::registry::{Action, RepositoryName};

fn challenger(scope: Option<&str>) -> Challenger<'static> {
    Challenger {
        origin: PublicOrigin::new("registry.test", 443),
        token_path: "/token",
        service: "registry.test",
        prompt: "Registry",
        scope: scope.map(str::to_owned),
        navigation: false,
        token_endpoint: false,
    }
}

fn header(answer: &Answer, name: &str) -> String {
    answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

fn code(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

fn challenged(narrow: bool) -> Rejection {
    Rejection::Denied(Denial::Challenge { scope: None, narrow })
}

/// C1, C9–C16
#[test]
fn challenges_are_of_the_one_form_that_every_client_reads() {
    let none = answer(&challenged(false), Some(&challenger(None)), "id");
    assert_eq!(
        header(&none, "www-authenticate"),
        r#"Bearer realm="https://registry.test/token",service="registry.test""#
    );
    let scope = "repository:a/b:pull,push repository:c/d:pull";
    let narrow = answer(&challenged(true), Some(&challenger(Some(scope))), "id");
    assert_eq!(
        header(&narrow, "www-authenticate"),
        format!(
            r#"Bearer realm="https://registry.test/token",service="registry.test",scope="{scope}",error="insufficient_scope""#
        )
    );
    let invalid = answer(&Rejection::InvalidToken(None), Some(&challenger(Some(scope))), "id");
    assert!(header(&invalid, "www-authenticate").ends_with(r#",error="invalid_token""#));
    for answer in [none, narrow, invalid] {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(code(&answer), "UNAUTHORIZED");
        assert_eq!(answer.headers.get_all("www-authenticate").iter().count(), 1);
        let value = header(&answer, "www-authenticate");
        assert!(!value.contains("=\"\"") && !value.contains('\\') && !value.contains(", "), "{value}");
    }
}

#[test]
fn people_get_a_prompt_and_the_token_endpoint_too() {
    for (navigation, token_endpoint) in [(true, false), (false, true)] {
        let challenger = Challenger { navigation, token_endpoint, ..challenger(Some("registry:catalog:*")) };
        let answer = answer(&Rejection::WrongCredentials(None), Some(&challenger), "id");
        assert_eq!(header(&answer, "www-authenticate"), r#"Basic realm="Registry""#);
    }
}

#[test]
fn a_named_caller_is_told_action_and_repository() {
    let denial = Denial::Forbidden { action: Action::Push, repository: RepositoryName::parse("team-b/app").unwrap() };
    let answer = answer(&Rejection::Denied(denial), Some(&challenger(None)), "id");
    assert_eq!((answer.status, code(&answer).as_str()), (StatusCode::FORBIDDEN, "DENIED"));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("push") && text.contains("team-b/app"), "{text}");
    assert!(header(&answer, "www-authenticate").is_empty());
}

#[test]
fn who_is_not_logged_in_is_told_what_for() {
    let scope = Some("repository:team-b/app:pull".to_owned());
    let answer = answer(&Rejection::Denied(Denial::Challenge { scope, narrow: false }), Some(&challenger(None)), "id");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("authentication required for repository:team-b/app:pull"), "{text}");
}

#[test]
fn every_route_error_has_its_status_and_code() {
    for (error, status, code_word) in [
        (RouteError::NotFound, 404, "NAME_UNKNOWN"),
        (RouteError::InvalidName, 400, "NAME_INVALID"),
        (RouteError::UnknownReference, 404, "MANIFEST_UNKNOWN"),
        (RouteError::InvalidDigest, 400, "DIGEST_INVALID"),
        (RouteError::UnknownUpload, 404, "BLOB_UPLOAD_UNKNOWN"),
        (RouteError::InvalidPage, 400, "PAGINATION_NUMBER_INVALID"),
        (RouteError::Method { allow: "GET, HEAD" }, 405, "UNSUPPORTED"),
    ] {
        let answer = answer(&Rejection::Route(error), Some(&challenger(None)), "id");
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (status, code_word));
        if status == 405 {
            assert_eq!(header(&answer, "allow"), "GET, HEAD");
        }
    }
    let large = answer(&Rejection::TooLarge { limit: 5 }, None, "id");
    assert_eq!((large.status.as_u16(), code(&large).as_str()), (413, "SIZE_INVALID"));
    let host = answer(&Rejection::Misdirected, None, "id");
    assert_eq!(host.status.as_u16(), 421);
}

#[test]
fn server_errors_say_a_code_and_a_request_id_and_nothing_of_what_is_behind() {
    let connect = upstream::Error::Connect("tcp connect error: 10.0.0.5:5000 refused".to_owned());
    for (rejection, status) in [
        (Rejection::Upstream(connect), 502),
        (Rejection::Upstream(upstream::Error::Silent(Duration::from_secs(1))), 504),
        (Rejection::IdentityUnavailable, 503),
        (Rejection::CatalogUnfinished, 503),
        (Rejection::Signing, 500),
    ] {
        let answer = answer(&rejection, Some(&challenger(None)), "cafe");
        assert_eq!(answer.status.as_u16(), status);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("cafe") && !text.contains("10.0.0.5"), "{text}");
        if status == 503 {
            let soon = if matches!(rejection, Rejection::CatalogUnfinished) { "1" } else { "5" };
            assert_eq!(header(&answer, "retry-after"), soon);
        }
    }
}
