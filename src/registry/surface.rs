//! What of one registry's public side is configured, as far as it decides what a request line means.

/// What is served under a registry's hosts besides the registry itself.
#[derive(Clone, Copy, Debug)]
pub struct Surface<'a> {
    /// Where the token endpoint lives, e.g. `/token`.
    pub token_path: &'a str,
    /// A web UI has what is neither the registry's nor the token endpoint's.
    pub ui: bool,
    /// Trust data is served; the registry's hosts, with which the names of its collections begin.
    pub trust: Option<&'a OwnHosts>,
    /// Pages of other origins may ask, and ask first whether they may.
    pub preflights: bool,
}

/// The registry and its token endpoint alone.
impl<'a> From<&'a str> for Surface<'a> {
    fn from(token_path: &'a str) -> Self {
        Self { token_path, ui: false, trust: None, preflights: false }
    }
}

/// The hosts of one registry, as image names begin with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnHosts(Vec<(String, Option<u16>)>);

impl OwnHosts {
    /// Each host in lower case, an IPv6 address in brackets, with a port only where the registry has the name at that port
    /// alone.
    pub fn new(hosts: impl IntoIterator<Item = (String, Option<u16>)>) -> Self {
        Self(hosts.into_iter().collect())
    }

    /// What follows in a name that begins with one of these hosts, letter by letter, and a slash; None where it does not.
    pub fn strip<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (first, rest) = name.split_once('/')?;
        self.0.iter().any(|(host, port)| is_host(first, host, *port)).then_some(rest)
    }
}

fn is_host(text: &str, host: &str, port: Option<u16>) -> bool {
    let Some(after) = text.strip_prefix(host) else { return false };
    match (after.strip_prefix(':').and_then(parse_port), port) {
        (Some(written), Some(port)) => written == port,
        (Some(_), None) => true,
        (None, port) => after.is_empty() && port.is_none(),
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stripped_of_its_own_registrys_hosts_alone() {
        let hosts = [("registry.test", None), ("shared.test", Some(5000)), ("[::1]", None), ("127.0.0.1", None)];
        let own = OwnHosts::new(hosts.map(|(host, port)| (host.to_owned(), port)));
        for (name, rest) in [
            ("registry.test/team-a/app", Some("team-a/app")),
            ("registry.test:8443/team-a/app", Some("team-a/app")),
            ("registry.test/registry.test/app", Some("registry.test/app")),
            ("shared.test:5000/app", Some("app")),
            ("[::1]:5000/app", Some("app")),
            ("[::1]/app", Some("app")),
            ("127.0.0.1:443/app", Some("app")),
            ("registry.test/", Some("")),
            ("registry.test", None),
            ("shared.test/app", None),
            ("shared.test:5001/app", None),
            ("shared.test:05000/app", None),
            ("Registry.test/app", None),
            ("registry.test./app", None),
            ("registry.test:/app", None),
            ("registry.test:0/app", None),
            ("registry.test:+1/app", None),
            ("registry.test:99999/app", None),
            ("registry.test:1:2/app", None),
            ("registry.testing/app", None),
            ("evil.registry.test/app", None),
            ("team-a/app", None),
            ("/registry.test/app", None),
            ("", None),
        ] {
            assert_eq!(own.strip(name), rest, "{name}");
        }
        assert_eq!(OwnHosts::default().strip("a/b"), None);
    }
}
