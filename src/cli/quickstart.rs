//! `portcullis quickstart`: all that a first start needs, made in one folder.
//!
//! A file that is there is never overwritten: a second run reuses it and says so, and a run that was interrupted is
//! completed by the next one.

mod folder;
mod pki;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    config::{Config, Host, Secret},
    identity,
};
use folder::{Access, Folder};

/// The group that the first user is in.
const GROUP: &str = "admins";

/// bcrypt's cost for the first user: about 50 ms a login on a small machine.
const COST: u32 = 10;

/// Make everything a first start needs: a private CA, a certificate, a user, a configuration.
///
/// What is there already is kept, so a second run changes nothing. The first user's password is random, printed once
/// and kept in the folder. Prints how to go on.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct QuickstartArgs {
    /// Folder for certificates, keys, users and the configuration; made where it does not exist
    dir: PathBuf,

    /// Name or IP address that clients will dial, besides localhost, 127.0.0.1 and ::1; may be repeated
    #[arg(long = "host", value_name = "NAME", value_parser = parse_host)]
    hosts: Vec<Host>,

    /// Address to listen on; "::" or "0.0.0.0" lets other machines in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen: std::net::IpAddr,

    /// Port of the registry
    #[arg(long, value_name = "PORT", default_value_t = 8443, value_parser = clap::value_parser!(u16).range(1..))]
    https_port: u16,

    /// Port of the status page, metrics and health probes, on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 9090, value_parser = clap::value_parser!(u16).range(1..))]
    admin_port: u16,

    /// The registry to put the gate in front of: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5000", value_parser = parse_upstream)]
    upstream: String,

    /// The first user, who may do everything
    #[arg(long, value_name = "NAME", default_value = "admin", value_parser = parse_user)]
    user: String,
}

/// Makes what is missing in the folder, checks that the whole is a configuration `serve` would take, and prints what
/// to do next. The password of the first user is printed when it is made, and kept in the file `password`.
///
/// # Errors
///
/// Where the folder cannot be written, where a key is missing beside its certificate, and where a configuration that
/// was there before is not valid.
pub(super) fn run(args: &QuickstartArgs) -> anyhow::Result<()> {
    make(args, &mut io::stdout().lock())
}

fn make(args: &QuickstartArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let folder = Folder::open(&args.dir)?;
    writeln!(out, "{}", folder.path().display())?;

    for note in pki::ensure(&folder, &names(args), out)? {
        writeln!(out, "  note: {note}")?;
    }
    let user = ensure_user(&folder, &args.user, out)?;
    folder.ensure("portcullis.yml", Access::Everyone, out, || Ok(configuration(args)))?;

    let file = folder.path().join("portcullis.yml");
    let config = Config::load(&file).map_err(|problems| anyhow!("{problems}"))?;
    next_steps(&folder, &config, &user, out)
}

/// Host names for the certificate and the configuration, each once, the built-in ones first.
fn names(args: &QuickstartArgs) -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    for host in &args.hosts {
        if !names.iter().any(|name| **name == *host.name) {
            names.push(host.name.to_string());
        }
    }
    names
}

/// The first user; with the password where this run made it.
struct FirstUser {
    name: String,
    password: Option<Secret>,
}

/// Makes `password` and `htpasswd`.
fn ensure_user(folder: &Folder, user: &str, out: &mut impl Write) -> anyhow::Result<FirstUser> {
    if folder.has("htpasswd")? {
        folder.keep("htpasswd", out)?;
        let file = folder.read("htpasswd")?;
        let name = file.lines().find_map(|line| line.split_once(':')).map_or("NAME", |(name, _)| name);
        return Ok(FirstUser { name: name.to_owned(), password: None });
    }
    // The password goes first: were the run to end between the two, the next one hashes the same password.
    let made = folder.ensure("password", Access::Owner, out, || Ok(format!("{}\n", random_password()?)))?;
    let password = Secret::new(folder.read("password")?.trim_end_matches(['\r', '\n']).to_owned());
    folder.ensure("htpasswd", Access::Owner, out, || {
        let line = identity::hash_password(user, &password, COST).map_err(|error| {
            anyhow!("cannot hash the password in {}: {error}", folder.path().join("password").display())
        })?;
        Ok(format!("{}\n", line.trim_end()))
    })?;
    Ok(FirstUser { name: user.to_owned(), password: made.then_some(password) })
}

