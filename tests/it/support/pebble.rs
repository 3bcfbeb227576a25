//! A real ACME authority (pebble, Let's Encrypt's own for tests) with a name service of its own, in which every name is
//! this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Curl, GateSetup, Pki, Process, Tls, eventually, free_port};

/// Of an account that the authority knows otherwise.
pub(crate) const EAB_KEY_ID: &str = "kid-1";
pub(crate) const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// What differs from one to the next.
#[derive(Clone, Debug)]
pub(crate) struct Pebbled {
    /// How many of a hundred requests with a good nonce are refused all the same.
    pub(crate) bad_nonces: u8,
    /// Sleeps up to 5 s before it validates, as a busy authority does.
    pub(crate) is_slow: bool,
    /// How long its certificates live.
    pub(crate) life: Duration,
    /// Accounts are for those with a key that it gave them.
    pub(crate) with_eab: bool,
    /// Names that it refuses.
    pub(crate) blocked: Vec<String>,
    /// Where it looks for answers, as ports 443 and 80 otherwise; 0: where one gate will be.
    pub(crate) tls_port: u16,
    pub(crate) http_port: u16,
}

impl Default for Pebbled {
    fn default() -> Self {
        Self {
            bad_nonces: 5,
            is_slow: false,
            life: Duration::from_secs(90 * 24 * 60 * 60),
            with_eab: false,
            blocked: Vec::new(),
            tls_port: 0,
            http_port: 0,
        }
    }
}

/// A running authority. It forgets everything when it ends.
pub(crate) struct Pebble {
    process: Process,
    _names: Process,
    pki: Pki,
    dir: TempDir,
    settings: Pebbled,
    port: u16,
    management: u16,
    dns: u16,
}

impl Pebble {
    pub(crate) fn start() -> Self {
        Self::start_with(Pebbled::default())
    }

    pub(crate) fn start_with(mut settings: Pebbled) -> Self {
        for port in [&mut settings.tls_port, &mut settings.http_port] {
            if *port == 0 {
                *port = free_port();
            }
        }
        let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
        let [port, management, dns, dns_management] = [(); 4].map(|()| free_port());
        let names = name_service(dir.path(), dns, dns_management);
        let leaf = pki.issue(&["localhost", "127.0.0.1"]);
        let own = json!({ "certificate": leaf.certificate, "privateKey": leaf.key });
        fs::write(dir.path().join("pebble.json"), configuration(&settings, &own, port, management)).unwrap();
        let process = serve(dir.path(), &settings, dns);
        let mut pebble = Self { process, _names: names, pki, dir, settings, port, management, dns };
        pebble.await_ready();
        pebble
    }

