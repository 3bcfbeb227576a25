//! The password file while the gate serves.

use std::{
    fs::{self, File},
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{ADMIN, ALICE, Asked, BOB, Http2, Login, Portcullis, Registry, eventually, htpasswd_line};

const CAROL: Login = Login::new("carol", "carol-password");

fn logs_in(gate: &Portcullis, login: Login) -> bool {
    let answer = gate.curl("/v2/").user(login).send();
    assert!(matches!(answer.status, 200 | 401), "{} {}", answer.status, answer.text());
    answer.status == 200
}

/// A request with a login of any bytes, encoded by the test: curl would make another of some.
fn login(user: &str, password: &[u8]) -> Asked<'static> {
    let encoded = STANDARD.encode([user.as_bytes(), b":", password].concat());
    let headers = vec![("authorization", format!("Basic {encoded}"))];
    Asked { method: "GET", path: "/v2/".to_owned(), headers, body: None }
}

/// A line whose hash bears the prefix.
fn line(prefix: &str, user: &str, password: &str) -> String {
    format!("{user}:{}", bcrypt::hash(password, 4).unwrap().replacen("$2b$", prefix, 1))
}

/// Replaces the file in one step, as editors and configuration management do.
fn replace(gate: &Portcullis, lines: &str) {
    let draft = gate.dir().join("htpasswd.new");
    fs::write(&draft, lines).unwrap();
    fs::rename(draft, gate.htpasswd()).unwrap();
}

