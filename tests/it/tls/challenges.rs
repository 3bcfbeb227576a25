//! What an authority is answered on either port, and what everybody else is told there. The answers are such as another
//! portcullis on the same folder opened.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::support::{Curl, Portcullis, Registry, Response, exchange, free_port};

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA";
const PATH: &str = "/.well-known/acme-challenge";
/// Is none of a registry.
const ELSEWHERE: &str = "acme.test";

/// A gate whose authority does not answer.
fn gate(registry: &Registry) -> Portcullis {
    let acme = json!({
        "directory": format!("https://127.0.0.1:{}/dir", free_port()),
        "agree_to_terms": true,
        "storage": "acme",
        "certificates": [{ "names": ["registry.test", "localhost", "127.0.0.1", ELSEWHERE] }],
    });
    Portcullis::before(registry)
        .before_it_is_ready()
        .with(move |config| {
            config["tls"]["acme"] = acme.clone();
            config["tls"]["certificates"] = json!([]);
        })
        .start()
}

/// As another portcullis does it while it orders.
fn open(gate: &Portcullis, name: &str, answer: Value) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut content = answer;
    content["until"] = json!(now + 60);
    fs::write(gate.dir().join("acme/challenges").join(format!("{name}.json")), content.to_string()).unwrap();
}

fn close(gate: &Portcullis, name: &str) {
    fs::remove_file(gate.dir().join("acme/challenges").join(format!("{name}.json"))).unwrap();
}

fn plain(gate: &Portcullis, method: &str, host: &str, path: &str) -> Response {
    let url = format!("http://localhost:{}{path}", gate.http_port());
    Curl::new(url).method(method).header(&format!("Host: {host}")).send()
}

#[test]
fn http_01_is_answered_while_it_is_open_and_nothing_else() {
    let registry = Registry::start();
    let gate = gate(&registry);
    let path = format!("{PATH}/{TOKEN}");
    assert_eq!(plain(&gate, "GET", ELSEWHERE, &path).status, 404);
    for name in ["registry.test", ELSEWHERE] {
        open(&gate, name, json!({ "http": { "token": TOKEN, "key_authorization": format!("{TOKEN}.print") } }));
        let answer = plain(&gate, "GET", name, &path);
        assert_eq!((answer.status, answer.text()), (200, format!("{TOKEN}.print")));
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), None);
        let head = plain(&gate, "HEAD", name, &path);
        assert_eq!((head.status, head.header("content-length")), (200, answer.header("content-length")));
        for method in ["POST", "PUT", "DELETE"] {
            assert_eq!(plain(&gate, method, name, &path).status, 405, "{method}");
        }
    }
    let long = "a".repeat(1024);
    let secrets = gate.dir().join("token.key");
    for path in [
        format!("{PATH}/another-token"),
        format!("{PATH}/"),
        PATH.to_owned(),
        format!("{PATH}/{TOKEN}/"),
        format!("{PATH}/{TOKEN}.json"),
        format!("{PATH}/{TOKEN}%00"),
        format!("{PATH}/{TOKEN}%2e"),
        format!("{PATH}/{long}"),
        format!("{PATH}/../../../etc/passwd"),
        format!("{PATH}/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        format!("{PATH}/..%5c..%5cetc%5cpasswd"),
        format!("{PATH}//etc/passwd"),
        format!("{PATH}/{}", secrets.display()),
        format!("{PATH}/registry.test.json"),
        format!("{PATH}/a+b"),
        format!("{PATH}/a=b"),
        format!("{PATH}%2f.."),
        format!("/.Well-Known/acme-challenge/{TOKEN}"),
    ] {
        for host in ["registry.test", ELSEWHERE, "evil.test"] {
            let answer = plain(&gate, "GET", host, &path);
            assert_eq!(answer.status, 404, "{host} {path}: {}", answer.text());
            assert_eq!(answer.code(), "NAME_UNKNOWN");
        }
    }
    assert_eq!(plain(&gate, "GET", "localhost", &path).status, 404, "another name has not this token");
    let absolute =
        format!("GET http://registry.test{path} HTTP/1.1\r\nHost: registry.test\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(exchange(gate.http_port(), absolute)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");

    // All else is as ever, and the other name is no registry.
    assert_eq!(plain(&gate, "GET", "registry.test", "/v2/").status, 308);
    assert_eq!(plain(&gate, "GET", ELSEWHERE, "/v2/").status, 421);
    let on_tls = gate.curl(&path).argument("--insecure").send();
    assert_ne!((on_tls.status, on_tls.text()), (200, format!("{TOKEN}.print")), "on the plain port alone");

    close(&gate, ELSEWHERE);
    assert_eq!(plain(&gate, "GET", ELSEWHERE, &path).status, 404);
    assert_eq!(registry.acted(), []);
}

