//! What the status tells, and that it is so.

use std::fs;

use serde_json::{Value, json};

use super::{BROWSER, ask};
use crate::support::{ALICE, Image, Login, Portcullis, Registry, Skopeo, eventually};

/// A list's entry by one of its fields.
fn find<'a>(list: &'a Value, field: &str, value: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|one| one[field] == value).unwrap_or(&Value::Null)
}

fn problems(gate: &Portcullis) -> Vec<(String, String)> {
    let status = gate.status();
    let word = |problem: &Value, field: &str| problem[field].as_str().unwrap().to_owned();
    let problems = status["problems"].as_array().unwrap();
    problems.iter().map(|problem| (word(problem, "severity"), word(problem, "what"))).collect()
}

#[test]
fn what_clients_do_is_counted() {
    let registry = Registry::start();
    let gate = Portcullis::start(&registry);
    let image = Image::new(460, &[300_000]);
    let skopeo = Skopeo::logged_in(gate.pki(), &gate.host(), ALICE);
    skopeo.copy(&image.reference(), &gate.image("team-a/app")).succeeded();
    let blob = gate.curl(&format!("/v2/team-a/app/blobs/{}", image.layer)).user(ALICE).send();
    assert_eq!(blob.status, 200);
    for _ in 0..3 {
        assert_eq!(gate.curl("/v2/team-b/app/tags/list").user(ALICE).send().status, 403);
    }
    let wrong = Login { name: "alice", password: "wrong" };
    assert_eq!(gate.curl("/v2/").user(wrong).send().status, 401);

    let counted = |status: &Value| {
        find(&status["traffic"]["refused"], "reason", "denied")["total"] == 3
            && find(&status["traffic"]["refused"], "reason", "wrong_credentials")["total"] == 1
    };
    // The last ones are counted just after their answers.
    eventually("all is counted", || counted(&gate.status()));
    let status = gate.status();
    let (traffic, logins) = (&status["traffic"], &status["logins"]);
    assert!(traffic["bytes_in"].as_u64().unwrap() >= 300_000, "{traffic}");
    assert!(traffic["bytes_out"].as_u64().unwrap() >= 300_000, "{traffic}");
    assert!(
        traffic["answers"]["2xx"].as_u64().unwrap() > 3 && traffic["answers"]["4xx"].as_u64().unwrap() >= 4,
        "{traffic}"
    );
    assert_eq!((&traffic["answers"]["5xx"], &traffic["broken"]), (&json!(0), &json!(0)));
    let htpasswd = find(&logins["providers"], "provider", "htpasswd");
    assert!(htpasswd["outcomes"]["accepted"].as_u64().unwrap() >= 1, "{logins}");
    assert_eq!(htpasswd["outcomes"]["rejected"], 1, "{logins}");
    assert_eq!((&logins["throttled"], &logins["throttled_names"]), (&json!(0), &json!(0)));
    let server = &status["registries"][0]["servers"][0];
    assert!(server["latency_ms"].as_f64().is_some_and(|latency| latency > 0.0), "{server}");
    assert!(status["memory"]["buffers"]["limit_bytes"].as_u64() > status["memory"]["buffers"]["used_bytes"].as_u64());
    assert!(status["memory"]["resident_bytes"].as_u64().unwrap() > 1 << 20);

    // A point of the history comes every three seconds.
    eventually("the history has it", || {
        let history = gate.admin("/status?history=1000").json()["history"].take();
        let sum = |name: &str| history[name].as_array().unwrap().iter().filter_map(Value::as_f64).sum::<f64>();
        sum("requests") > 1.0 && sum("refused") > 0.5 && sum("bytes_in") > 50_000.0 && sum("bytes_out") > 50_000.0
    });
    let history = gate.admin("/status?history=1").json()["history"].take();
    for list in ["at", "requests", "failures", "refused", "bytes_in", "bytes_out"] {
        assert_eq!(history[list].as_array().unwrap().len(), 1, "{list}");
    }
    assert!(gate.status().get("history").is_none());
}

