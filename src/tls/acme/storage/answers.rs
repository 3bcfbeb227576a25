//! Answers to challenges where every portcullis on the folder finds them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CHALLENGES, Storage, StorageError, read, write};
use crate::disk;
use crate::tls::acme::{Answer, AnswersBeside, Digest, Moment, Token};

/// Seconds that an answer counts whose process died.
const LONGEST: i64 = 15 * 60;

/// An answer that others find for as long as this lives.
#[derive(Debug)]
#[must_use = "others find the answer for as long as this lives"]
pub struct Published(PathBuf);

impl Drop for Published {
    fn drop(&mut self) {
        // What stays is not answered for long.
        let _ = disk::remove(&self.0);
    }
}

#[derive(Serialize, Deserialize)]
struct RawAnswer {
    until: Moment,
    #[serde(flatten)]
    answer: Kind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Http { token: String, key_authorization: String },
    TlsAlpn { digest: Digest },
}

impl Storage {
    /// For who orders for this name; there is one answer for a name at a time.
    pub(in crate::tls::acme) fn publish(&self, answer: &Answer) -> Result<Published, StorageError> {
        let (name, kind) = match answer {
            Answer::Http { name, token, key_authorization } => {
                (name, Kind::Http { token: token.as_str().to_owned(), key_authorization: key_authorization.clone() })
            }
            Answer::TlsAlpn { name, digest } => (name, Kind::TlsAlpn { digest: *digest }),
        };
        let path = self.answer_file(name);
        disk::make_folder(&self.root.join(CHALLENGES))?;
        write(&path, &RawAnswer { until: Moment(Moment::now().0.saturating_add(LONGEST)), answer: kind })?;
        Ok(Published(path))
    }

    fn answer(&self, name: &str) -> Option<Kind> {
        let raw = read::<RawAnswer>(&self.answer_file(name)).ok()??;
        (Moment::now() < raw.until).then_some(raw.answer)
    }

    /// A name of ours holds no letter that would lead elsewhere; should one come, it does not.
    pub(super) fn answer_file(&self, name: &str) -> PathBuf {
        let harmless = |letter: char| if letter == '/' || letter == '\0' { '-' } else { letter };
        self.root.join(CHALLENGES).join(format!("{}.json", name.chars().map(harmless).collect::<String>()))
    }
}

impl AnswersBeside for Storage {
    fn http(&self, name: &str, token: &Token) -> Option<String> {
        match self.answer(name)? {
            Kind::Http { token: open, key_authorization } => (open == token.as_str()).then_some(key_authorization),
            Kind::TlsAlpn { .. } => None,
        }
    }

    fn tls_alpn(&self, name: &str) -> Option<Digest> {
        match self.answer(name)? {
            Kind::TlsAlpn { digest } => Some(digest),
            Kind::Http { .. } => None,
        }
    }
}
