//! `identity`: who may log in.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    Ldap, advice,
    reader::{Field, Section},
};

#[derive(Clone, Debug)]
pub struct Identity {
    /// What a Basic prompt shows; can stand in a quoted header string as it is.
    pub realm: String,
    pub disabled_users: Vec<String>,
    /// group → users
    pub groups: BTreeMap<String, Vec<String>>,
    /// At least one, asked in order.
    pub providers: Vec<Provider>,
    /// How long a proven login is remembered; zero: not at all.
    pub cache: Duration,
}

#[derive(Clone, Debug)]
pub enum Provider {
    Htpasswd(Htpasswd),
    Ldap(Box<Ldap>),
}

impl Provider {
    fn asks_as_user(&self) -> bool {
        matches!(self, Self::Ldap(ldap) if ldap.asks_as_user())
    }
}

#[derive(Clone, Debug)]
pub struct Htpasswd {
    pub file: PathBuf,
}

impl Identity {
    /// True where a provider brings groups that the configuration does not know.
    pub(super) fn has_directory_groups(&self) -> bool {
        self.providers.iter().any(|provider| matches!(provider, Provider::Ldap(ldap) if ldap.groups.is_some()))
    }

    pub(super) fn read(section: Section<'_>) -> Self {
        const HINT: &str = "nobody could log in; write - htpasswd: { file: \"htpasswd\" }";
        let realm = section.get("realm");
        if let Some(field) = &realm {
            advice::scheme_words(field);
        }
        let realm = realm.and_then(|field| field.header_text()).unwrap_or("Registry").to_owned();
        let disabled_users = section.list("disabled_users").iter().filter_map(user_name).collect();
        let groups = section.get("groups").map(|field| read_groups(&field)).unwrap_or_default();
        let fields = section.required("providers", HINT).map(|field| field.filled_list(HINT)).unwrap_or_default();
        let providers = fields.iter().filter_map(read_provider).collect::<Vec<_>>();
        check_order(&fields, &providers);
        let cache = section.duration("cache", Duration::ZERO, Duration::from_secs(5 * 60));
        if cache.is_zero() && providers.iter().any(Provider::asks_as_user) {
            const WHY: &str =
                "users.dn without bind_dn knows a user for so long after a login: no token would ever be accepted";
            section.get("cache").iter().for_each(|field| field.error(WHY));
        }
        section.finish();
        Self { realm, disabled_users, groups, providers, cache }
    }
}

fn read_groups(field: &Field<'_>) -> BTreeMap<String, Vec<String>> {
    let mut groups = BTreeMap::new();
    for (name, members) in field.named() {
        if name.is_empty() || name.contains(char::is_control) {
            members.error(format_args!("{name:?} cannot be the name of a group"));
        }
        let members = members.list().unwrap_or_default().iter().filter_map(user_name).collect();
        groups.insert(name.to_owned(), members);
    }
    groups
}

/// A name as a login can send it: a colon ends the name in Basic credentials (RFC 7617 §2).
fn user_name(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    if name.contains(':') {
        field.error(format_args!("{name:?} cannot be the name of a user: it holds a colon"));
    }
    Some(name.to_owned())
}

fn read_provider(field: &Field<'_>) -> Option<Provider> {
    const HINT: &str = "write - htpasswd: { file: \"htpasswd\" }";
    let section = field.section()?;
    let htpasswd = section.nullable("htpasswd").map(|field| {
        let section = field.section()?;
        let file = section.required("file", "write the path of the password file").and_then(|field| field.file());
        section.finish();
        Some(Provider::Htpasswd(Htpasswd { file: file? }))
    });
    let ldap = section.nullable("ldap").map(|field| Some(Provider::Ldap(Box::new(Ldap::read(&field)?))));
    if section.is_empty() {
        section.error(format_args!("no provider is named: {HINT}"));
    }
    if htpasswd.is_some() && ldap.is_some() {
        section.error("two providers in one: write each as an element of its own, beginning with a -");
    }
    section.finish();
    htpasswd.or(ldap).flatten()
}

/// A directory that is asked in the name of each user cannot say whose a name is.
fn check_order(fields: &[Field<'_>], providers: &[Provider]) {
    let before_others = providers.split_last().map_or(&[][..], |(_, before)| before);
    if fields.len() == providers.len() {
        for (field, _) in fields.iter().zip(before_others).filter(|(_, provider)| provider.asks_as_user()) {
            field.error(
                "users.dn without bind_dn cannot tell an unknown user from a wrong password: put it last, or give it a bind_dn",
            );
        }
    }
}
