//! `identity.providers[].ldap`: users and groups of a directory.

mod dn;
mod group_key;
mod template;

use std::{fmt, io, path::PathBuf, time::Duration};

pub use dn::Dn;
pub use group_key::GroupKey;
pub use template::Template;

use super::{
    Secret,
    host::{self, Underscores},
    reader::{Field, Section},
};

const FILTER_DELIMITERS: &[char] = &['(', ')'];
const DN_DELIMITERS: &[char] = &[',', '+'];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ldap {
    /// At least one, asked in this order. All are ldaps, or all are ldap with StartTLS.
    pub servers: Vec<LdapServer>,
    pub starttls: bool,
    /// None: the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Who searches; None: nobody (anonymous), and with names made from `users.dn` the user.
    pub service: Option<LdapService>,
    pub users: LdapUsers,
    pub groups: Option<LdapGroups>,
    /// For one question with everything that belongs to it.
    pub timeout: Duration,
    /// How many connections a server has for searches at most, and as many for passwords.
    pub pool: usize,
    /// The key of the provider, as in `identity.providers[1].ldap`.
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapServer {
    /// From the first byte; else by StartTLS.
    pub ldaps: bool,
    /// A DNS name in lower case or an IP address without brackets.
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapService {
    pub dn: String,
    pub password_file: PathBuf,
}

impl LdapService {
    /// What the file holds now.
    ///
    /// # Errors
    /// Where it cannot be read, or holds nothing, or several lines; the text does not quote it.
    pub fn password(&self) -> io::Result<Secret> {
        Secret::read(&self.password_file)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapUsers {
    /// The attribute whose value is the user's name.
    pub attribute: String,
    pub find: LdapFind,
}

/// How the entry of a user is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LdapFind {
    /// Below the base; the filter has `$user`.
    Search { base: String, filter: Template },
    /// By its name, which has `$user`; the filter narrows who may log in.
    Direct { dn: Template, filter: Option<Template> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapGroups {
    pub source: LdapGroupSource,
    /// The attribute whose value is a group's name.
    pub name: String,
    /// Groups of groups are the user's too.
    pub nested: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LdapGroupSource {
    /// The names of groups stand in this attribute of the user; only those below the base count.
    Attribute { attribute: String, base: Option<Dn> },
    /// Groups below the base that the filter finds, which has `$dn` or `$user`.
    Search { base: String, filter: Template },
}

impl fmt::Display for LdapServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ldaps, host, port } = self;
        let scheme = if *ldaps { "ldaps" } else { "ldap" };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl Ldap {
    /// True where nobody can be asked about a user who does not present a password.
    pub fn asks_as_user(&self) -> bool {
        self.service.is_none() && matches!(self.users.find, LdapFind::Direct { .. })
    }

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let section = field.section()?;
        let starttls = section.flag("starttls", false);
        let servers = read_servers(&section, starttls);
        let ca_file = section.nullable("ca_file").and_then(|field| field.file());
        let service = read_service(&section);
        let users =
            section.required("users", "write { base: \"ou=people,dc=example,dc=com\", filter: \"(uid=$user)\" }");
        let users = users.and_then(|field| read_users(field.section()?));
        let groups = section.nullable("groups").map(|field| read_groups(field.section()?));
        let timeout = section.duration("timeout", Duration::from_millis(100), Duration::from_secs(5));
        let pool = section.integer("pool", 1..=256, 8);
        section.finish();
        let key = field.path().to_owned();
        Some(Self { servers, starttls, ca_file, service, users: users?, groups: groups.flatten(), timeout, pool, key })
    }
}

fn read_servers(section: &Section<'_>, starttls: bool) -> Vec<LdapServer> {
    const HINT: &str = "write [\"ldaps://ldap.example.com\"]";
    let fields = section.required("urls", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
    let mut servers = Vec::new();
    for field in &fields {
        let Some(server) = field.text().and_then(|text| parse_url(text).map_err(|why| field.error(why)).ok()) else {
            continue;
        };
        field.name();
        if !server.ldaps && !starttls {
            field.error("passwords would travel in the clear: write ldaps://, or starttls: true");
        }
        if server.ldaps && starttls {
            field.error("starttls: true is for ldap://; with ldaps:// leave it out");
        }
        if servers.contains(&server) {
            field.error("this server is given twice");
        }
        servers.push(server);
    }
    servers
}

fn parse_url(url: &str) -> Result<LdapServer, &'static str> {
    let (ldaps, rest) = match (url.strip_prefix("ldaps://"), url.strip_prefix("ldap://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("not a directory server: write \"ldaps://ldap.example.com\""),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err("write scheme, host and port alone; what is searched for stands in users and groups");
    }
    const HOST: &str = "the host or the port cannot be read: write \"ldaps://ldap.example.com\"";
    let (host, port) = host::split_port(authority).ok_or(HOST)?;
    let host = match host::parse_ip(host) {
        Some(ip) => ip.to_string(),
        None => host::parse_name(host, Underscores::Accepted).ok_or(HOST)?,
    };
    Ok(LdapServer { ldaps, host, port: port.unwrap_or(if ldaps { 636 } else { 389 }) })
}

fn read_service(section: &Section<'_>) -> Option<LdapService> {
    let (name, file) = (section.nullable("bind_dn"), section.nullable("bind_password_file"));
    match (name, file) {
        (Some(name), Some(file)) => {
            let dn = name.text()?;
            // Active Directory takes these two forms too.
            let other = !dn.contains('=') && dn.contains(['@', '\\']);
            if !other && Dn::parse(dn).is_none() {
                name.error(format_args!("{dn:?} {NOT_A_DN}"));
            }
            Some(LdapService { dn: dn.to_owned(), password_file: file.file()? })
        }
        (Some(name), None) => {
            name.error("bind_password_file is missing: without a password a bind is an anonymous one");
            None
        }
        (None, Some(file)) => {
            file.error("bind_dn is missing: whose password is this?");
            None
        }
        (None, None) => None,
    }
}

const NOT_A_DN: &str = "is not a distinguished name: write one like \"ou=people,dc=example,dc=com\"";

fn read_users(section: Section<'_>) -> Option<LdapUsers> {
    let direct = section.nullable("dn");
    let base = section.nullable("base");
    let filter = section.nullable("filter");
    if let (Some(base), Some(_)) = (&base, &direct) {
        base.error("users.dn says where each user is: leave base out");
    }
    let find = match direct {
        Some(field) => {
            let dn = read_dn_template(&field);
            let filter = filter.map(|field| read_filter(&field));
            dn.map(|dn| LdapFind::Direct { dn, filter: filter.flatten() })
        }
        None => {
            const BASE: &str = "write the name below which users are, like \"ou=people,dc=example,dc=com\"";
            let base = section.required("base", BASE).and_then(|field| read_dn(&field)).map(|(text, _)| text);
            let filter = section.required("filter", "write \"(uid=$user)\"");
            let filter = filter.and_then(|field| {
                let filter = read_filter(&field)?;
                if !filter.has_user() {
                    field.error("must hold $user, which stands for the name that was typed");
                }
                Some(filter)
            });
            base.zip(filter).map(|(base, filter)| LdapFind::Search { base, filter })
        }
    };
    let guessed = find.as_ref().and_then(|find| match find {
        LdapFind::Search { filter: template, .. } | LdapFind::Direct { dn: template, .. } => {
            template.attribute_of_user()
        }
    });
    let attribute = section.nullable("attribute").and_then(|field| read_attribute(&field));
    let attribute = attribute.unwrap_or_else(|| guessed.unwrap_or("uid").to_owned());
    section.finish();
    Some(LdapUsers { attribute, find: find? })
}

fn read_groups(section: Section<'_>) -> Option<LdapGroups> {
    const BASE: &str = "write the name below which groups are, like \"ou=groups,dc=example,dc=com\"";
    let name = section.nullable("name").and_then(|field| read_attribute(&field)).unwrap_or_else(|| "cn".to_owned());
    let nested = section.flag("nested", false);
    let filter = section.nullable("filter");
    let source = match section.nullable("attribute") {
        Some(field) => {
            if let Some(filter) = filter {
                filter
                    .error("groups are searched for by a filter, or read from an attribute: leave one of the two out");
            }
            let base = section.nullable("base").and_then(|field| read_dn(&field)).map(|(_, dn)| dn);
            read_attribute(&field).map(|attribute| LdapGroupSource::Attribute { attribute, base })
        }
        None => {
            let base = section.required("base", BASE).and_then(|field| read_dn(&field)).map(|(text, _)| text);
            let default = || Template::parse("(member=$dn)").ok();
            let read = |field: Field<'_>| {
                let filter = read_filter(&field)?;
                if !filter.has_user() && !filter.has_dn() {
                    field.error("must hold $dn or $user: else everybody is in every group");
                }
                if nested && !filter.has_dn() {
                    field.error("groups of groups are found by $dn alone: without it leave nested out");
                }
                Some(filter)
            };
            let filter = filter.map_or_else(default, read);
            base.zip(filter).map(|(base, filter)| LdapGroupSource::Search { base, filter })
        }
    };
    section.finish();
    Some(LdapGroups { source: source?, name, nested })
}

fn read_dn(field: &Field<'_>) -> Option<(String, Dn)> {
    let text = field.text()?;
    field.name();
    let dn = Dn::parse(text);
    if dn.is_none() {
        field.error(format_args!("{text:?} {NOT_A_DN}"));
    }
    Some((text.to_owned(), dn?))
}

fn read_attribute(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if !dn::is_attribute(text) {
        field.error(format_args!("{text:?} is not the name of an attribute"));
    }
    Some(text.to_owned())
}

fn read_template(field: &Field<'_>, text: &str) -> Option<Template> {
    Template::parse(text).map_err(|why| field.error(why)).ok()
}

fn read_dn_template(field: &Field<'_>) -> Option<Template> {
    let template = read_template(field, field.text()?)?;
    if !template.has_user() || template.has_dn() || !template.fills_values_only(DN_DELIMITERS) {
        field.error("must hold $user as a value: write \"uid=$user,ou=people,dc=example,dc=com\"");
    } else if Dn::parse(&template.fill("x", "")).is_none() {
        field.error("is not a distinguished name: write \"uid=$user,ou=people,dc=example,dc=com\"");
    }
    Some(template)
}

fn read_filter(field: &Field<'_>) -> Option<Template> {
    let text = field.text()?;
    let template = read_template(field, text)?;
    if !template.fills_values_only(FILTER_DELIMITERS) {
        field.error("$user and $dn can stand for values alone, behind a =");
    } else if !text.starts_with('(') || ldap3::parse_filter(template.fill("x", "x")).is_err() {
        field.error(format_args!(
            "{text:?} is not a filter: write it in parentheses, like \"(uid=$user)\" or \"(member=$dn)\""
        ));
    }
    Some(template)
}