#[test]
fn what_guesses_is_a_number_and_no_name() {
    let registry = Registry::start();
    let gate = Portcullis::before(&registry)
        .with(|config| config["limits"] = json!({ "failed_logins": { "count": 2, "per": "1h" } }))
        .start();
    let guess = Login { name: "secret-of-bob", password: "wrong" };
    let statuses: Vec<u16> = (0..4).map(|_| gate.curl("/v2/").user(guess).send().status).collect();
    assert_eq!(statuses, [401, 401, 429, 429]);
    let logins = gate.status()["logins"].take();
    assert_eq!((&logins["throttled_names"], &logins["throttled"]), (&json!(1), &json!(2)), "{logins}");
    assert!(!gate.admin("/status?history=9").text().contains("secret-of-bob"));
    assert!(!gate.admin("/status?format=html").text().contains("secret-of-bob"));
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let (mut first, second) = (Registry::start(), Registry::start());
    let upstream = json!({
        "servers": [{ "url": first.url }, { "url": second.url, "role": "replica" }],
        "health": { "interval": "200ms", "timeout": "200ms" },
    });
    let mut gate = Portcullis::before_upstream(upstream).start();
    assert_eq!((gate.status()["health"].take(), problems(&gate)), (json!("ok"), vec![]));
    assert_eq!(gate.admin("/readyz").text(), "ready\n");

    first.kill();
    eventually("a server is down", || gate.status()["health"] == "failing");
    let said = problems(&gate);
    assert!(said[0].0 == "error" && said[0].1.contains("no primary") && said[0].1.contains(&first.url), "{said:?}");
    // It has company in that: nobody would be served better by taking it out.
    let ready = gate.admin("/readyz");
    assert!(ready.status == 200 && ready.text().starts_with("ready\nerror: localhost: no primary"), "{}", ready.text());
    first.start_again();
    eventually("it is back", || gate.status()["health"] == "ok");
    assert_eq!(gate.admin("/readyz").text(), "ready\n");

    gate.reload_with(|config| config["<b>acces"] = json!({}));
    let said = problems(&gate);
    assert!(said.len() == 1 && said[0].0 == "warning" && said[0].1.contains("<b>acces"), "{said:?}");
    let status = gate.status();
    assert!(status["problems"][0]["advice"].as_str().unwrap().contains("portcullis check -c "), "{status}");
    assert_eq!(status["health"], "degraded");
    let ready = gate.admin("/readyz");
    assert!(ready.status == 200 && ready.text().lines().count() == 2, "one line each: {}", ready.text());
    gate.reload_with(|config| drop(config.as_object_mut().unwrap().remove("<b>acces")));
    assert_eq!(gate.status()["health"], "ok");

    gate.reload_with(|config| config["registries"][0]["read_only"] = json!(true));
    let said = problems(&gate);
    assert!(said.len() == 1 && said[0].0 == "note" && said[0].1.contains("read-only"), "{said:?}");
    assert_eq!(gate.status()["health"], "ok", "somebody wanted it so");
}

/// Names of files and texts of errors come from elsewhere.
#[test]
fn what_looks_like_a_page_stays_text() {
    let registry = Registry::start();
    let mut gate = Portcullis::start(&registry);
    let name = "<img src=x onerror=alert(1)>\"'&";
    fs::copy(gate.htpasswd(), gate.dir().join(name)).unwrap();
    gate.reload_with(|config| {
        config["identity"]["providers"] = json!([{ "htpasswd": { "file": name } }]);
    });
    fs::remove_file(gate.dir().join(name)).unwrap();
    eventually("it is missed", || problems(&gate).iter().any(|(_, what)| what.contains(name)));
    gate.reload_with(|config| config["</script><script>alert(2)</script>"] = json!(1));
    let page = ask(&gate, "GET /status", &format!("Host: localhost\r\n{BROWSER}")).text();
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;"), "{page}");
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(2)"), "{page}");
    assert!(!page.contains("<img") && !page.contains("<script>alert"), "{page}");
    assert_eq!(page.matches("<script>").count(), 1);
}
