//! A real slapd with people, groups and names that are hard to escape.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Leaf, Login, Pki, Process, eventually, free_port, run};

/// Below which everything is.
const SUFFIX: &str = "dc=example,dc=test";
const ADMIN: &str = "cn=admin,dc=example,dc=test";
const ADMIN_PASSWORD: &str = "adminpw";
const SERVICE_PASSWORD: &str = "bindpw";

pub(crate) const LDAP_ALICE: Login = Login::new("alice", "alicepw");
pub(crate) const LDAP_BOB: Login = Login::new("bob", "bobpw");
pub(crate) const LDAP_JOHN: Login = Login::new(r"j(o)h*n\x", "johnpw");
pub(crate) const LDAP_JUERGEN: Login = Login::new("jürgen", "päss");

/// People, who are there from the start, since the times of a password policy can be set by no client.
const PEOPLE: &str = include_str!("ldap/people.ldif");
/// Groups, which are added while it runs: only then does `memberOf` follow.
const GROUPS: &str = include_str!("ldap/groups.ldif");

/// A directory server of its own.
pub(crate) struct Slapd {
    process: Process,
    dir: TempDir,
    plain: u16,
    tls: u16,
}

/// What differs from one to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Slapped<'a> {
    /// Lines of the configuration before the database.
    pub(crate) extra: &'a str,
    /// No certificate: StartTLS is refused.
    pub(crate) without_tls: bool,
}

impl Slapd {
    pub(crate) fn start(pki: &Pki) -> Self {
        Self::start_with(pki, Slapped::default())
    }

    pub(crate) fn start_with(pki: &Pki, differing: Slapped<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let leaf = pki.issue(&["127.0.0.1"]);
        let [plain, tls] = [free_port(), free_port()];
        fs::create_dir(dir.path().join("db")).unwrap();
        fs::write(dir.path().join("slapd.conf"), configuration(dir.path(), pki, &leaf, differing)).unwrap();
        let people = PEOPLE.replace("@SERVICE@", SERVICE_PASSWORD);
        run(Command::new("slapadd").arg("-q").arg("-f").arg(dir.path().join("slapd.conf")), &people).succeeded();
        let process = serve(dir.path(), plain, tls);
        let slapd = Self { process, dir, plain, tls };
        slapd.await_ready();
        slapd.add(GROUPS);
        slapd
    }

    /// `ldaps://…`
    pub(crate) fn ldaps(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls)
    }

    /// `ldap://…`, for StartTLS.
    pub(crate) fn ldap(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.plain)
    }

    pub(crate) fn ldaps_port(&self) -> u16 {
        self.tls
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// After it was killed, at the same ports with the same content.
    pub(crate) fn start_again(&mut self) {
        self.process = serve(self.dir.path(), self.plain, self.tls);
        self.await_ready();
    }

    /// Adds entries.
    pub(crate) fn add(&self, ldif: &str) {
        run(&mut self.client("ldapadd"), ldif).succeeded();
    }

    /// Changes entries.
    pub(crate) fn modify(&self, ldif: &str) {
        run(&mut self.client("ldapmodify"), ldif).succeeded();
    }

    fn await_ready(&self) {
        eventually("slapd answers", || {
            let asked = self.client("ldapwhoami").stdout(Stdio::null()).stderr(Stdio::null()).status();
            asked.expect("ldapwhoami is not installed: run tests/run.sh").success()
        });
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-x", "-H", &self.ldap(), "-D", ADMIN, "-w", ADMIN_PASSWORD]);
        command
    }
}

fn serve(dir: &Path, plain: u16, tls: u16) -> Process {
    let mut command = Command::new("slapd");
    let urls = format!("ldap://127.0.0.1:{plain}/ ldaps://127.0.0.1:{tls}/");
    // With any level of -d it stays in the foreground; this one tells binds and searches.
    command.args(["-d", "stats", "-h", &urls, "-f"]).arg(dir.join("slapd.conf"));
    Process::start("slapd", &mut command, &dir.join("slapd.log"))
}

fn configuration(dir: &Path, pki: &Pki, leaf: &Leaf, differing: Slapped<'_>) -> String {
    let tls = format!(
        "TLSCACertificateFile {}\nTLSCertificateFile {}\nTLSCertificateKeyFile {}\nTLSProtocolMin 3.3\n",
        pki.ca_file().display(),
        leaf.certificate.display(),
        leaf.key.display()
    );
    let tls = if differing.without_tls { String::new() } else { tls };
    let (dir, extra) = (dir.display(), differing.extra);
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile {dir}/slapd.pid
{tls}sizelimit 500
{extra}
database mdb
suffix \"{SUFFIX}\"
rootdn \"{ADMIN}\"
rootpw {ADMIN_PASSWORD}
directory {dir}/db
maxsize 104857600
index objectClass,uid,cn,member,memberUid eq
overlay memberof
overlay ppolicy
ppolicy_default \"cn=default,ou=policies,{SUFFIX}\"
access to attrs=userPassword by self write by anonymous auth by * none
access to * by dn.exact=\"cn=portcullis,ou=services,{SUFFIX}\" read by self read by anonymous auth by * none
"
    )
}

/// The provider as a configuration has it: search and bind over ldaps, groups by `member`.
pub(crate) fn ldap_provider(urls: &[String], ca_file: &Path, secret: &Path) -> Value {
    json!({
        "urls": urls,
        "ca_file": ca_file,
        "bind_dn": format!("cn=portcullis,ou=services,{SUFFIX}"),
        "bind_password_file": secret,
        "users": { "base": format!("ou=people,{SUFFIX}"), "filter": "(uid=$user)" },
        "groups": { "base": format!("ou=groups,{SUFFIX}"), "filter": "(member=$dn)", "name": "cn", "nested": false },
        "timeout": "2s",
    })
}

/// A file with the service account's password.
pub(crate) fn service_secret(folder: &Path) -> PathBuf {
    let path = folder.join("ldap-password");
    let mut file = fs::File::create(&path).unwrap();
    writeln!(file, "{SERVICE_PASSWORD}").unwrap();
    path
}