#[test]
fn which_lines_match() {
    const P: &str = "p";
    let long = "0123456789".repeat(8);
    let (most, more) = (&long[..72], &long[..73]);
    let good = line("$2y$", "x", P);
    let hash = good.split_once(':').unwrap().1;
    let nfc = "Zo\u{eb}";
    let lines = [
        "# a comment".to_owned(),
        "  \t# an indented: comment".to_owned(),
        String::new(),
        line("$2y$", "y", P),
        line("$2a$", "a", P),
        line("$2b$", "b", P),
        line("$2x$", "flawed", P),
        line("$2$", "first", P),
        "sha:{SHA}UW9o9G7zG7I9x5S6zUuXe0bZuYI=".to_owned(),
        "apr:$apr1$Fb1xPwTL$LVsnqOkuYDO1xO2R2eSHH1".to_owned(),
        "des:rl.3StKT.4T8M".to_owned(),
        "plain:p".to_owned(),
        format!("{}\r", line("$2y$", "crlf", P)),
        format!("  {}  ", line("$2y$", "blanks", P)),
        line("$2y$", "before ", P),
        line("$2y$", "twice", "former"),
        line("$2y$", "twice", P),
        line("$2y$", "withdrawn", P),
        "withdrawn:!".to_owned(),
        line("$2y$", "", P),
        "empty:".to_owned(),
        "nocolon".to_owned(),
        format!("cut:{}", &hash[..59]),
        format!("more:{hash}x"),
        format!("cost03:{}", hash.replacen("$04$", "$03$", 1)),
        format!("cost20:{}", hash.replacen("$04$", "$20$", 1)),
        format!("cost31:{}", hash.replacen("$04$", "$31$", 1)),
        format!("cost99:{}", hash.replacen("$04$", "$99$", 1)),
        format!("{}:{hash}", "l".repeat(70_000)),
        line("$2y$", "colon", "p:q"),
        line("$2y$", "utf8", "pä wörd"),
        line("$2y$", "most", most),
        line("$2y$", "nul", "a"),
        line("$2y$", "nothing", ""),
        line("$2y$", nfc, P),
        line("$2y$", "Case", P),
        line("$2y$", "last", P),
    ];
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    replace(&gate, &lines.join("\n"));
    eventually("the file is seen", || logs_in(&gate, Login::new("last", P)));
    let rows = [
        ("H1", "y", P, true),
        ("H1", "a", P, true),
        ("H1", "b", P, true),
        ("H1", "flawed", P, false),
        ("H1", "first", P, false),
        ("H2", "sha", P, false),
        ("H2", "apr", P, false),
        ("H2", "des", "rasmuslerdorf", false),
        ("H2", "plain", P, false),
        ("H3", "crlf", P, true),
        ("H3", "blanks", P, true),
        ("H3 no last newline", "last", P, true),
        ("H3", "# an indented", P, false),
        ("H5", "before ", P, true),
        ("H5", "before", P, false),
        ("H6 the last line", "twice", P, true),
        ("H6", "twice", "former", false),
        ("H6 the last line, whatever it says", "withdrawn", P, false),
        ("H7", "", P, false),
        ("H7", "", "", false),
        ("H8", "empty", P, false),
        ("H8", "empty", "", false),
        ("H9", "nocolon", P, false),
        ("H9", "nocolon", "", false),
        ("H11", "cut", P, false),
        ("H11", "more", P, false),
        ("H11", "cost03", P, false),
        ("H11", "cost99", P, false),
        ("H12", "cost20", P, false),
        ("H12", "cost31", P, false),
        ("H14", "colon", "p:q", true),
        ("H14", "colon", "p", false),
        ("H14", "utf8", "pä wörd", true),
        ("H14 72 bytes", "most", most, true),
        ("H14 73 bytes", "most", more, false),
        ("H14 80 bytes", "most", &long, false),
        ("H14", "nul", "a", true),
        ("H14 a NUL", "nul", "a\0", false),
        ("H14 a NUL", "nul", "a\0b", false),
        ("H15", "nothing", "", false),
        ("H15", "nothing", "\0", false),
        ("H16", nfc, P, true),
        ("H16 another normal form", "Zoe\u{308}", P, false),
        ("H16", "Case", P, true),
        ("H16", "case", P, false),
        ("H16", "CASE", P, false),
        ("H14 a NUL", "y\0", P, false),
    ];
    let mut asked: Vec<_> = rows.iter().map(|(_, user, password, _)| login(user, password.as_bytes())).collect();
    asked.push(login("y", b"p\xff"));
    let mut answers = Http2::connect(&gate).ask_all(&asked).into_iter().map(|answer| answer.unwrap().status);
    for (id, user, _, expected) in rows {
        assert_eq!(answers.next(), Some(if expected { 200 } else { 401 }), "{id} {user:?}");
    }
    assert_eq!(answers.next(), Some(401), "H14 no UTF-8");

    // Every line that never matches, or that replaces another, is told of by its number; nothing of it is repeated.
    let log = gate.log();
    let ends = |number: i32| [',', '}'].map(|end| format!(r#""line":{number}{end}"#));
    let told = (1..).zip(&lines).filter(|(number, _)| ends(*number).iter().any(|text| log.contains(text)));
    let users: Vec<_> = told.map(|(_, line)| line.split(':').next().unwrap_or_default()).collect();
    let long = "l".repeat(70_000);
    #[rustfmt::skip]
    assert_eq!(users, [
        "flawed", "first", "sha", "apr", "des", "plain", "twice", "withdrawn", "", "empty", "nocolon", "cut", "more",
        "cost03", "cost20", "cost31", "cost99", &long,
    ], "H2 H6–H9 H11–H13");
    for secret in [hash, "rl.3StKT.4T8M", "UW9o9G7zG7I9x5S6zUuXe0bZuYI="] {
        assert!(!log.contains(secret), "a hash is in the log");
    }
}

/// H17: by nothing in the answer can one tell who there is.
#[test]
fn an_unknown_user_is_answered_like_a_wrong_password() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry)
        .with(|config| config["identity"]["disabled_users"] = serde_json::json!([BOB.name]))
        .start();
    for path in ["/v2/", "/token", "/v2/team-a/app/tags/list", "/v2/library/x/tags/list"] {
        let answers = [
            Login::new("nobody", "x"),
            Login::new(ALICE.name, "x"),
            BOB,
            Login::new(BOB.name, "x"),
            Login::new(ALICE.name, ""),
            Login::new("", ""),
        ]
        .map(|login| {
            let mut answer = gate.curl(path).user(login).send();
            answer.headers.retain(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
            (answer.status, answer.headers.clone(), answer.text())
        });
        assert_eq!(answers[0].0, 401);
        for answer in &answers[1..] {
            assert_eq!(answer, &answers[0], "H17 {path}");
        }
    }
}

/// H20: bcrypt is not where the transfers are. Many logins at a high cost are under way while tokens are used.
#[test]
fn logins_do_not_hold_up_who_has_a_token() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    let file = fs::read_to_string(gate.htpasswd()).unwrap();
    replace(&gate, &format!("{file}slow:{}\n", bcrypt::hash("x", 10).unwrap()));
    eventually("the file is seen", || gate.log().contains("the password file changed"));
    let logins = Http2::connect(&gate);
    let waiting: Vec<_> =
        (0..100).map(|number| logins.begin(&login("slow", format!("guess {number}").as_bytes()))).collect();
    for _ in 0..5 {
        assert_eq!(gate.curl("/v2/team-a/app/tags/list").bearer(&token).send().status, 404, "H20");
    }
    assert!(waiting.iter().any(|waiting| !waiting.is_over()), "H20 the logins were over before");
}

