//! `portcullis token issue` and `portcullis token inspect`.

use std::{fs, path::Path, process::Output};

use portcullis::token::{self, Keys};
use serde_json::{Value, json};

use super::{all, file, folder, run, run_with_input};
use crate::support::{ALICE, BOB, Login, Portcullis, Registry, claims, forged, header, openssl};

fn issue(dir: &Path, more: &[&str]) -> Output {
    let yaml = file(dir);
    run(&["token", "issue", "-c", &yaml].into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
}

/// A folder with a configuration and the key that the first start would have made.
fn folder_with_key(extra: &str) -> tempfile::TempDir {
    let dir = folder(extra);
    Keys::load_or_create(&[dir.path().join("token.key")]).unwrap();
    dir
}

/// The token alone is on standard output; what a person wants to know is on the other.
#[test]
fn issue_prints_a_token_and_says_what_it_is() {
    let dir = folder_with_key("");
    for (lifetime, seconds, date) in [(&[][..], 90 * 24 * 3600, "-"), (&["--lifetime", "12h"], 12 * 3600, "T")] {
        let words = ["--user", "alice", "--grant", "team-a/**:push,pull", "--grant", "home/$user/*:delete"];
        let output = issue(dir.path(), &[&words, lifetime].concat());
        assert!(output.status.success(), "{}", all(&output));
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let token = stdout.strip_suffix('\n').unwrap();
        assert!(!token.contains(char::is_whitespace), "one word: {stdout}");
        let said = claims(token);
        assert_eq!(header(token)["typ"], "deploy+jwt");
        assert_eq!((&said["sub"], &said["aud"]), (&json!("alice"), &json!("localhost/deploy")));
        assert_eq!(said["grant"], json!(["team-a/**:pull,push", "home/$user/*:delete"]));
        assert_eq!(said["exp"].as_u64().unwrap() - said["nbf"].as_u64().unwrap(), seconds + 60);
        let id = said["jti"].as_str().unwrap();
        let (what, how) = stderr.split_once('\n').unwrap();
        let begin =
            format!("deploy token {id} for alice at localhost: team-a/**:pull,push home/$user/*:delete; ends 2");
        assert!(what.starts_with(&begin) && what.ends_with('Z') && what.contains(date), "{what}");
        assert_eq!(how, format!("to revoke it: tokens: {{ revoked: [\"{id}\"] }}\n"));
        assert!(token.split('.').all(|part| !stderr.contains(part)), "{stderr}");
    }
}

#[test]
fn issue_says_what_is_wrong() {
    let dir = folder_with_key("");
    let grant = ["--grant", "team-a/**:pull"];
    let alice = ["--user", "alice"];
    let refused = |dir: &Path, words: &[&[&str]], code: i32, reasons: &[&str]| {
        let words = words.concat();
        let output = issue(dir, &words);
        let said = all(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "{words:?}: {said}");
        for reason in reasons {
            assert!(said.contains(reason), "{words:?}: {reason} is not in: {said}");
        }
    };
    let at = |words: &[&[&str]], code, reasons: &[&str]| refused(dir.path(), words, code, reasons);
    at(&[&["--user", "nobody"], &grant], 1, &["\"nobody\"", "portcullis hash nobody"]);
    at(&[&["--user", "Alice"], &grant], 1, &["\"Alice\""]);
    at(&[&["--user", ""], &grant], 1, &["no identity provider knows"]);
    at(&[&grant], 2, &["--user"]);
    at(&[&alice], 2, &["--grant"]);
    for (pattern, reason) in [
        ("team-a/**", "PATTERN:ACTIONS"),
        ("team-a/**:", "pull, push or delete"),
        ("team-a/**:*", "pull, push or delete"),
        ("team-a/**:read", "\"read\""),
        ("Team-A/**:pull", "Team-A"),
        ("team-*/x:pull", "team-*"),
        (":pull", ""),
        ("/team-a:pull", ""),
    ] {
        at(&[&alice, &["--grant", pattern]], 2, &[reason, "--grant"]);
    }
    for lifetime in ["59s", "0s", "90", "soon", "-1d", "1.5h", "", "9000000d", "99999999999999999999d"] {
        at(&[&alice, &grant, &[&format!("--lifetime={lifetime}")]], 2, &["--lifetime"]);
    }
    at(&[&alice, &grant, &["--registry", "other.test"]], 1, &["other.test", "localhost"]);
    at(&[&alice, &grant, &["--registry", "a b"]], 2, &["--registry"]);
    let many: Vec<String> = (0..400).map(|number| format!("team-a/{number}:pull")).collect();
    let many: Vec<&str> = many.iter().flat_map(|grant| ["--grant", grant]).collect();
    at(&[&alice, &many], 1, &["too long for a password", "fewer or wider"]);

    let keyless = folder("");
    refused(keyless.path(), &[&alice, &grant], 78, &["token.key", "first start"]);
    assert!(!keyless.path().join("token.key").exists(), "a key that no gate signs with would be of no use");
    let broken = folder_with_key("nonsense: 1\n");
    refused(broken.path(), &[&alice, &grant], 78, &["nonsense"]);
    let userless = folder_with_key("");
    fs::remove_file(userless.path().join("htpasswd")).unwrap();
    refused(userless.path(), &[&alice, &grant], 78, &["htpasswd"]);
    let locked = folder_with_key("");
    fs::write(locked.path().join("htpasswd"), "alice:!\n").unwrap();
    refused(locked.path(), &[&alice, &grant], 1, &["\"alice\""]);
    let yaml = fs::read_to_string(file(locked.path())).unwrap();
    let disabled = folder_with_key("");
    let yaml = yaml.replace("identity:\n", "identity:\n  disabled_users: [alice]\n");
    fs::write(file(disabled.path()), yaml).unwrap();
    refused(disabled.path(), &[&alice, &grant], 1, &["\"alice\"", "disabled"]);
}

/// As long as a token may be, it is one that logs in; and so is the longest that is made from it. Whatever signs them.
#[test]
fn the_longest_deploy_token_is_a_password() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let rsa = dir.path().join("rsa.key");
    openssl(&["genrsa", "-out", rsa.to_str().unwrap(), "3072"], None, None);
    for key in [Path::new("token.key"), &rsa] {
        let key = key.to_owned();
        let gate = Portcullis::before(&registry).with(move |config| config["tokens"]["keys"] = json!([key])).start();
        let issued = |count: usize| {
            let grants: Vec<String> = (100..100 + count).map(|number| format!("{number}:pull")).collect();
            let words: Vec<&str> = grants.iter().flat_map(|grant| ["--grant", grant]).collect();
            let output = issue(gate.dir(), &[&["--user", "alice", "--grant", "library/**:pull"], &words[..]].concat());
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
        };
        let (mut fits, mut long) = (1, 800);
        assert!(issued(long).is_none());
        while long - fits > 1 {
            let middle = usize::midpoint(fits, long);
            if issued(middle).is_some() { fits = middle } else { long = middle }
        }
        let login = Login::new("alice", issued(fits).unwrap().leak());
        assert!(login.password.len() > 4050, "{fits} grants in {} bytes", login.password.len());
        assert_eq!(gate.curl("/v2/").user(login).send().status, 200);
        let scopes: Vec<String> =
            (0..60).map(|number| format!("repository:library/{}{number}:pull", "x".repeat(200))).collect();
        let wide = scopes.join(" ");
        let pairs = [("grant_type", "password"), ("username", "alice"), ("password", login.password), ("scope", &wide)];
        let made = gate.curl("/token").form(&pairs).send();
        assert_eq!(made.status, 200, "{}", made.text());
        let made = made.json()["token"].as_str().unwrap().to_owned();
        assert!(made.len() > 12_000, "{} bytes", made.len());
        assert_eq!(gate.curl("/v2/").bearer(&made).send().status, 200, "{} bytes", made.len());
    }
}