/// 144 random bits, 24 letters.
fn random_password() -> anyhow::Result<String> {
    let mut bytes = [0; 18];
    aws_lc_rs::rand::fill(&mut bytes).context("no random numbers")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn configuration(args: &QuickstartArgs) -> String {
    let address = std::net::SocketAddr::new(args.listen, args.https_port);
    // A JSON string is a YAML string: nothing in a name can become syntax.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let hosts = names(args).iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    format!(
        r#"# Written by `portcullis quickstart`, and yours from now on: it is not written again.
# Durations are "5s" "15m"; relative paths are relative to this folder.
version: 1

listen:
  https: [{address}]             # "[::]:443" lets other machines in
  http: []                                # "[::]:80" answers plain HTTP with a redirect
  admin: "127.0.0.1:{admin}"              # /status /metrics /healthz /readyz

tls:
  certificates:
    - {{ certificate_file: "tls/server.crt", key_file: "tls/server.key", default: true }}

registries:
  - hosts: [{hosts}]
    upstream:
      servers: [{{ url: {upstream} }}]

identity:
  groups:
    {GROUP}: [{user}]
  providers:
    - htpasswd: {{ file: "htpasswd" }}    # add users with: portcullis hash NAME >> htpasswd

tokens:
  keys: ["token.key"]                     # made on the first start

access:
  grants:                                 # a union: order means nothing, nothing denies
    - name: "public images"
      repositories: ["public/**"]
      actions: [pull]
      to: [anyone]
    - name: "admins may do everything"
      repositories: ["**"]
      actions: [pull, push, delete]
      to: ["group:{GROUP}"]
"#,
        address = quoted(&address.to_string()),
        admin = args.admin_port,
        upstream = quoted(&args.upstream),
        user = quoted(&args.user),
    )
}

/// What a person types next, from what the configuration says, which may be an older one than the arguments.
fn next_steps(folder: &Folder, config: &Config, user: &FirstUser, out: &mut impl Write) -> anyhow::Result<()> {
    let registry = config.registries.first().and_then(|registry| registry.hosts.first());
    let host = registry.context("the configuration has no registry")?;
    let port =
        host.port.or(config.listen.public_port).or_else(|| config.listen.https.first().map(|address| address.port()));
    let public = Host { name: host.name.clone(), port: port.filter(|port| *port != 443) };
    let here = |name: &str| shell_word(&folder.path().join(name));

    match &user.password {
        Some(password) => {
            let (name, password, file) = (&user.name, password.reveal(), here("password"));
            writeln!(out, "\nUser {name}, password {password} (shown once; kept in {file})")?;
        }
        None => writeln!(out, "\nUsers and passwords are those of before.")?,
    }
    write!(
        out,
        "
Start the gate:
  portcullis serve -c {config}

Let Docker trust its certificate (no restart needed), log in and push:
  sudo install -D -m 644 {ca} /etc/docker/certs.d/{public}/ca.crt
  docker login -u {name} {public}
  docker push {public}/NAME:TAG
",
        config = here("portcullis.yml"),
        ca = here("tls/ca.crt"),
        name = user.name,
    )?;
    Ok(())
}

/// A path as one word of a POSIX shell.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+,@%:=".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn parse_host(text: &str) -> anyhow::Result<Host> {
    let host = Host::parse(text).context("neither a DNS name nor an IP address")?;
    if host.port.is_some() {
        bail!("a name without a port is needed; the port is --https-port");
    }
    Ok(host)
}

/// A first look only: the configuration, once written, is checked as a whole.
fn parse_upstream(text: &str) -> anyhow::Result<String> {
    let known =
        ["http://", "https://", "unix:/"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    if !known || text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        bail!("one of http://HOST:PORT, https://HOST:PORT, unix:/PATH is needed");
    }
    Ok(text.to_owned())
}

fn parse_user(text: &str) -> anyhow::Result<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-' | '@');
    if text.is_empty() || text.len() > 64 || text.starts_with('-') || !text.chars().all(plain) {
        bail!("up to 64 letters, digits and . _ - @ are needed");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