    /// `tls.acme.directory`
    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// `tls.acme.directory_ca_file`
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.pki.ca_file()
    }

    /// Where it looks for the answers of `tls-alpn-01` and of `http-01`.
    pub(crate) fn ports(&self) -> [u16; 2] {
        [self.settings.tls_port, self.settings.http_port]
    }

    /// A gate at the ports where it looks, with certificates of it alone for these names; `storage` is beside the
    /// configuration. It counts as started while it has none yet.
    pub(crate) fn guards(&self, setup: GateSetup, certificates: &[&[&str]]) -> GateSetup {
        let acme = self.section(certificates);
        setup.ports(self.ports()).before_it_is_ready().with(move |config| {
            config["tls"]["acme"] = acme.clone();
            config["tls"]["certificates"] = json!([]);
        })
    }

    /// `tls.acme`
    pub(crate) fn section(&self, certificates: &[&[&str]]) -> Value {
        let certificates: Vec<Value> = certificates.iter().map(|names| json!({ "names": names })).collect();
        json!({
            "directory": self.directory(),
            "directory_ca_file": self.ca_file(),
            "agree_to_terms": true,
            "storage": "acme",
            "certificates": certificates,
        })
    }

    /// A file with the root of what it issues, which is another one after every start.
    pub(crate) fn root(&self) -> PathBuf {
        let file = self.dir.path().join("root.pem");
        let root = self.ask("/roots/0").expect("the authority is running");
        fs::write(&file, root).unwrap();
        file
    }

    /// A TLS connection that trusts what it issues. `Err` where the gate shows something else.
    pub(crate) fn dial(&self, port: u16, name: &str) -> std::io::Result<Tls> {
        Tls::configured(super::raw::trusting(&self.root(), &["http/1.1"]), port, name)
    }

    /// Stopped with `STOP` it hangs: connections are taken, and nothing is answered.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends a signal by its short name.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// After it ended, at the same ports, as a new authority that knows nobody.
    pub(crate) fn start_again(&mut self) {
        self.process = serve(self.dir.path(), &self.settings, self.dns);
        self.await_ready();
    }

    /// Ends it and has a web server (HAProxy) in its place that answers everything with this status and these header
    /// lines: the real thing cannot be made to.
    pub(crate) fn replace(&mut self, status: u16, headers: &[(&str, &str)]) -> Process {
        self.process.stop();
        let leaf = self.pki.issue(&["localhost", "127.0.0.1"]);
        let pem = self.dir.path().join("stand-in.pem");
        fs::write(&pem, [fs::read(&leaf.certificate).unwrap(), fs::read(&leaf.key).unwrap()].concat()).unwrap();
        let added: String = headers.iter().map(|(name, value)| format!(" hdr {name} \"{value}\"")).collect();
        let text = format!(
            "defaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n\
             frontend authority\n  bind 127.0.0.1:{} ssl crt {}\n  \
             http-request return status {status} content-type application/problem+json{added} \
             string '{{\"type\":\"urn:ietf:params:acme:error:serverInternal\",\"detail\":\"no reason\"}}'\n",
            self.port,
            pem.display(),
        );
        let file = self.dir.path().join("stand-in.cfg");
        fs::write(&file, text).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let process = Process::start("haproxy", &mut command, &self.dir.path().join("stand-in.log"));
        eventually("the stand-in answers", || {
            Curl::new(self.directory()).trusting(self.ca_file()).attempt().is_ok_and(|answer| answer.status == status)
        });
        process
    }

    fn ask(&self, path: &str) -> Option<Vec<u8>> {
        let url = format!("https://127.0.0.1:{}{path}", self.management);
        Curl::new(url).trusting(self.ca_file()).attempt().ok().map(|answer| answer.body)
    }

    fn await_ready(&mut self) {
        eventually("pebble answers", || {
            assert!(self.process.ended().is_none(), "pebble ended");
            let answer = Curl::new(self.directory()).trusting(self.ca_file()).attempt();
            answer.is_ok_and(|answer| answer.text().contains("newNonce"))
        });
    }
}

/// pebble-challtestsrv, for its name service alone.
fn name_service(dir: &Path, port: u16, management: u16) -> Process {
    let mut command = Command::new("pebble-challtestsrv");
    command.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
    command.args(["-dns01", &format!("127.0.0.1:{port}"), "-management", &format!("127.0.0.1:{management}")]);
    Process::start("pebble-challtestsrv", &mut command, &dir.join("names.log"))
}

fn serve(dir: &Path, settings: &Pebbled, dns: u16) -> Process {
    let binary = env::var_os("PORTCULLIS_TEST_PEBBLE").unwrap_or_else(|| "pebble".into());
    let mut command = Command::new(binary);
    command.env("PEBBLE_WFE_NONCEREJECT", settings.bad_nonces.to_string());
    command.env("PEBBLE_AUTHZREUSE", "0");
    if !settings.is_slow {
        command.env("PEBBLE_VA_NOSLEEP", "1");
    }
    command.arg("-config").arg(dir.join("pebble.json")).args(["-dnsserver", &format!("127.0.0.1:{dns}")]);
    Process::start("pebble", &mut command, &dir.join("pebble.log"))
}

/// For older and newer ones: those know profiles, and these one life for all certificates.
fn configuration(settings: &Pebbled, own: &Value, port: u16, management: u16) -> String {
    let life = settings.life.as_secs();
    let mut keys = json!({});
    if settings.with_eab {
        keys = json!({ EAB_KEY_ID: EAB_KEY });
    }
    let pebble = json!({
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": own["certificate"],
        "privateKey": own["privateKey"],
        "httpPort": settings.http_port,
        "tlsPort": settings.tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": settings.with_eab,
        "externalAccountMACKeys": keys,
        "domainBlocklist": settings.blocked,
        "retryAfter": { "authz": 1, "order": 1 },
        "certificateValidityPeriod": life,
        "profiles": {
            "default": { "description": "what everybody gets", "validityPeriod": life },
            "shortlived": { "description": "for a short time", "validityPeriod": life.min(6 * 24 * 60 * 60) },
        },
    });
    serde_json::to_string_pretty(&json!({ "pebble": pebble })).unwrap()
}