#[test]
fn issue_asks_which_of_several_registries() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry).with_second("two.test", &registry).start();
    let words = ["--user", "alice", "--grant", "team-a/**:pull"];
    let output = issue(gate.dir(), &words);
    assert_eq!(output.status.code(), Some(1), "{}", all(&output));
    assert!(all(&output).contains("--registry") && all(&output).contains("localhost, two.test"), "{}", all(&output));
    // Any of a registry's hosts names it.
    for (host, at) in [("localhost", "localhost"), ("registry.test", "localhost"), ("two.test", "two.test")] {
        let output = issue(gate.dir(), &[&words[..], &["--registry", host]].concat());
        let token = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        assert_eq!(claims(&token)["aud"], format!("{at}/deploy"), "{host}");
        let status = |host| {
            let login = Login::new("alice", token.clone().leak());
            let url = gate.url_of(host, "/v2/");
            crate::support::Curl::new(url).trusting(gate.pki().ca_file()).user(login).send().status
        };
        let expected = if at == "localhost" { [200, 401] } else { [401, 200] };
        assert_eq!(["localhost", "two.test"].map(status), expected, "{host}");
    }
}

/// What an operator reads of every kind of token in every state. The token itself is not repeated.
#[test]
fn inspect_tells_what_a_token_is() {
    let registry = Registry::start();
    let mut gate =
        Portcullis::before(&registry).with(|config| config["tokens"]["refresh"] = json!({ "enabled": true })).start();
    let access =
        gate.token(Some(ALICE), "repository:team-a/app:pull,push registry:catalog:*".replace(' ', "%20").as_str());
    let nobody = gate.token(None, "repository:library/x:pull");
    let refresh = gate.refresh_token(ALICE);
    let deploy = gate.deploy_token("alice", &["team-a/**:pull", "home/$user/**:pull,push"]);
    let made = gate.token(Some(deploy.login), "repository:team-a/app:pull,push");
    let bobs = gate.deploy_token("bob", &["library/**:pull"]).login.password;
    let deploy_text = deploy.login.password;
    let now = token::now();
    let forge = |token: &str, change: &dyn Fn(&mut Value)| forged(&gate, token, |claims| change(claims));
    let expired = forge(deploy_text, &|claims| claims["exp"] = json!(now - 5));
    let over = forge(&access, &|claims| claims["exp"] = json!(now - 600));
    let early = forge(deploy_text, &|claims| claims["nbf"] = json!(now + 600));
    let elsewhere = forge(deploy_text, &|claims| claims["aud"] = json!("two.test/deploy"));
    let another = forge(deploy_text, &|claims| claims["prf"] = json!("x"));
    let touched = format!("{}A{}", &deploy_text[..deploy_text.len() - 9], &deploy_text[deploy_text.len() - 8..]);
    gate.reload_with(|config| config["identity"]["disabled_users"] = json!([BOB.name]));

    let id = |token: &str| claims(token)["jti"].as_str().unwrap().to_owned();
    let changed = "not accepted: its user is gone or disabled, or has another password than when it was made";
    let foreign = "not accepted: no key of tokens.keys signed it";
    let rows: &[(&str, &str, &[&str], &str)] = &[
        (
            &access,
            "access",
            &[
                "user     alice",
                "for      localhost",
                "allows   repository:team-a/app:pull,push",
                "allows   registry:catalog:*",
            ],
            "good",
        ),
        (&nobody, "access", &["user     (anonymous)", "allows   repository:library/x:pull"], "good"),
        (&refresh, "refresh", &["user     alice", "for      localhost/refresh"], "good"),
        (
            deploy_text,
            "deploy",
            &["for      localhost/deploy", "allows   within team-a/**:pull", "allows   within home/$user/**:pull,push"],
            "good",
        ),
        (
            &made,
            "access",
            &[
                &format!("parent   {}", deploy.id),
                "allows   repository:team-a/app:pull",
                "allows   within team-a/**:pull",
            ],
            "good",
        ),
        (&expired, "deploy", &[], "not accepted: expired"),
        (&over, "access", &[], "not accepted: expired"),
        (&early, "deploy", &[], "not accepted: it has not begun; compare the clocks"),
        (&elsewhere, "deploy", &["for      two.test/deploy"], "not accepted: it was made here, for a token service"),
        (&touched, "deploy", &["user     alice"], foreign),
        (&another, "deploy", &[], changed),
        (bobs, "deploy", &["user     bob"], changed),
    ];
    let yaml = gate.configuration().to_str().unwrap().to_owned();
    for (token, kind, lines, state) in rows {
        for input in [(*token).to_owned(), format!("  {token}\n\n")] {
            let output = run_with_input(&["token", "inspect", "-c", &yaml], &input);
            let said = String::from_utf8(output.stdout.clone()).unwrap();
            assert_eq!(output.status.code(), Some(i32::from(*state != "good")), "{}", all(&output));
            let head = format!("kind     {kind}\nid       {}\n", id(token));
            assert!(said.starts_with(&head), "{head}{said}");
            for line in *lines {
                assert!(said.lines().any(|said| said == *line), "{line} is not in: {said}");
            }
            let last = said.lines().last().unwrap();
            assert!(last.starts_with(&format!("state    {state}")), "{state}: {said}");
            assert!(token.split('.').all(|part| !all(&output).contains(part)), "{}", all(&output));
        }
    }
    for garbage in ["", "x", "..", "a.b.c", &format!("{}.{}", deploy_text, deploy_text), &"a".repeat(70_000), "{}"] {
        let output = run_with_input(&["token", "inspect", "-c", &yaml], garbage);
        assert_eq!(output.status.code(), Some(1), "{garbage:.40}: {}", all(&output));
        assert!(
            garbage.contains("eyJ")
                || ["this is no token of portcullis", "nothing came"].iter().any(|told| all(&output).contains(told)),
            "{}",
            all(&output)
        );
    }
    assert_eq!(run_with_input(&["token", "inspect", "-c", "/nonexistent.yml"], "x").status.code(), Some(78));
}
