//! A browser: headless Chromium, driven over a pipe by the DevTools protocol.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Command,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Process;

/// How long one answer may take, and how long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with one page.
pub(crate) struct Chromium {
    _process: Process,
    _dir: TempDir,
    commands: File,
    messages: Receiver<Value>,
    number: u64,
    session: Value,
    /// What the page complained about: scripts that failed, what its policy forbids, what could not be loaded.
    complaints: Vec<String>,
}

impl Chromium {
    /// Opens a page. `PORTCULLIS_TEST_CHROMIUM` names another browser.
    pub(crate) fn open(url: &str) -> Self {
        let mut browser = Self::start();
        let target = browser.browser("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.browser("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].clone();
        for domain in ["Log.enable", "Runtime.enable", "Page.enable"] {
            browser.page(domain, &json!({}));
        }
        browser.go(url);
        browser
    }

    fn start() -> Self {
        let program = env::var_os("PORTCULLIS_TEST_CHROMIUM").unwrap_or_else(|| OsString::from("chromium"));
        let dir = tempfile::tempdir().unwrap();
        let (to, from) = (dir.path().join("to"), dir.path().join("from"));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<\"$TO\" 4>\"$FROM\"", "sh"]).arg(program);
        command.env("TO", &to).env("FROM", &from).env("HOME", dir.path());
        command.args([
            "--headless",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]);
        command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
        command.args(["--disable-sync", "--disable-extensions", "--no-proxy-server", "--lang=en"]);
        command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
        let process = Process::start("chromium", &mut command, &dir.path().join("chromium.log"));
        // Each of both waits for the other side to open it, in this order.
        let commands = File::options().write(true).open(&to).unwrap();
        let answers = BufReader::new(File::open(&from).unwrap());
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let session = Value::Null;
        Self { _process: process, _dir: dir, commands, messages, number: 0, session, complaints: Vec::new() }
    }

    pub(crate) fn go(&mut self, url: &str) {
        let gone = self.page("Page.navigate", &json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.eventually("document.readyState === 'complete'");
    }

    /// What an expression comes to.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.page("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn eventually(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(expression) != json!(true) {
            assert!(Instant::now() < end, "waited in vain for {expression} on the page:\n{}", self.text());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the page says something.
    #[track_caller]
    pub(crate) fn reads(&mut self, text: &str) {
        self.eventually(&format!("(document.body?.innerText ?? '').includes({})", json!(text)));
    }

    /// What a person reads.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        self.value("document.body?.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// The size of the window, and `light` or `dark`.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.page("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.page("Emulation.setEmulatedMedia", &scheme);
    }

    /// Runs no scripts of pages from the next one on.
    pub(crate) fn without_scripts(&mut self) {
        self.page("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    }

    /// Takes a picture of the whole page.
    pub(crate) fn picture(&mut self, file: &Path) {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let shot = self.page("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true }));
        std::fs::write(file, STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    pub(crate) fn complaints(&mut self) -> &[String] {
        self.value("1");
        &self.complaints
    }

    fn browser(&mut self, method: &str, parameters: &Value) -> Value {
        self.call(json!({ "method": method, "params": parameters }))
    }

    fn page(&mut self, method: &str, parameters: &Value) -> Value {
        self.call(json!({ "method": method, "params": parameters, "sessionId": self.session }))
    }

    fn call(&mut self, mut message: Value) -> Value {
        self.number += 1;
        message["id"] = json!(self.number);
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.messages.recv_timeout(PATIENCE).expect("the browser answers");
            if answer["id"] == json!(self.number) {
                assert!(answer["error"].is_null(), "{message}: {answer}");
                return answer["result"].clone();
            }
            let told = &answer["params"];
            match answer["method"].as_str() {
                Some("Log.entryAdded") => self.complaints.push(told["entry"]["text"].to_string()),
                Some("Runtime.exceptionThrown") => self.complaints.push(told["exceptionDetails"].to_string()),
                _ => {}
            }
        }
    }
}