/// H18: a rename.
#[test]
fn a_replaced_file_is_in_force_soon() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert!(logs_in(&gate, ALICE) && !logs_in(&gate, CAROL));
    replace(&gate, &[CAROL, BOB].map(htpasswd_line).concat());
    eventually("carol is let in", || logs_in(&gate, CAROL));
    assert!(!logs_in(&gate, ALICE), "alice was proven before, and her line is gone");
    assert!(logs_in(&gate, BOB));
}

/// H18: truncated.
#[test]
fn an_empty_file_means_nobody() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert!(logs_in(&gate, ALICE));
    File::options().write(true).truncate(true).open(gate.htpasswd()).unwrap();
    eventually("alice is refused", || !logs_in(&gate, ALICE));
    for login in [ALICE, ADMIN, Login::new("", ""), Login::new("alice", "")] {
        assert!(!logs_in(&gate, login), "{login:?}");
    }
}

/// H18: unreadable.
#[test]
fn an_unreadable_file_keeps_the_last_one() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    assert!(logs_in(&gate, ALICE));
    // Permissions do not stop root; a folder in its place stops everybody.
    fs::remove_file(gate.htpasswd()).unwrap();
    fs::create_dir(gate.htpasswd()).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(logs_in(&gate, ALICE));
    assert!(logs_in(&gate, BOB), "not from the cache of logins alone");
    assert!(!logs_in(&gate, CAROL));

    fs::remove_dir(gate.htpasswd()).unwrap();
    replace(&gate, &htpasswd_line(CAROL));
    eventually("carol is let in", || logs_in(&gate, CAROL));
    assert!(!logs_in(&gate, ALICE));
}

/// H19.
#[test]
fn a_second_change_within_one_tick_of_the_clock_is_seen() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let changed = |login: Login| Login::new(login.name, "another password");
    replace(&gate, &htpasswd_line(ALICE));
    eventually("bob is gone", || !logs_in(&gate, BOB));
    let written = fs::metadata(gate.htpasswd()).unwrap().modified().unwrap();

    // The same name, the same length, the same file, the same time.
    let file = File::options().write(true).truncate(true).open(gate.htpasswd()).unwrap();
    fs::write(gate.htpasswd(), htpasswd_line(changed(ALICE))).unwrap();
    file.set_modified(written).unwrap();
    assert_eq!(fs::metadata(gate.htpasswd()).unwrap().modified().unwrap(), written);
    eventually("the new password is in force", || logs_in(&gate, changed(ALICE)));
    assert!(!logs_in(&gate, ALICE));
}

#[test]
fn a_token_ends_with_the_password_that_proved_it() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let token = gate.token(Some(ALICE), "repository:team-a/app:pull");
    let ask = || gate.curl("/v2/").bearer(&token).send();
    assert_eq!(ask().status, 200);
    replace(&gate, &[Login::new(ALICE.name, "another password"), BOB].map(htpasswd_line).concat());
    eventually("the token is refused", || ask().status == 401);
    assert!(ask().header("www-authenticate").unwrap().contains(r#"error="invalid_token""#));
}

#[test]
fn what_htpasswd_writes_is_read() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let status = Command::new("htpasswd").arg("-bB").arg(gate.htpasswd()).args([CAROL.name, CAROL.password]).status();
    assert!(status.expect("htpasswd is not installed: run tests/run.sh").success());
    eventually("carol is let in", || logs_in(&gate, CAROL));
    assert!(logs_in(&gate, ALICE), "the other lines stay");
}

/// H2, H3, H7–H9, H13: while it serves.
#[test]
fn a_bad_line_is_a_bad_line_not_a_bad_file() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let lines = format!(
        "# users\n\nno colon here\n:$2y$05$abcdefghijklmnopqrstuv\nsha:{{SHA}}fEqNCco3Yq9h5ZUglD3CZJT4lBs=\nplain:plain\nempty:\n{}{}\r\n{}",
        "x".repeat(70_000) + "\n",
        htpasswd_line(ALICE).trim_end(),
        htpasswd_line(CAROL).trim_end(),
    );
    replace(&gate, &lines);
    eventually("carol is let in", || logs_in(&gate, CAROL));
    assert!(logs_in(&gate, ALICE));
    for login in [Login::new("sha", "hello"), Login::new("plain", "plain"), Login::new("empty", ""), Login::new("", "")]
    {
        assert!(!logs_in(&gate, login), "{login:?}");
    }
}