/// What openssl says of a handshake, and whatever it was told.
fn handshake(gate: &Portcullis, name: &str, protocols: &str, more: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{}", gate.port()), "-servername", name]);
    command.args(["-alpn", protocols, "-ign_eof"]).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    // One whose handshake failed does not read it.
    let _ = child.stdin.take().unwrap().write_all(request.as_bytes());
    let output = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The text of the certificate that openssl printed.
fn certificate(said: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-text"]);
    crate::support::run(&mut command, said).succeeded().stdout
}

#[test]
fn tls_alpn_01_is_a_handshake_that_nobody_else_sees() {
    let registry = Registry::start();
    let gate = gate(&registry);
    let failed = || gate.counted("portcullis_connections_refused_total", "reason=\"handshake\"");
    let before = handshake(&gate, "localhost", "acme-tls/1", &[]);
    assert!(before.contains("alert no application protocol"), "{before}");
    let count = failed();
    assert!(count > 0.0, "an offer that nobody takes is a failed handshake");

    let digest: Vec<u8> = (100..132).collect();
    open(&gate, "localhost", json!({ "tls_alpn": { "digest": digest } }));
    open(&gate, "127.0.0.1", json!({ "tls_alpn": { "digest": digest } }));
    for (name, shown) in [("localhost", "DNS:localhost"), ("1.0.0.127.in-addr.arpa", "IP Address:127.0.0.1")] {
        for version in ["-tls1_2", "-tls1_3"] {
            let said = handshake(&gate, name, "acme-tls/1", &[version]);
            assert!(said.contains("ALPN protocol: acme-tls/1"), "{name}: {said}");
            assert!(!said.contains("HTTP/1.1"), "no HTTP is spoken: {said}");
            let text = certificate(&said);
            let names = text.split("Subject Alternative Name").nth(1).unwrap().lines().nth(1).unwrap().trim();
            assert_eq!(names, shown);
            let proof = text.split("1.3.6.1.5.5.7.1.31").nth(1).unwrap_or_else(|| panic!("no proof: {text}"));
            assert!(proof.starts_with(": critical"), "{text}");
        }
    }
    assert_eq!(failed(), count);
    for (name, protocols) in [("localhost", "acme-tls/1,h2"), ("localhost", "http/1.1,acme-tls/1"), ("localhost", "h2")]
    {
        let said = handshake(&gate, name, protocols, &[]);
        assert!(!said.contains("ALPN protocol: acme-tls/1"), "{protocols}: {said}");
        assert!(said.contains("CN = portcullis temporary certificate"), "{protocols}: {said}");
    }
    let other = handshake(&gate, "registry.test", "acme-tls/1", &[]);
    assert!(other.contains("alert no application protocol"), "{other}");
    assert_eq!(gate.log().matches("answered a tls-alpn-01 challenge").count(), 4);
    assert_eq!(registry.acted(), []);
}

/// Until there is a certificate, TLS is spoken all the same, and nothing is said that would bind a browser to it.
#[test]
fn without_a_certificate_there_is_a_temporary_one_that_nobody_is_sent_to() {
    let registry = Registry::start();
    let gate = gate(&registry);
    let answer = gate.admin("/readyz");
    let told = format!("temporary self-signed certificate alone for 127.0.0.1, {ELSEWHERE}, localhost, registry.test");
    assert!(answer.status == 503 && answer.text().contains(&told), "{answer:?}");
    let warned =
        gate.log().lines().filter(|line| line.contains("WARN") && line.contains("there is no certificate for")).count();
    assert_eq!(warned, 1, "{}", gate.log());

    let url = gate.url_of("registry.test", "/v2/");
    assert!(Curl::new(&url).attempt().unwrap_err().contains("self-signed certificate"));
    let answer = Curl::new(&url).argument("--insecure").send();
    assert_eq!((answer.status, answer.header("strict-transport-security")), (401, None));
    assert_eq!(plain(&gate, "GET", "registry.test", "/v2/").status, 308, "and never plain HTTP");
}
