//! What an authority is answered when it looks whether a name is ours (RFC 8555 section 8.3, RFC 8737, RFC 8738).

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::proof;
use crate::tls::ServerConfig;

/// The ALPN protocol of a handshake that is nothing but a challenge.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Those of authorities have 22 to 43 letters.
const LONGEST_TOKEN: usize = 128;
/// Answers of other processes that are looked for at a time, so that a folder which hangs holds up no more than that.
const LOOKS: usize = 8;
const LONGEST_LOOK: Duration = Duration::from_secs(3);

/// SHA-256 of a key authorization.
pub type Digest = [u8; 32];

/// What an authority calls a challenge: 1 to 128 letters of base64url, and so the name of a file, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token(Box<str>);

impl Token {
    /// None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_token = (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(is_letter);
        is_token.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The answer to one challenge. Names are as [`crate::config::Host`] has them: lower case without a trailing dot, addresses
/// in canonical text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `http-01`: the body for `/.well-known/acme-challenge/` and the token.
    Http { name: String, token: Token, key_authorization: String },
    /// `tls-alpn-01`: what the certificate of the handshake shows.
    TlsAlpn { name: String, digest: Digest },
}

/// Answers that other processes opened, in storage that they share with this one. Both calls block, and are made for
/// configured names alone.
pub trait AnswersBeside: fmt::Debug + Send + Sync {
    /// The key authorization.
    fn http(&self, name: &str, token: &Token) -> Option<String>;

    fn tls_alpn(&self, name: &str) -> Option<Digest>;
}

/// The answers that are open, those of this process first.
#[derive(Debug)]
pub struct Challenges {
    state: RwLock<State>,
    looks: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// For which an authority may ask.
    names: HashSet<String>,
    beside: Option<Arc<dyn AnswersBeside>>,
    http: HashMap<(String, Token), String>,
    /// Of several for one name the one that was opened last counts.
    tls_alpn: HashMap<String, Vec<(u64, Digest)>>,
    opened: u64,
}

impl Default for Challenges {
    fn default() -> Self {
        Self { state: RwLock::default(), looks: Arc::new(Semaphore::new(LOOKS)) }
    }
}

impl Challenges {
    /// From now on these names are asked about; for them answers of other processes are looked for where there may be some.
    /// What is open stays so.
    pub fn expect(&self, names: impl IntoIterator<Item = String>, beside: Option<Arc<dyn AnswersBeside>>) {
        let mut state = self.write();
        state.names = names.into_iter().collect();
        state.beside = beside;
    }

    /// Gives an answer until the guard is dropped.
    pub fn open(self: &Arc<Self>, answer: Answer) -> OpenAnswer {
        let mut state = self.write();
        state.opened += 1;
        let number = state.opened;
        match answer.clone() {
            Answer::Http { name, token, key_authorization } => {
                state.http.insert((name, token), key_authorization);
            }
            Answer::TlsAlpn { name, digest } => state.tls_alpn.entry(name).or_default().push((number, digest)),
        }
        OpenAnswer { challenges: Arc::clone(self), answer, number }
    }

    /// The body for an `http-01` token at a host.
    pub async fn http(&self, host: &str, token: &str) -> Option<String> {
        let token = Token::parse(token)?;
        let key = (host.to_owned(), token);
        let found = self.read().http.get(&key).cloned();
        match found {
            Some(found) => Some(found),
            None => self.beside(key.0, move |beside, name| beside.http(name, &key.1)).await,
        }
    }

    /// The settings for a `tls-alpn-01` handshake about a name that [`challenged`] found.
    pub async fn tls_alpn(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let found = self.read().tls_alpn.get(name).and_then(|open| open.last()).map(|(_, digest)| *digest);
        let digest = match found {
            Some(digest) => digest,
            None => self.beside(name.to_owned(), |beside, name| beside.tls_alpn(name)).await?,
        };
        let config = proof::server_config(name, &digest);
        config.inspect_err(|error| tracing::error!(name, %error, "cannot make a certificate for a challenge")).ok()
    }

    /// What other processes answer for a configured name.
    async fn beside<T: Send + 'static>(
        &self,
        name: String,
        look: impl FnOnce(&dyn AnswersBeside, &str) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let beside = {
            let state = self.read();
            state.beside.clone().filter(|_| state.names.contains(&name))?
        };
        let looks = Arc::clone(&self.looks);
        let looking = async {
            let place = looks.acquire_owned().await.ok()?;
            // The place is taken until the look has ended, be it that nobody waits for it any more.
            let look = spawn_blocking(move || (look(&*beside, &name), drop(place)).0);
            look.await.ok()?
        };
        timeout(LONGEST_LOOK, looking).await.ok()?
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is given for as long as this lives.
#[derive(Debug)]
#[must_use = "the answer is given for as long as this lives"]
pub struct OpenAnswer {
    challenges: Arc<Challenges>,
    answer: Answer,
    number: u64,
}

impl Drop for OpenAnswer {
    fn drop(&mut self) {
        let mut state = self.challenges.write();
        match &self.answer {
            Answer::Http { name, token, .. } => {
                state.http.remove(&(name.clone(), token.clone()));
            }
            Answer::TlsAlpn { name, .. } => {
                if let Some(open) = state.tls_alpn.get_mut(name) {
                    open.retain(|(number, _)| *number != self.number);
                    if open.is_empty() {
                        state.tls_alpn.remove(name);
                    }
                }
            }
        }
    }
}

/// The name that a handshake is a challenge for: the client speaks `acme-tls/1` and nothing else.
pub fn challenged<'a>(server_name: Option<&str>, offered: Option<impl Iterator<Item = &'a [u8]>>) -> Option<String> {
    if offered?.eq([ACME_TLS]) { server_name.map(identifier) } else { None }
}

/// What a server name of the handshake stands for; that of an address is its reverse name (RFC 8738 section 6).
fn identifier(server_name: &str) -> String {
    let name = server_name.strip_suffix('.').unwrap_or(server_name).to_ascii_lowercase();
    match address(&name) {
        Some(address) => address.to_string(),
        None => name,
    }
}

fn address(reverse_name: &str) -> Option<IpAddr> {
    if let Some(octets) = reverse_name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> = octets.rsplit('.').map(|octet| octet.parse().ok()).collect::<Option<_>>()?;
        return Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?));
    }
    let nibbles = reverse_name.strip_suffix(".ip6.arpa")?.rsplit('.');
    let nibble = |text: &str| u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 1);
    let nibbles: Vec<u8> = nibbles.map(nibble).collect::<Option<_>>()?;
    let octets: Vec<u8> =
        nibbles.chunks(2).map(|pair| pair.iter().fold(0, |octet, nibble| octet << 4 | nibble)).collect();
    (nibbles.len() == 32).then(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)).flatten()
}

#[cfg(test)]
mod tests;
